"""Owns how a cache file's bytes are reached: any thing that gives ranges of them, and a local file, mapped or read."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST_THREADS = 8  # that read one file
_ALIGNED = 8  # bytes: numbers of any type can be read there


class ByteRanges(Protocol):
    """Bytes that never change, in ranges. Safe for several threads."""

    @property
    def name(self) -> str:
        """What an error message calls it."""
        ...

    def size(self) -> int:
        """In bytes; free of cost after the first read."""
        ...

    def read(self, start: int, length: int) -> bytes | memoryview:
        """Bytes from start on; fewer where it ends before, none from its end on."""
        ...


class MappedFile:
    """A local file mapped into memory: a range is a view of the map, nothing is copied."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None  # none of nothing
        self._size = size

    def size(self) -> int:
        return self._size

    def read(self, start: int, length: int) -> memoryview:
        return memoryview(self._map or b"")[start : start + length]

    def close(self) -> None:
        """Lets go of the map; a view that is still held keeps it until it goes."""
        if self._map is not None:
            with suppress(BufferError):
                self._map.close()


class ReadFile:
    """A local file read into memory: a range is memory of its own, so what is kept need not be copied out of it."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def size(self) -> int:
        return self._size

    def read(self, start: int, length: int) -> memoryview:
        # Large arrays lie in large memory pages: half as much to be made ready as for bytes.
        held = np.empty(max(0, min(length, self._size - start)), np.uint8).data
        done = 0
        while done < len(held) and (got := os.preadv(self._file.fileno(), [held[done:]], start + done)):
            done += got
        return held[:done]

    def close(self) -> None:
        """Lets go of the file; what was read stays."""
        self._file.close()


def reading_threads() -> int:
    """As many as this process has cores: checksums are most of what reading takes, and run beside each other."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


def owned(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was read, as memory that a tensor can be made of: itself where it was read for its caller, else a copy."""
    return part if part.flags.writeable and part.ctypes.data % _ALIGNED == 0 else part.copy()
