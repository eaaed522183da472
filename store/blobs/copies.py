"""Owns copies of remote blobs on this machine: bounded in bytes, the one that was not used for longest goes first."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from store.blobs.partial import Arrived

_SLACK = 20  # the folder is looked through once a twentieth of the limit has come in since the last time
_IN_USE = 600.0  # seconds; whoever was given a copy may only be about to open it
_KEPT = 24 * 3600.0  # seconds without use; another machine may have deleted the blob long ago


class LocalCopies:
    """Files under one directory, shared by the processes of a machine.

    `in_use` is how long (seconds) a copy stays after its last use whatever the limit is.
    """

    def __init__(self, root: Path, limit: int, *, in_use: float = _IN_USE) -> None:
        self.root = root
        self._limit = limit
        self._in_use = in_use
        self._lock = threading.Lock()
        self._arrived = limit  # bytes since the last look; the first arrival looks at what earlier runs left

    def find(self, key: str) -> Path | None:
        """The copy, used now; None where there is none."""
        path = self.root / key
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def keep(self, key: str, arrived: Arrived) -> Path:
        """Makes a file that has been compared with its key a copy."""
        path = self.root / key
        arrived.move(path)
        with self._lock:
            self._arrived += arrived.size
            due = self._arrived > self._limit // _SLACK
            if due:
                self._arrived = 0
        if due:
            self.trim()
        return path

    def drop(self, key: str) -> None:
        """Forgets a copy."""
        (self.root / key).unlink(missing_ok=True)

    def trim(self) -> None:
        """Deletes copies that nobody used for a day, then by last use until the limit is kept."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        now = time.time()
        for used, size, path in files:
            if used > now - self._in_use or (total <= self._limit and used > now - _KEPT):
                break
            path.unlink(missing_ok=True)
            total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.root.glob("**/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            if path.is_file() and len(path.name) == 64:
                yield status.st_mtime, status.st_size, path
