"""Owns how a cache file's bytes are reached: any thing that gives ranges of them, and the map of a local file."""

import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol


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
