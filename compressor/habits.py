"""Owns a reader's habits: among which cells it errs, and what stands there; so errors take few bits to tell.

What is known of a cell without reading it is its symbol, its own numbers as stored, and those of its neighbours: its
surroundings. They say how likely it is misread, in sixteen bands, and which characters are likely then. Cells are put
in turn, the likeliest misread first, and each error is told as how many cells are passed by to it, and its character.
Nothing hangs on what is read, so that any device understands what another one wrote.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.prefixes import are_codes, code_table, codes_of, pack_bits

BANDS = 16
LIKELY = 256  # kinds of surroundings, by the characters that are likely there, at most
CHARACTER_BITS = 12  # of the longest code of a character
OTHER_BITS = 21  # of a character that has no code of its own; of any
SURROUNDINGS = 1 << 20  # different ones, at most
# A gap is told by the block that it lies in, as so many ones and a zero, and its place there. The first blocks are as
# long as gaps are in the band where it begins, then each is twice as long as the last.
EVEN_BLOCKS = 4
BLOCKS = 30
SHIFT_MOST = 16
MISREAD_BYTES = 11  # of a cell, at most: a gap of the most blocks, and a character that has no code


@dataclass(frozen=True)
class Habits:
    """What is learnt of a reader (`learn_habits.py`). Safe for several threads."""

    bands: NDArray[np.uint8]  # (surroundings,) 0: the likeliest to be misread
    shifts: NDArray[np.uint8]  # (BANDS,) log2 of the first blocks
    likely: NDArray[np.uint8]  # (surroundings,) kind by likely characters
    characters: NDArray[np.int32]  # (characters,) that have codes; what comes behind them is any other
    codes: NDArray[np.uint8]  # (kinds, characters + 1) bits of each code, 255: none
    symbols: NDArray[np.uint32]  # (1,) how many there are

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `from_tensors` takes."""
        return {f"habits.{name}": getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> "Habits | None":
        """None where there are none. Raises ValueError for those that nothing can be told with, KeyError."""
        if not any(name.startswith("habits.") for name in tensors):
            return None
        habits = Habits(**{name: tensors[f"habits.{name}"] for name in Habits.__dataclass_fields__})
        _check(habits)
        return habits

    def pack(self, symbols: NDArray[Any], places: NDArray[np.int64], codes: NDArray[np.int32]) -> bytes:
        """Cells by place, in order, and their characters, as bytes; `symbols` (cells,) of all the chunk's cells."""
        around = surroundings(symbols, int(self.symbols[0]))
        bands = self.bands.take(around)
        turn = np.argsort(bands, kind="stable")
        rank = np.empty(len(turn), np.int64)
        rank[turn] = np.arange(len(turn))
        at = np.sort(rank[places])
        cells = turn[at]
        begins = np.concatenate([[0], at[:-1] + 1])
        gap_codes, gap_bits = _gap_codes(at - begins, self.shifts[bands[turn[begins]]].astype(np.int64))
        in_order = np.searchsorted(places, cells)
        character_codes, character_bits = self._characters(self.likely[around[cells]], codes[in_order])
        both = np.stack([gap_codes, character_codes], axis=1).ravel()
        return pack_bits(both, np.stack([gap_bits, character_bits], axis=1).ravel(), fill=1)

    def unpack(self, symbols: NDArray[Any], data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The inverse of `pack`, cells in any order. Raises ValueError for what it does not write."""
        around = surroundings(symbols, int(self.symbols[0]))
        bands = self.bands.take(around)
        turn = np.argsort(bands, kind="stable")
        shifts = self.shifts.take(bands.take(turn)).tobytes()
        kinds = self.likely.take(around.take(turn)).tobytes()
        table, known, other = self._table, self._known, len(self.characters)
        bits = np.unpackbits(np.frombuffer(data, np.uint8)).tobytes()
        padded = data + bytes(8)
        found, codes = [], []
        cell = at = 0
        while (zero := bits.find(0, at)) >= 0:
            block, at = zero - at, zero + 1
            if cell >= len(shifts) or block >= BLOCKS:
                raise ValueError("it tells of cells that its chunk has not")
            shift = shifts[cell]
            more = shift + max(0, block - EVEN_BLOCKS)
            cell += _BLOCK_STARTS[shift][block] + (_word(padded, at) >> (64 - more))
            at += more
            if cell >= len(shifts):
                raise ValueError("it tells of cells that its chunk has not")
            word = _word(padded, at)
            told = table[kinds[cell] << CHARACTER_BITS | word >> (64 - CHARACTER_BITS)]
            at += told & 15
            code = known[told >> 4]
            if told >> 4 == other:
                code = _word(padded, at) >> (64 - OTHER_BITS)
                at += OTHER_BITS
            found.append(cell)
            codes.append(code)
            cell += 1
        if at > len(bits) or len(bits) - at > 7:
            raise ValueError("it is cut off")
        return turn[np.array(found, np.int64)], np.array(codes, np.int64)

    def _characters(self, kinds: NDArray[np.uint8], codes: NDArray[np.int32]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Codes of characters, and their bits, (characters,)."""
        place = self._order[np.searchsorted(self.characters, codes, sorter=self._order).clip(0, len(self._order) - 1)]
        place[self.characters[place] != codes] = len(self.characters)
        place[self.codes[kinds, place] > CHARACTER_BITS] = len(self.characters)
        bits = self.codes[kinds, place].astype(np.int64)
        written = self._numbers[kinds, place]
        others = place == len(self.characters)
        written = np.where(others, written << OTHER_BITS | codes, written)
        return written.astype(np.uint64), bits + others * OTHER_BITS

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        order: NDArray[np.int64] = np.argsort(self.characters, kind="stable")
        return order

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        return codes_of(self.codes, CHARACTER_BITS)

    @cached_property
    def _table(self) -> list[int]:
        table: list[int] = code_table(self.codes, CHARACTER_BITS).tolist()
        return table

    @cached_property
    def _known(self) -> list[int]:
        known: list[int] = [*self.characters.tolist(), 0]
        return known


def surroundings(symbols: NDArray[Any], count: int) -> NDArray[np.int64]:
    """What stands around each cell, (cells,), itself in the middle, of so many symbols."""
    reach = (window(count) - 1) // 2
    padded = np.zeros(len(symbols) + 2 * reach, np.int64)
    padded[reach : reach + len(symbols)] = symbols
    around = padded[: len(symbols)].copy()
    for place in range(1, 2 * reach + 1):
        around *= count
        around += padded[place : place + len(symbols)]
    return around


def window(count: int) -> int:
    """Cells of the surroundings where there are so many symbols."""
    cells = 1
    while count ** (cells + 2) <= SURROUNDINGS:
        cells += 2
    return cells


def _gap_codes(gaps: NDArray[np.int64], shifts: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Codes of gaps, and their bits."""
    # In units of the first block, blocks begin where they do for a shift of 0.
    block = np.searchsorted(_UNIT_STARTS, gaps >> shifts, side="right") - 1
    more = shifts + np.maximum(0, block - EVEN_BLOCKS)
    rest = gaps - (_UNIT_STARTS[block] << shifts)
    ones = (1 << block) - 1
    return ((ones << 1 << more) | rest).astype(np.uint64), block + 1 + more


def gap_bits(gaps: NDArray[np.int64], shift: int) -> int:
    """What gaps take that begin in a band of this shift."""
    return int(_gap_codes(gaps, np.full(len(gaps), shift))[1].sum())


_UNIT_SIZES = 1 << np.maximum(0, np.arange(BLOCKS) - EVEN_BLOCKS)
_UNIT_STARTS = np.cumsum(_UNIT_SIZES) - _UNIT_SIZES
_BLOCK_STARTS = [(_UNIT_STARTS << shift).tolist() for shift in range(SHIFT_MOST + 1)]


def _word(padded: bytes, at: int) -> int:
    """The next bits, as the highest of 64, of which 57 are right."""
    start = at >> 3
    return int.from_bytes(padded[start : start + 8], "big") << (at & 7) & 0xFFFFFFFFFFFFFFFF


def _check(habits: Habits) -> None:
    """Raises ValueError."""
    kinds = {"bands": np.uint8, "shifts": np.uint8, "likely": np.uint8, "characters": np.int32, "codes": np.uint8}
    if any(getattr(habits, name).dtype != kind for name, kind in kinds.items()) or habits.symbols.shape != (1,):
        raise ValueError("its habits do not fit together")
    count = int(habits.symbols[0])
    if not 1 < count <= SURROUNDINGS or habits.bands.shape != (count ** window(count),):
        raise ValueError(f"its habits are of {count} symbols")
    shapes = (habits.likely.shape, habits.shifts.shape, habits.codes.shape[1:], habits.codes.ndim)
    if shapes != (habits.bands.shape, (BANDS,), (len(habits.characters) + 1,), 2) or not len(habits.characters):
        raise ValueError("its habits do not fit together")
    if habits.bands.max() >= BANDS or habits.shifts.max() > SHIFT_MOST or habits.likely.max() >= len(habits.codes):
        raise ValueError("its habits have bands or kinds that are none")
    if habits.characters.min() < 0 or habits.characters.max() >> OTHER_BITS:
        raise ValueError("its habits have characters that are none")
    if not are_codes(habits.codes, CHARACTER_BITS) or (habits.codes[:, -1] > CHARACTER_BITS).any():
        raise ValueError("the codes of its habits are no prefix codes")
