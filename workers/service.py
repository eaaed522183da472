"""Owns the workers that run until they are told to stop: the embedded one, and Celery's with its tender."""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

from compressor.errors import DeviceLost
from store.models import JobKind
from workers.deliver import keep_delivering
from workers.lease import presence
from workers.resources import Resources
from workers.runner import Runner
from workers.tend import Tender, keep_log_short, start_thread

if TYPE_CHECKING:
    from celery.worker import WorkController

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2  # how soon the embedded worker sees what was accepted
FAULT_SECONDS = 5.0  # pause after something went wrong that is no document's fault: a full disk, say
ENCODE_LANE = (JobKind.ENCODE, JobKind.FINISH, JobKind.PAGES)  # page caches last: documents are ready without them
GRACE_SECONDS = 10.0  # what is being done gets this long to come to an end


def stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT end the run in good order."""

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)


def stop_with_parent(stop: threading.Event) -> None:
    """Ends the run when standard input closes: the process that started this one is gone."""

    def watch(stop: threading.Event) -> None:
        with suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        stop.set()

    start_thread("parent", watch, stop)


def run_embedded(resources: Resources, stop: threading.Event) -> bool:
    """Works on whatever is due, in two lanes, until told to stop. What is then unfinished is due at the next start.

    False where a lane is still in the middle of something that cannot be interrupted: its jobs are given back, and the
    process must end without waiting for it.
    """
    with presence(resources.workers_directory) as owner:
        runner = Runner(resources, owner)
        lanes = [
            start_thread("parse lane", lambda stop: work_lane(runner, (JobKind.PARSE,), stop), stop),
            start_thread("encode lane", lambda stop: work_lane(runner, ENCODE_LANE, stop), stop),
            start_thread("tender", Tender(resources).run, stop),
            start_thread("webhooks", lambda stop: keep_delivering(resources, stop), stop),
            start_thread("log", lambda stop: keep_log_short(resources, stop), stop),
        ]
        stop.wait()
        for lane in lanes:
            lane.join(GRACE_SECONDS)
        runner.release(list(runner.held.values()))
    return not any(lane.is_alive() for lane in lanes)


def work_lane(runner: Runner, kinds: tuple[JobKind, ...], stop: threading.Event) -> None:
    """Does due jobs of some kinds, the first kind first."""
    while not stop.is_set():
        try:
            if not any(runner.step(kind) for kind in kinds):
                stop.wait(POLL_SECONDS)
        except DeviceLost:
            log.exception("device lost, the process ends so that a fresh one takes over")
            os._exit(1)  # CUDA fails for ever in a process where it failed once
        except Exception:
            log.exception("worker lane stopped for a moment")
            stop.wait(FAULT_SECONDS)


def run_celery(resources: Resources, *, queues: tuple[str, ...], processes: int) -> bool:
    """Runs a Celery worker in this process, and the tender beside it, until it is told to stop.

    False where it ended by itself, over something that it could not go on from: a full Redis, say.
    """
    from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

    from workers.app import LISTENING, app

    app.conf.broker_transport_options = {**app.conf.broker_transport_options, **LISTENING}
    stop = threading.Event()

    def begin(**_: object) -> None:
        # Its own resources: the parent opens none before it has forked its children.
        start_thread("tender", Tender(resources).run, stop)
        start_thread("webhooks", lambda stop: keep_delivering(resources, stop), stop)

    def end(**_: object) -> None:
        stop.set()

    codes: list[int] = []

    def note(sender: "WorkController", **_: object) -> None:
        codes.append(sender.exitcode or 0)

    worker_shutdown.connect(note, weak=False)  # `worker_main` does not say
    worker_ready.connect(begin, weak=False)
    worker_shutting_down.connect(end, weak=False)
    app.worker_main(
        [
            "worker",
            "--queues",
            ",".join(queues),
            "--concurrency",
            str(processes),
            "--pool",
            "prefork",
            "--without-gossip",
            "--without-mingle",
            "--loglevel",
            "WARNING",
        ]
    )
    return not any(codes)
