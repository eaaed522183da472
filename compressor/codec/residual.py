"""Owns the residual: what a reader gets wrong about a chunk's cells, stored so that reading is exact.

Characters are corrected cell by cell. Styles come in runs, and go wrong in runs: a run that was not read right
everywhere is told as a whole. Doubtful cells are corrected, too: on another device or thread count they could be read
the other way.
"""

import zlib
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from compressor.codec.typography import CONTINUATION, STYLE_SHIFT
from compressor.errors import CacheDamaged

CODE = (1 << STYLE_SHIFT) - 1  # the bits of a cell that are its code


class Doubt(IntFlag):
    """What another device or thread count might read the other way."""

    CHARACTER = 1
    STYLE = 2


# A cell whose best class has a smaller probability than this is doubtful. It takes a difference of 1.1 between two
# logits to turn such a choice; bf16, float32, batch and thread count move a logit by less (tests/compressor/codec).
SURE = 0.75
STYLE_SURE = 1.1  # a logit of a style bit nearer to 0 is doubtful: SURE, for one of two
# The most that a chunk's cells can need, each corrected and the start of a run: a gap and a code of three bytes, and a
# gap, a length and a style. Gaps and lengths are distances that add up to the chunk's cells, so few take two bytes;
# the eighth byte is for them.
CELL_BYTES = 8
COUNT_BYTES = 5  # of how many characters there are
NUMBER_BITS = 35  # that are written of a number
MOST_STYLE = 255  # a byte of bits


@dataclass(frozen=True, slots=True)
class _Entries:
    """What a residual corrects: (characters,) and (runs,) int64."""

    gaps: NDArray[np.int64]
    codes: NDArray[np.int64]
    run_gaps: NDArray[np.int64]
    lengths: NDArray[np.int64]
    styles: NDArray[np.int64]


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


def apply_residual(cells: NDArray[np.int32], residual: bytes, *, chunk_cells: int, first: int = 0) -> None:
    """Corrects cells in place; `first` is the place of their first one in its chunk, which has `chunk_cells`.

    Raises CacheDamaged for what is no residual of so many cells, before it takes more memory than one of them could.
    """
    if not residual:
        return
    try:
        entries = _read_entries(residual, chunk_cells * CELL_BYTES + COUNT_BYTES)
    except (ValueError, zlib.error) as error:
        raise CacheDamaged(f"a cache has a residual that cannot be: {error}; run `percel doctor --repair`") from error
    flat = cells.reshape(-1)
    starts = (np.cumsum(entries.run_gaps) - first).clip(0)
    ends = np.cumsum(entries.run_gaps) - first + entries.lengths
    for start, end, style in zip(starts, ends.clip(0), entries.styles, strict=True):
        flat[start:end] = flat[start:end] & CODE | np.int32(style << STYLE_SHIFT)
    places = np.cumsum(entries.gaps) - first
    inside = (places >= 0) & (places < flat.size)
    places = places[inside]
    flat[places] = flat[places] & ~CODE | entries.codes[inside].astype(np.int32)


def _read_entries(residual: bytes, most: int) -> _Entries:
    """Its entries, where they take at most so many bytes, not deflated. Raises ValueError, zlib.error."""
    plain = residual[1:]
    if residual[0]:
        inflate = zlib.decompressobj(wbits=-15)
        plain = inflate.decompress(plain, most + 1)
        if len(plain) <= most and not inflate.eof:
            raise ValueError("it is cut off")
    if not 0 < len(plain) <= most:
        raise ValueError(f"more than the {most:,} bytes that its chunk can need" if plain else "it is empty")
    numbers = _from_bytes(plain)
    split = 1 + 2 * int(numbers[0])
    # Numbers that no cell can have would become other cells' numbers, or none of Unicode's.
    if numbers.min() < 0 or numbers.max() >> NUMBER_BITS or split > len(numbers) or (len(numbers) - split) % 3:
        raise ValueError("its numbers do not fit together")
    gaps, codes = numbers[1:split].reshape(2, -1)
    run_gaps, lengths, styles = numbers[split:].reshape(3, -1)
    if codes.max(initial=0) > CONTINUATION or styles.max(initial=0) > MOST_STYLE:
        raise ValueError("it has codes or styles that are none")
    return _Entries(gaps, codes, run_gaps, lengths, styles)


def _to_bytes(numbers: NDArray[np.int64]) -> bytes:
    """Seven bits a byte, the lowest first; all but a number's last byte have the high bit set."""
    groups = numbers[:, None] >> np.arange(0, NUMBER_BITS, 7)  # (numbers, 5)
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
