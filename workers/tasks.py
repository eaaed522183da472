"""Owns the Celery tasks: one a kind of job, all the same. The work is in `workers.ingest`."""

import logging
import os
import time

from compressor.errors import DeviceLost
from store.models import JobKind
from workers.app import app
from workers.process import runner

log = logging.getLogger(__name__)

SLICE_SECONDS = 20.0  # of one message; then the next one gets its turn, and a worker that shuts down can


def work_due(kind: JobKind) -> None:
    """Works through due jobs of a kind for a slice of time; more that is due gets another message."""
    until = time.monotonic() + SLICE_SECONDS
    try:
        while runner().step(kind):
            if time.monotonic() > until:
                runner().resources.wake(kind)
                return
    except DeviceLost:
        log.exception("device lost, the process ends so that a fresh one takes over")
        os._exit(1)  # CUDA fails for ever in a process where it failed once


@app.task(name="percel.parse")
def parse_due() -> None:
    """Parses what is due."""
    work_due(JobKind.PARSE)


@app.task(name="percel.encode")
def encode_due() -> None:
    """Encodes what is due."""
    work_due(JobKind.ENCODE)


@app.task(name="percel.finish")
def finish_due() -> None:
    """Finishes what is due."""
    work_due(JobKind.FINISH)


@app.task(name="percel.pages")
def pages_due() -> None:
    """Makes the page caches that are due."""
    work_due(JobKind.PAGES)
