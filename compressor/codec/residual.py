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
    """Cells as set and as read, and bits of Doubt, same shape -> entries as bytes; b"" where there are none.

    Numbers as in LEB128: how many characters, their gaps, their codes, then the gaps, lengths and styles of runs.
    The first byte says whether what follows is deflated: a few entries are shorter as they are.
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
    characters = ([len(places)], np.diff(places, prepend=0), true[places] & CODE)
    runs = (np.diff(starts, prepend=0), lengths, styles[starts])
    plain = _to_bytes(np.concatenate([*characters, *runs]))
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits=-15)
    deflated = deflate.compress(plain) + deflate.flush()
    return b"\0" + plain if len(plain) <= len(deflated) else b"\1" + deflated


def apply_residual(cells: NDArray[np.int32], residual: bytes, first: int = 0) -> None:
    """Corrects cells in place; `first` is the place of their first one in its chunk."""
    if not residual:
        return
    numbers = _from_bytes(zlib.decompress(residual[1:], wbits=-15) if residual[0] else residual[1:])
    split = 1 + 2 * int(numbers[0])
    gaps, codes = numbers[1:split].reshape(2, -1)
    run_gaps, lengths, styles = numbers[split:].reshape(3, -1)
    flat = cells.reshape(-1)
    starts = (np.cumsum(run_gaps) - first).clip(0)
    ends = np.cumsum(run_gaps) - first + lengths
    for start, end, style in zip(starts, ends.clip(0), styles, strict=True):
        flat[start:end] = flat[start:end] & CODE | np.int32(style << STYLE_SHIFT)
    places = np.cumsum(gaps) - first
    inside = (places >= 0) & (places < flat.size)
    places = places[inside]
    flat[places] = flat[places] & ~CODE | codes[inside].astype(np.int32)


def _to_bytes(numbers: NDArray[np.int64]) -> bytes:
    """Seven bits a byte, the lowest first; all but a number's last byte have the high bit set."""
    groups = numbers[:, None] >> np.arange(0, 35, 7)  # (numbers, 5)
    later = groups[:, 1:] > 0
    stored = np.concatenate([np.ones((len(numbers), 1), bool), later], axis=1)
    more = np.concatenate([later, np.zeros((len(numbers), 1), bool)], axis=1)
    data: bytes = ((groups & 127) | more << 7)[stored].astype(np.uint8).tobytes()
    return data


def _from_bytes(data: bytes) -> NDArray[np.int64]:
    """The inverse of `_to_bytes`."""
    groups = np.frombuffer(data, np.uint8).astype(np.int64)
    starts = np.flatnonzero(np.concatenate([[True], groups[:-1] < 128]))
    place = np.arange(len(groups)) - np.repeat(starts, np.diff(starts, append=len(groups)))
    numbers: NDArray[np.int64] = np.add.reduceat((groups & 127) << 7 * place, starts)
    return numbers
