"""Owns the step from many stored caches to one array of tokens, as a decoder's context takes them."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cachefile import CacheFile
from compressor.errors import CacheError
from compressor.formats import FORMATS, level_numbers
from compressor.ranges import ByteRanges


@dataclass(frozen=True, slots=True)
class Wanted:
    """Caches of one file, in order. A path is mapped, anything else is read in ranges."""

    source: Path | ByteRanges
    entries: tuple[str, ...]
    expected: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # as `CacheFile.check_chunks` takes it


def load_context(wanted: Sequence[Wanted], *, threads: int = 2) -> NDArray[np.float16]:
    """The tokens of caches, dequantised, one after the other: -> (tokens, width) float16.

    Every entry's checksum is verified. Raises CacheDamaged; CacheError where widths or formats differ.
    """
    for item in wanted:
        if isinstance(item.source, Path):
            _read_ahead(item.source)
    with ExitStack() as stack:
        files = [stack.enter_context(CacheFile(item.source)) for item in wanted]
        for file, item in zip(files, wanted, strict=True):
            file.check_chunks(item.expected)
        kinds = {kind for file, item in zip(files, wanted, strict=True) for kind in file.token_kinds(item.entries)}
        formats, widths = {kind.format for kind in kinds}, {kind.width for kind in kinds}
        if len(kinds) > 1:
            raise CacheError(f"caches of several kinds cannot share one context: {sorted(formats)}, {sorted(widths)}")
        if not kinds:
            return np.zeros((0, 0), np.float16)
        sizes = [sum(file.token_counts(item.entries)) for file, item in zip(files, wanted, strict=True)]
        ends = np.cumsum(sizes)
        out = np.empty((int(ends[-1]), widths.pop()), np.float16)
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(file.read_numbers, item.entries, part)
                for file, item, part in zip(files, wanted, np.split(out, ends[:-1]), strict=True)
            ]
            for job in jobs:
                job.result()
        return out


def numbers_of(levels: NDArray[np.uint8], format: str) -> NDArray[np.float16]:
    """Levels (tokens, width) as the same numbers that `load_context` gives of a stored cache."""
    numbers: NDArray[np.float16] = level_numbers(FORMATS[format])[levels]
    return numbers


def _read_ahead(path: Path) -> None:
    """Has the system fetch a file while those before it are checked; a map alone fetches a page when it is touched."""
    if hasattr(os, "posix_fadvise"):  # not on every system
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
