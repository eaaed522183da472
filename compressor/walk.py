"""Owns the walk through frames of pieces, many side by side: a step of numpy takes a piece of each part of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from compressor.prefixes import WORD

GROUP_BITS = 12  # of the longest code of a group
DRAWER_BITS = 10  # of the longest code of a drawer
STEPS = 16  # that are taken before it is looked whether all parts are read
WORD_BYTES = WORD // 8
_walking = Lock()  # of a thread that takes steps: two at once would hand the interpreter to each other at every call


@dataclass(frozen=True, slots=True)
class Tables:
    """What the next bits mean."""

    group: NDArray[np.uint64]  # (contexts << GROUP_BITS,) group << DRAWER_BITS + 4 | bits of its code
    # (groups << DRAWER_BITS,) first << 8 | bits of a word behind code and place, where `first`, which may be less than
    # 0, and code and place as one number add up to the piece.
    drawer: NDArray[np.uint64]
    context: NDArray[np.uint64]  # (pieces + 1,) << GROUP_BITS
    lengths: NDArray[np.uint8]  # (pieces,) symbols of each


def walk(
    tables: Tables, frames: Sequence[bytes | memoryview], halves: NDArray[np.int64], symbols: NDArray[np.int64]
) -> NDArray[np.int32]:
    """The pieces of the parts of frames, (steps, 4, frames), until each has as many symbols as it may need, or no bits.

    halves: (2, frames) bytes of each, which end a frame; symbols: (4, frames). A step takes a bit at least.
    """
    data = np.frombuffer(b"".join([*frames, bytes(WORD_BYTES)]), np.uint8)
    # Backwards, the last bit is the first one.
    both = np.concatenate([data, _REVERSED.take(data[::-1]), np.zeros(WORD_BYTES, np.uint8)])
    words = np.ndarray(len(both) - WORD_BYTES + 1, ">u8", both, strides=(1,)).astype(np.uint64)  # from each byte on
    end = np.cumsum([len(frame) for frame in frames])
    middle, start = end - halves[1], end - halves.sum(0)
    back = 2 * len(data)
    limits = 8 * np.concatenate([middle, back - start, end, back - middle])
    places = _Places(tables, words, 8 * np.concatenate([start, back - middle, middle, back - end]))
    left, open_parts = symbols.flatten(), np.arange(symbols.size)
    blocks = []
    while open_parts.size:
        block = np.empty((STEPS, open_parts.size), np.int64)
        with _walking:
            for pieces in block:
                places.step(pieces)
        np.minimum(block, len(tables.lengths) - 1, out=block)  # a drawer may have more places than pieces
        left[open_parts] -= tables.lengths.take(block).sum(0, dtype=np.int64)
        whole = np.zeros((STEPS, symbols.size), np.int32)
        whole[:, open_parts] = block
        blocks.append(whole)
        kept = (left[open_parts] > 0) & (places.at < limits[open_parts])
        open_parts = open_parts[kept]
        places.keep(kept)
    return np.concatenate(blocks).reshape(-1, *symbols.shape)


class _Places:
    """Where the next bits lie. A step is so many calls of numpy, and they are what it costs: none is wasted."""

    def __init__(self, tables: Tables, words: NDArray[np.uint64], at: NDArray[np.int64]) -> None:
        self.at = at  # in bits
        self._context = np.full(at.shape, tables.context[-1])
        self._tables = tables
        self._words = words
        self._make_room()

    def keep(self, which: NDArray[np.bool_]) -> None:
        """These places alone."""
        if not which.all():
            self.at, self._context = self.at[which], self._context[which]
            self._make_room()

    def _make_room(self) -> None:
        self._word, self._one, self._other = np.empty((3, len(self.at)), np.uint64)
        self._signed = self._word.view(np.int64), self._one.view(np.int64), self._other.view(np.int64)

    def step(self, pieces: NDArray[np.int64]) -> None:
        """The next piece of each into `pieces`."""
        bits, word, one, other, tables = self.at.view(np.uint64), self._word, self._one, self._other, self._tables
        word_signed, one_signed, other_signed = self._signed
        np.right_shift(bits, _THREE, one)
        self._words.take(one_signed, None, word, "clip")
        np.bitwise_and(bits, _SEVEN, one)
        np.left_shift(word, one, word)
        np.right_shift(word, _GROUP_SHIFT, one)
        np.bitwise_or(one, self._context, one)
        tables.group.take(one_signed, None, other, "clip")
        np.bitwise_and(other, _FIFTEEN, one)
        np.left_shift(word, one, word)
        np.add(bits, one, bits)
        np.right_shift(other, _FOUR, other)
        np.right_shift(word, _DRAWER_SHIFT, one)
        np.bitwise_or(one, other, one)
        tables.drawer.take(one_signed, None, other, "clip")
        np.bitwise_and(other, _BYTE, one)
        np.right_shift(word, one, word)
        np.subtract(bits, one, bits)
        np.add(bits, _WHOLE, bits)
        np.right_shift(other_signed, _EIGHT, pieces)
        np.add(pieces, word_signed, pieces)
        tables.context.take(pieces, None, self._context, "clip")


_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
_EIGHT = np.array(8, np.int64)
# Arrays of no dimension: numpy takes half as long over them as over its own scalars.
_THREE, _FOUR, _SEVEN, _FIFTEEN, _BYTE, _WHOLE, _GROUP_SHIFT, _DRAWER_SHIFT = (
    np.array(number, np.uint64) for number in (3, 4, 7, 15, 255, WORD, WORD - GROUP_BITS, WORD - DRAWER_BITS)
)
