"""Owns the step from many stored caches to one array of tokens, as a decoder's context takes them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cachefile import CacheFile
from compressor.errors import CacheError
from compressor.formats import FORMATS, pack, value_table
from compressor.ranges import ByteRanges


@dataclass(frozen=True, slots=True)
class Wanted:
    """Caches of one file, in order. A path is mapped, anything else is read in ranges."""

    source: Path | ByteRanges
    entries: tuple[str, ...]


def load_context(wanted: Sequence[Wanted], *, threads: int = 2) -> NDArray[np.float16]:
    """The tokens of caches, dequantised, one after the other: -> (tokens, width) float16.

    Every entry's checksum is verified. Raises CacheDamaged; CacheError where widths or formats differ.
    """
    for item in wanted:
        if isinstance(item.source, Path):
            _read_ahead(item.source)
    with ExitStack() as stack:
        files = [stack.enter_context(CacheFile(item.source)) for item in wanted]
        places = [(file, item.entries) for file, item in zip(files, wanted, strict=True)]
        formats = {file.facts(entry)["format"] for file, entries in places for entry in entries}
        shapes = [[file.token_shape(entry) for entry in entries] for file, entries in places]
        widths = {width for parts in shapes for _, width in parts}
        if len(formats) > 1 or len(widths) > 1:
            raise CacheError(f"caches of several kinds cannot share one context: {sorted(formats)}, {sorted(widths)}")
        if not widths:
            return np.zeros((0, 0), np.float16)
        table = value_table(FORMATS[formats.pop()])  # a stored byte -> the numbers in it
        sizes = [sum(count for count, _ in parts) for parts in shapes]
        out = np.empty((sum(sizes), widths.pop(), table.shape[1]), np.float16)
        whole = table.view(np.uint32 if table.shape[1] == 2 else np.uint16).ravel()
        target = out.view(whole.dtype)[..., 0]
        starts = np.cumsum([0, *sizes])[:-1]
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(_fill, file, entries, whole, target[start:])
                for (file, entries), start in zip(places, starts, strict=True)
            ]
            for job in jobs:
                job.result()
        return out.reshape(len(out), -1)


def numbers_of(levels: NDArray[np.uint8], format: str) -> NDArray[np.float16]:
    """Levels (tokens, width) as the same numbers that `load_context` gives of a stored cache."""
    named = FORMATS[format]
    return value_table(named)[pack(levels, named)].reshape(levels.shape)


def _read_ahead(path: Path) -> None:
    """Has the system fetch a file while those before it are checked; a map alone fetches a page when it is touched."""
    if hasattr(os, "posix_fadvise"):  # not on every system
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _fill(file: CacheFile, entries: Sequence[str], table: NDArray[np.generic], target: NDArray[np.generic]) -> None:
    """Looks the bytes of a file's entries up in the table; each goes where its entry's turn is."""
    starts = np.cumsum([0, *(file.token_shape(entry)[0] for entry in entries)])
    for place, stored in file.stored_tokens(entries):
        np.take(table, stored, out=target[starts[place] : starts[place + 1]], mode="clip")
