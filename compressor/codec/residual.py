"""Owns the residual: what a reader gets wrong about a chunk's cells, stored so that reading is exact.

Characters are corrected cell by cell. Styles come in runs, and go wrong in runs: a run that was not read right
everywhere is told as a whole. Doubtful cells are corrected, too: on another device or thread count they could be read
the other way.
"""

import zlib
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from compressor.codec.typography import STYLE_SHIFT

CODE = (1 << STYLE_SHIFT) - 1  # the bits of a cell that are its code


class Doubt(IntFlag):
    """What another device or thread count might read the other way."""

    CHARACTER = 1
    STYLE = 2


# A cell whose best class has a smaller probability than this is doubtful. It takes a difference of 1.1 between two
# logits to turn such a choice; bf16, float32, batch and thread count move a logit by less (tests/compressor/codec).
SURE = 0.75


def write_residual(true: NDArray[np.int32], found: NDArray[np.int32], doubt: NDArray[np.uint8]) -> bytes:
    """Cells as set and as read, and bits of Doubt, same shape -> compressed entries; b"" where there are none.

    Four bytes count the characters; then their gaps and codes, and the gaps, lengths and styles of runs.
    """
    true, found, doubt = true.ravel(), found.ravel(), doubt.ravel()
    places = np.flatnonzero(((true ^ found) & CODE != 0) | (doubt & Doubt.CHARACTER != 0))
    styles = true >> STYLE_SHIFT
    astray = (styles != found >> STYLE_SHIFT) | (doubt & Doubt.STYLE != 0)
    starts = np.flatnonzero(np.diff(styles, prepend=-1))
    wrong = np.add.reduceat(astray, starts, dtype=np.int64) > 0 if len(starts) else np.zeros(0, bool)
    lengths = np.diff(starts, append=len(true))[wrong]
    starts = starts[wrong]
    if not len(places) + len(starts):
        return b""
    # Byte planes side by side: the high bytes are nearly all alike, so they cost next to nothing.
    columns = (np.diff(places, prepend=0), true[places] & CODE, np.diff(starts, prepend=0), lengths, styles[starts])
    planes = [column.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes() for column in columns]
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits=-15)
    return deflate.compress(len(places).to_bytes(4, "little") + b"".join(planes)) + deflate.flush()


def apply_residual(cells: NDArray[np.int32], residual: bytes, first: int = 0) -> None:
    """Corrects cells in place; `first` is the place of their first one in its chunk."""
    if not residual:
        return
    data = zlib.decompress(residual, wbits=-15)
    characters = int.from_bytes(data[:4], "little")
    split = 4 + 8 * characters
    gaps, codes = _columns(data[4:split], 2)
    run_gaps, lengths, styles = _columns(data[split:], 3)
    flat = cells.reshape(-1)
    starts = (np.cumsum(run_gaps) - first).clip(0)
    ends = np.cumsum(run_gaps) - first + lengths
    for start, end, style in zip(starts, ends.clip(0), styles, strict=True):
        flat[start:end] = flat[start:end] & CODE | np.int32(style << STYLE_SHIFT)
    places = np.cumsum(gaps) - first
    inside = (places >= 0) & (places < flat.size)
    places = places[inside]
    flat[places] = flat[places] & ~CODE | codes[inside].astype(np.int32)


def _columns(data: bytes, count: int) -> list[NDArray[np.int64]]:
    planes = np.frombuffer(data, np.uint8).reshape(4 * count, -1)
    return [
        np.ascontiguousarray(planes[4 * place : 4 * place + 4].T).view("<u4").ravel().astype(np.int64)
        for place in range(count)
    ]
