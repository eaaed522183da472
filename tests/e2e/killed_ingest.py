"""Runs an ingest that kills itself: `python -m tests.e2e.killed_ingest HOME FOLDER POINT NUMBER`.

POINT is where SIGKILL strikes, at its NUMBER-th time (from 1): `commit` before and `committed` after a transaction
commits, `blob` and `file` after one is put. Exits normally, printing the number of times, when there are fewer.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import event

from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings


def main() -> None:
    home, folder, point, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    times = 0

    def strike(*_: object) -> None:
        nonlocal times
        times += 1
        if times == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with Resources(Settings(home=home)) as resources:
        if point == "commit":
            event.listen(resources.engine, "commit", strike)
        elif point == "committed":
            resources.engine.dialect.do_commit = _then(resources.engine.dialect.do_commit, strike)
        else:
            put = resources.blobs.put_bytes if point == "blob" else resources.blobs.put_file
            setattr(resources.blobs, put.__name__, _then(put, strike))
        for path in sorted(folder.iterdir()):
            accept(resources, "default", "test", Offer(path, path.name, external_id=path.name))
        run_due_jobs(resources)
    print(times)


def _then(put: Callable[..., object], strike: Callable[[], None]) -> Callable[..., object]:
    def wrapped(*arguments: object, **options: object) -> object:
        stored = put(*arguments, **options)
        strike()
        return stored

    return wrapped


if __name__ == "__main__":
    main()
