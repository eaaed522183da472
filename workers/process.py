"""Owns what one Celery worker process holds: resources, a name and a runner, opened on first use after the fork.

Nothing is opened in the parent, so that a child inherits no connection and no CUDA context.
"""

import atexit
import os
from contextlib import ExitStack
from functools import cache

from workers.exposition import share_timings
from workers.lease import presence
from workers.resources import Resources
from workers.runner import Runner
from workers.settings import load_settings
from workers.tracing import start_tracing


def runner() -> Runner:
    """This process's runner. A fork is another process and gets its own."""
    return _open(os.getpid())


@cache
def _open(process_id: int) -> Runner:
    opened = ExitStack()
    resources = opened.enter_context(Resources(load_settings(_device_of_child())))
    share_timings(resources.timings)
    start_tracing()
    owner = opened.enter_context(presence(resources.workers_directory))
    atexit.register(opened.close)
    return Runner(resources, owner, indexes=False)  # the API's nodes write their own (`api.app.keep_indexes`)


def _device_of_child() -> dict[str, str]:
    """One GPU a child: the n-th child of a worker takes the n-th device that CUDA_VISIBLE_DEVICES leaves."""
    from billiard.process import current_process

    settings = load_settings()
    count = visible_gpus()
    if settings.device not in ("auto", "cuda") or count < 2:
        return {}
    index = getattr(current_process(), "index", 0) or 0
    return {"device": f"cuda:{index % count}"}


def visible_gpus() -> int:
    """GPUs that a child may use, counted without touching CUDA: a parent that did could not fork."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([name for name in named.split(",") if name.strip() not in ("", "-1")])
    return len([name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit()])
