"""Owns signs of life: who is at work on this machine, and the heartbeat that keeps its leases.

A worker holds a lock on a file named after it. The system lets go of the lock when the process ends, however it
ends, so a run that follows a kill can take the dead one's jobs over at once instead of waiting for their leases.
"""

import fcntl
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine

from store import catalog
from store.database import transaction
from store.errors import LeaseLost

log = logging.getLogger(__name__)


@contextmanager
def presence(directory: Path) -> Iterator[str]:
    """Announces a worker while the block runs; gives its name, unique to this process and start."""
    directory.mkdir(parents=True, exist_ok=True)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    path = directory / f"{owner}.lock"
    unlocked = directory / f".{owner}"  # under its name it is never seen without its lock
    with unlocked.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(path)
        try:
            yield owner
        finally:
            path.unlink(missing_ok=True)


def departed(directory: Path) -> list[str]:
    """Names of workers that ended without a word. Call `forget` once their jobs are taken over."""
    gone = []
    for path in directory.glob("[!.]*.lock"):
        with suppress(BlockingIOError, FileNotFoundError), path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone.append(path.stem)
    return gone


def forget(directory: Path, owners: Sequence[str]) -> None:
    """Removes the lock files of departed workers."""
    for owner in owners:
        (directory / f"{owner}.lock").unlink(missing_ok=True)


@contextmanager
def heartbeat(engine: Engine, job_ids: list[int], *, owner: str, lease_seconds: int) -> Iterator[None]:
    """Extends the leases of jobs while the block works on them.

    A lease that is lost is left alone: the transaction that would publish the work notices it.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(lease_seconds / 3):
            for job_id in job_ids:
                try:
                    with transaction(engine) as session:
                        catalog.extend_lease(session, job_id, owner=owner, lease_seconds=lease_seconds)
                except LeaseLost:
                    continue
                except Exception:  # a busy or full database: the next beat tries again
                    log.warning("lease not extended", extra={"job_id": job_id}, exc_info=True)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
