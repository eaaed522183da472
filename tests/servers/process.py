"""Owns what every private server needs: its programs, a free port, a directory and a user that may run it."""

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRED = os.environ.get("PERCEL_TEST_SERVERS") == "1"  # read before any test empties the environment
ROOT = os.geteuid() == 0
_PORTS = random.SystemRandom()  # two processes must not draw the same ones, whatever a test seeds
_BELOW_CONNECTIONS = range(20_000, 32_768)


def missing(what: str) -> NoReturn:
    """Skips the tests that need it; fails them where the machine is said to have it."""
    reason = f"{what} (bin/setup installs it where it may)"
    if REQUIRED:
        pytest.fail(f"PERCEL_TEST_SERVERS=1, but {reason}")
    pytest.skip(reason)


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections: none takes it meanwhile.

    Two processes run the tests at once; a port of the system's own choice could be a connection's of the other one
    before the server that it was chosen for listens.
    """
    while True:
        port = _PORTS.choice(_BELOW_CONNECTIONS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


@contextmanager
def directory(owner: str | None) -> Iterator[Path]:
    """A temporary directory that the owner can reach; pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="percel-"))
    try:
        if owner is not None:
            shutil.chown(path, owner)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(command: Sequence[str | Path], *, user: str | None) -> None:
    """Runs a program to its end, as the user. Raises with what it said."""
    with tempfile.TemporaryFile() as said:  # no pipe: a server that it starts would keep it open
        done = subprocess.run(
            [str(part) for part in command],
            user=user,
            group=user and _group(user),
            extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd="/",
            check=False,
        )
        said.seek(0)
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {said.read().decode(errors='replace')}")


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
