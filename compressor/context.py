"""Owns the step from many stored caches to one array of tokens, as a decoder's context takes them."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cachefile import CacheFile
from compressor.errors import CacheError
from compressor.formats import FORMATS, value_table

PIECE = 1 << 16  # rows a thread turns into floats at a time


@dataclass(frozen=True, slots=True)
class Wanted:
    """Caches of one file, in order."""

    path: Path
    entries: tuple[str, ...]


def load_context(wanted: Sequence[Wanted], *, threads: int = 2) -> NDArray[np.float16]:
    """The tokens of caches, dequantised, one after the other: -> (tokens, width) float16.

    Every entry's checksum is verified. Raises CacheDamaged; CacheError where widths or formats differ.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(CacheFile(item.path)) for item in wanted]
        places = [(file, entry) for file, item in zip(files, wanted, strict=True) for entry in item.entries]
        parts = [file.stored_tokens(entry) for file, entry in places]
        formats = {file.facts(entry)["format"] for file, entry in places}
        widths = {part.shape[1] for part in parts}
        if len(formats) > 1 or len(widths) > 1:
            raise CacheError(f"caches of several kinds cannot share one context: {sorted(formats)}, {sorted(widths)}")
        if not parts:
            return np.zeros((0, 0), np.float16)
        table = value_table(FORMATS[formats.pop()])  # a stored byte -> the numbers in it
        out = np.empty((sum(map(len, parts)), widths.pop(), table.shape[1]), np.float16)
        whole = table.view(np.uint32 if table.shape[1] == 2 else np.uint16).ravel()
        target = out.view(whole.dtype)[..., 0]
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        jobs: list[Future[object]] = []
        start = 0
        for part in parts:
            for first in range(0, len(part), PIECE):
                piece = part[first : first + PIECE]
                rows = slice(start + first, start + first + len(piece))
                jobs.append(pool.submit(np.take, whole, piece, out=target[rows], mode="clip"))
            start += len(part)
        jobs += [pool.submit(file.check, entry) for file, entry in places]
        for job in jobs:
            job.result()
        return out.reshape(len(out), -1)
