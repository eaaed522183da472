"""Owns the residual: what a reader gets wrong about a chunk's cells, stored so that reading is exact.

Characters are corrected cell by cell. Styles come in runs, and go wrong in runs: a run that was not read right
everywhere is told as a whole. Doubtful cells are corrected, too: on another device or thread count they could be read
the other way.

The first byte says how the entries are written:
0: as numbers, seven bits a byte (LEB128): how many characters, their gaps, their codes, then the gaps, lengths and
   styles of runs
1: the same, deflated
2: characters by the habits in a code book (`compressor/habits.py`), whose tag follows in two bytes; no runs
3: the same with runs: behind the tag how many, their gaps, lengths and styles as numbers, then the characters
"""

import zlib
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from compressor.codebook import TAG_DIGITS, book_for, book_tagged
from compressor.codec.typography import CONTINUATION, STYLE_SHIFT, SURROGATES
from compressor.errors import CacheDamaged
from compressor.formats import INT4
from compressor.habits import MISREAD_BYTES

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
TAG_BYTES = TAG_DIGITS // 2
WITHOUT_RUNS, WITH_RUNS = BY_HABITS = (2, 3)  # the first byte of residuals that are
WORTH_DEFLATING = 48  # bytes: fewer hardly get shorter, and zlib takes longer over them than all the rest


@dataclass(frozen=True, slots=True)
class Coded:
    """The tokens of a chunk, which its residual is written by."""

    levels: NDArray[np.uint8]  # (tokens, width), all of the chunk's
    codec: str  # "native-20"


@dataclass(frozen=True, slots=True)
class Misread:
    """What a residual corrects: (characters,) and (runs,) int64."""

    places: NDArray[np.int64]
    codes: NDArray[np.int64]
    run_starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    styles: NDArray[np.int64]


def write_residual(
    true: NDArray[np.int32], found: NDArray[np.int32], doubt: NDArray[np.uint8], coded: Coded | None = None
) -> bytes:
    """Cells as set and as read, and bits of Doubt, same shape -> entries as bytes; b"" where there are none.

    With `coded`, by the habits that are known of its codec's reader; where they take more than a byte a character, as
    in a script that it has not learnt, only if that is less than without.
    """
    true, found, doubt = true.ravel(), found.ravel(), doubt.ravel()
    wrong = true ^ found
    if not wrong.any() and not doubt.any():
        return b""
    places = np.flatnonzero(wrong & CODE | doubt & int(Doubt.CHARACTER))
    codes = true[places] & CODE
    astray = (wrong > CODE) | (doubt & int(Doubt.STYLE) > 0)
    runs = _runs_astray(true >> STYLE_SHIFT, astray) if astray.any() else np.zeros((3, 0), np.int64)
    if not len(places) and not runs.size:
        return b""
    told = _told(places, codes, runs, coded) if coded and len(places) else b""
    if told and len(told) <= len(places) + runs.size:
        return told
    numbers = _numbers(np.concatenate([[len(places)], np.diff(places, prepend=0), codes, runs.ravel()]))
    return told if told and len(told) < len(numbers) else numbers


