"""Owns how a cache file's bytes are reached: in ranges of something elsewhere, or of a local file, mapped or read."""

import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST_THREADS = 8  # that read and check at once
PIECE_BYTES = 1 << 18  # are read at a time, and still in a core's own memory when their checksum is made of them
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


class Held(Protocol):
    """A range of a file, in memory. For one thread."""

    @property
    def view(self) -> memoryview:
        """All of it; of what is read piece by piece, only the pieces that were asked for are there."""
        ...

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        """Its bytes [start, end), in order, one piece or several. Raises EOFError where the file ends before."""
        ...


class Source(Protocol):
    """An open file, here or elsewhere."""

    @property
    def name(self) -> str: ...

    def size(self) -> int: ...

    def read(self, start: int, length: int) -> bytes | memoryview:
        """As ByteRanges."""
        ...

    def hold(self, start: int, length: int) -> Held:
        """A range to be looked at; shorter where the file ends before."""
        ...

    def close(self) -> None:
        """Lets go of the file; what is held stays."""
        ...


class Whole:
    """A range that is all there."""

    def __init__(self, view: memoryview) -> None:
        self.view = view

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        if end > len(self.view):
            raise EOFError("the file ends before what was to be read")
        yield self.view[start:end]


class Elsewhere:
    """Ranges of something that is not on this machine. A small file comes whole with the first read."""

    def __init__(self, ranges: ByteRanges, head_bytes: int) -> None:
        self._ranges = ranges
        self._head = memoryview(ranges.read(0, head_bytes))
        self._held = len(self._head) if len(self._head) == head_bytes else sys.maxsize  # all that there is

    @property
    def name(self) -> str:
        return self._ranges.name

    def size(self) -> int:
        return self._ranges.size()

    def read(self, start: int, length: int) -> memoryview:
        if start + length <= self._held:
            return self._head[start : start + length]
        return memoryview(self._ranges.read(start, length))

    def hold(self, start: int, length: int) -> Whole:
        return Whole(self.read(start, length))

    def close(self) -> None:
        """Nothing: it belongs to who gave it."""


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

    def hold(self, start: int, length: int) -> Whole:
        return Whole(self.read(start, length))

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
        held, done = self.hold(start, length), 0
        with suppress(EOFError):
            for piece in held.pieces(0, len(held.view)):
                done += len(piece)
        return held.view[:done]

    def hold(self, start: int, length: int) -> "Pieces":
        return Pieces(self._file.fileno(), start, max(0, min(length, self._size - start)))

    def close(self) -> None:
        """Lets go of the file; what was read stays."""
        self._file.close()


class Pieces:
    """A range of a local file, read into memory of its own piece by piece as it is looked at.

    So each piece's checksum is made while it is still near: a sixth faster than over what was read before.
    """

    def __init__(self, file: int, start: int, length: int) -> None:
        self._file = file
        self._start = start
        # Large arrays lie in large memory pages: half as much to be made ready as for bytes.
        self.view = np.empty(length, np.uint8).data

    def pieces(self, start: int, end: int) -> Iterator[memoryview]:
        while start < end:
            piece = self.view[start : min(end, start + PIECE_BYTES)]
            got = os.preadv(self._file, [piece], self._start + start)
            if not got:
                raise EOFError("the file ends before what was to be read")
            yield piece[:got]
            start += got


def reading_threads() -> int:
    """As many as this process has cores: checksums are most of what reading takes, and run beside each other."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


def owned(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What was read, as memory that a tensor can be made of: itself where it was read for its caller, else a copy."""
    return part if part.flags.writeable and part.ctypes.data % _ALIGNED == 0 else part.copy()
