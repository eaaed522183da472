"""Owns the residual: what a reader gets wrong about a chunk's cells, stored so that reading is exact.

An entry is a cell's place in the chunk and the true cell, its code with its style bits above. Doubtful cells are
entries too: on another device or thread count they could be read the other way.
"""

import zlib
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from compressor.codec.typography import STYLE_SHIFT

CODE = (1 << STYLE_SHIFT) - 1  # the bits of a cell that are its code
KEPT = CODE  # in an entry: the character was read right, only its style is corrected


class Doubt(IntFlag):
    """What another device or thread count might read the other way."""

    CHARACTER = 1
    STYLE = 2


# A cell whose best class has a smaller probability than this is doubtful. It takes a difference of 1.1 between two
# logits to turn such a choice; bf16, float32, batch and thread count move a logit by less (tests/compressor/codec).
SURE = 0.75


def write_residual(true: NDArray[np.int32], found: NDArray[np.int32], doubt: NDArray[np.uint8]) -> bytes:
    """Cells as set and as read, and bits of Doubt, same shape -> compressed entries; b"" where there are none."""
    character = ((true ^ found) & CODE != 0) | (doubt & Doubt.CHARACTER != 0)
    style = ((true ^ found) & ~CODE != 0) | (doubt & Doubt.STYLE != 0)
    places = np.flatnonzero(character | style)
    if not len(places):
        return b""
    gaps = np.diff(places, prepend=0).astype("<u4")
    # Styles go wrong in runs: without the characters below them these entries are all alike.
    cells = np.where(character, true, true & ~CODE | KEPT).ravel()[places].astype("<u4")
    # Byte planes side by side: the high bytes are nearly all alike, so they cost next to nothing.
    planes = np.concatenate([gaps.view(np.uint8).reshape(-1, 4).T, cells.view(np.uint8).reshape(-1, 4).T])
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits=-15)
    return deflate.compress(planes.tobytes()) + deflate.flush()


def apply_residual(cells: NDArray[np.int32], residual: bytes, first: int = 0) -> None:
    """Corrects cells in place; `first` is the place of their first one in its chunk."""
    if not residual:
        return
    planes = np.frombuffer(zlib.decompress(residual, wbits=-15), np.uint8).reshape(8, -1)
    gaps, entries = (np.ascontiguousarray(half.T).view("<u4").ravel() for half in (planes[:4], planes[4:]))
    places = np.cumsum(gaps, dtype=np.int64) - first
    inside = (places >= 0) & (places < cells.size)
    places, true = places[inside], entries[inside].astype(np.int32)
    flat = cells.reshape(-1)
    flat[places] = np.where(true & CODE == KEPT, true & ~CODE | flat[places] & CODE, true)