def _runs_astray(styles: NDArray[np.int32], astray: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Gaps, lengths and styles of the runs of a style that have a cell astray, (3, runs)."""
    starts = np.flatnonzero(np.diff(styles, prepend=-1))
    wrong = np.add.reduceat(astray, starts, dtype=np.int64) > 0
    lengths = np.diff(starts, append=len(styles))[wrong]
    starts = starts[wrong]
    return np.stack([np.diff(starts, prepend=0), lengths, styles[starts]])


def _told(places: NDArray[np.int64], codes: NDArray[np.int32], runs: NDArray[np.int64], coded: Coded) -> bytes:
    """A residual by habits; b"" where none are known."""
    book = book_for(coded.codec, INT4.name, coded.levels.shape[1])
    if book.habits is None:
        return b""
    told = bytes.fromhex(book.tag)
    if runs.size:
        told += _to_bytes(np.concatenate([[runs.shape[1]], runs.ravel()]))
    told += book.habits.pack(book.cell_numbers(coded.levels), places, codes)
    return bytes([WITH_RUNS if runs.size else WITHOUT_RUNS]) + told


def _numbers(numbers: NDArray[np.int64]) -> bytes:
    """A residual as numbers, deflated where that is shorter."""
    plain = _to_bytes(numbers)
    if len(plain) < WORTH_DEFLATING:
        return b"\0" + plain
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits=-15)
    deflated = deflate.compress(plain) + deflate.flush()
    return b"\0" + plain if len(plain) <= len(deflated) else b"\1" + deflated


def apply_residual(
    cells: NDArray[np.int32], residual: bytes, *, chunk_cells: int, first: int = 0, coded: Coded | None = None
) -> None:
    """Corrects cells in place; `first` is the place of their first one in its chunk, which has `chunk_cells`.

    Raises CacheDamaged for what is no residual of so many cells, before it takes more memory than one of them could,
    and for one that was written by `coded` where that is not given.
    """
    if not residual:
        return
    misread = read_residual(residual, chunk_cells=chunk_cells, coded=coded)
    flat = cells.reshape(-1)
    starts = (misread.run_starts - first).clip(0)
    ends = (misread.run_starts - first + misread.lengths).clip(0)
    for start, end, style in zip(starts, ends, misread.styles, strict=True):
        flat[start:end] = flat[start:end] & CODE | np.int32(style << STYLE_SHIFT)
    places = misread.places - first
    inside = (places >= 0) & (places < flat.size)
    places = places[inside]
    flat[places] = flat[places] & ~CODE | misread.codes[inside].astype(np.int32)


def read_residual(residual: bytes, *, chunk_cells: int, coded: Coded | None = None) -> Misread:
    """What a residual that is not empty corrects. Raises CacheDamaged as `apply_residual`."""
    try:
        if residual[0] in BY_HABITS:
            return _read_told(residual, chunk_cells, coded)
        return _read_numbers(residual, chunk_cells)
    except (ValueError, zlib.error) as error:
        raise CacheDamaged(f"a cache has a residual that cannot be: {error}; run `percel doctor --repair`") from error


def _read_told(residual: bytes, chunk_cells: int, coded: Coded | None) -> Misread:
    """Raises ValueError."""
    if coded is None:
        raise ValueError("it is told by tokens that are not at hand")
    if len(residual) > chunk_cells * (MISREAD_BYTES + CELL_BYTES) + TAG_BYTES + COUNT_BYTES + 1:
        raise ValueError(f"{len(residual):,} bytes for {chunk_cells:,} cells")
    start = 1 + TAG_BYTES
    book = book_tagged(coded.codec, residual[1:start].hex())
    if book.habits is None or (book.format, book.width) != (INT4.name, coded.levels.shape[1]):
        raise ValueError(f"its code book {book.name} cannot tell it")
    if coded.levels.max(initial=0) >= INT4.levels:
        raise ValueError(f"its tokens have level {coded.levels.max()}, which {INT4.name} has not")
    runs = np.zeros((3, 0), np.int64)
    if residual[0] == WITH_RUNS:
        numbers, start = _first_numbers(residual, start)
        runs = numbers.reshape(3, -1)
    places, codes = book.habits.unpack(book.cell_numbers(coded.levels), residual[start:])
    return _checked(Misread(places, codes, np.cumsum(runs[0]), runs[1], runs[2]), chunk_cells)


def _first_numbers(residual: bytes, start: int) -> tuple[NDArray[np.int64], int]:
    """The numbers of runs from a place on, and where they end. Raises ValueError."""
    ends = np.flatnonzero(np.frombuffer(residual, np.uint8)[start:] < 128) + start + 1
    if not len(ends):
        raise ValueError("it is cut off")
    count = 3 * int(_from_bytes(residual[start : ends[0]])[0])
    if not 0 <= count < len(ends):
        raise ValueError("its numbers do not fit together")
    numbers = _from_bytes(residual[start : ends[count]])[1:]
    if numbers.min(initial=0) < 0 or numbers.max(initial=0) >> NUMBER_BITS:
        raise ValueError("its numbers do not fit together")
    return numbers, int(ends[count])


def _read_numbers(residual: bytes, chunk_cells: int) -> Misread:
    """Its entries, where they take no more than so many cells can need. Raises ValueError, zlib.error."""
    plain, most = residual[1:], chunk_cells * CELL_BYTES + COUNT_BYTES
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
    return _checked(Misread(np.cumsum(gaps), codes, np.cumsum(run_gaps), lengths, styles), chunk_cells)


def _checked(misread: Misread, chunk_cells: int) -> Misread:
    """Raises ValueError."""
    # Runs that lie on each other, each as long as the chunk, would take time by the square of its cells.
    bounds = np.stack([misread.run_starts, misread.run_starts + misread.lengths], axis=1).ravel()
    if not misread.lengths.all() or (np.diff(bounds) < 0).any() or bounds.max(initial=0) > chunk_cells:
        raise ValueError("it has runs that overlap, or that its chunk cannot hold")
    surrogates = (misread.codes >= SURROGATES.start) & (misread.codes < SURROGATES.stop)
    if misread.codes.max(initial=0) > CONTINUATION or surrogates.any() or misread.styles.max(initial=0) > MOST_STYLE:
        raise ValueError("it has codes or styles that are none")
    return misread


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
