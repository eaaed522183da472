"""Owns files on their way in: written privately, hashed, capped, and gone again when something goes wrong."""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from store.errors import NO_SPACE, BlobTooLarge, StoreFull

_PIECE = 1 << 20  # bytes copied at a time


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that is complete and on disk, but has no name yet."""

    path: Path
    sha256: str
    size: int

    def move(self, target: Path) -> None:
        """Gives it its name, in one step, on disk when it returns."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.replace(self.path, target)
        _sync_directory(target.parent)


@contextmanager
def arriving(
    folder: Path, pieces: Iterable[bytes], *, limit: int | None = None, expected: int | None = None
) -> Iterator[Arrived]:
    """Writes pieces to a new file below `folder`; at the end it is gone unless it was moved.

    `expected` is how many bytes are to come, where that is known. Raises BlobTooLarge above `limit` bytes; StoreFull,
    also for a disk that turns out full in the body.
    """
    if limit is not None and expected is not None and expected > limit:
        raise BlobTooLarge(limit)
    path = folder / "partial" / uuid4().hex  # on the same file system as its target, so that a rename is atomic
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256()
        # Unbuffered: what the disk refuses is refused here, not when the file is closed.
        with open(path, "xb", buffering=0, opener=_private) as file:
            for piece in pieces:
                size += len(piece)
                if limit is not None and size > limit:
                    raise BlobTooLarge(limit)
                digest.update(piece)
                _write_all(file, piece)
            os.fsync(file.fileno())
        yield Arrived(path, digest.hexdigest(), size)
    except OSError as error:
        if error.errno in NO_SPACE:
            path.unlink(missing_ok=True)
            raise StoreFull(str(folder), max(expected or 0, size), shutil.disk_usage(folder).free) from error
        raise
    finally:
        path.unlink(missing_ok=True)


def pieces_of(stream: BinaryIO) -> Iterator[bytes]:
    """What a stream still holds, piece by piece."""
    while piece := stream.read(_PIECE):
        yield piece


def remove_old(folder: Path, older_than: float) -> int:
    """Deletes what is half written below `folder` for at least `older_than` seconds. Returns how many."""
    removed = 0
    for path in (folder / "partial").glob("*"):
        try:
            # A folder there is no file on its way in: it belongs to a tenant of that name.
            if path.is_file() and path.stat().st_mtime <= time.time() - older_than:
                path.unlink()
                removed += 1
        except FileNotFoundError:  # its writer is done with it
            continue
    return removed


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_all(file: io.FileIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
