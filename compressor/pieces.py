"""Owns pieces: strings of symbols that are written as one, and the bits that name them. Knows nothing of tokens.

A chunk's symbols are cut into pieces of a vocabulary, as long as words and longer. Each piece belongs to a group, and
lies in a drawer of its group, the frequent ones before the rare: four drawers hold one piece each, the next four two
each, then four each, and so on. A piece is written as the code of its group, which depends on the piece before it; the
code of the drawer; and the place in the drawer, in plain bits. Codes are prefix codes, the shorter the more frequent.

A frame's symbols are cut in four, to be read side by side (`walk.py`): its pieces are written from its start on, from
its middle back, from its middle on, and from its end back. Before them stands where the middle is, in two bytes or
four: a 1, which is not how a zstd frame begins; whether there are four; and the bytes of the first half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from compressor.frames import FRAME_LIMIT
from compressor.prefixes import WORD, are_codes, code_table, codes_of, spread_bits
from compressor.walk import DRAWER_BITS, GROUP_BITS, Tables, walk

DRAWERS = 64  # of a group, at most
EACH = 4  # drawers of a size
GROUPS = 256  # at most, and as many contexts
PIECE_CELLS = 64  # symbols of a piece, at most
BLOCK_PIECES = 4096  # are spelt out at once: what comes in between stays in a core's cache
# Side by side, each frame takes the memory of the longest: frames are read apart where that is so many times what they
# hold, and a few more.
MOST_SPARE, FEW_SYMBOLS = 4, 1 << 16
FIRST_BIT, SECOND_BIT = 0x80, 0x40  # of a frame's first byte
DRAWER_SIZES = 1 << np.arange(DRAWERS) // EACH
DRAWER_STARTS = np.cumsum(DRAWER_SIZES) - DRAWER_SIZES


@dataclass(frozen=True)
class Pieces:
    """A vocabulary and its codes; the pieces of a group lie side by side. Safe for several threads."""

    symbols: NDArray[np.uint8]  # of all pieces, one behind the other
    lengths: NDArray[np.uint8]  # (pieces,) symbols of each
    contexts: NDArray[np.uint8]  # (pieces + 1,) what a piece is for the next one; the last is that of a frame's start
    sizes: NDArray[np.uint32]  # (groups,) pieces of each
    group_codes: NDArray[np.uint8]  # (contexts, groups) bits of each code
    drawer_codes: NDArray[np.uint8]  # (groups, DRAWERS) bits of each code; more than DRAWER_BITS: there is none

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What `from_tensors` takes."""
        return {f"pieces.{name}": getattr(self, name) for name in self.__dataclass_fields__}

    @staticmethod
    def from_tensors(tensors: Mapping[str, NDArray[Any]]) -> "Pieces | None":
        """None where there are no pieces. Raises ValueError for those that nothing can be coded with, KeyError."""
        if not any(name.startswith("pieces.") for name in tensors):
            return None
        pieces = Pieces(**{name: tensors[f"pieces.{name}"] for name in Pieces.__dataclass_fields__})
        _check(pieces)
        return pieces

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(pieces,) where each begins in `symbols`."""
        ends = np.cumsum(self.lengths, dtype=np.int64)
        return ends - self.lengths

    @cached_property
    def groups(self) -> NDArray[np.uint8]:
        """(pieces,) the group of each."""
        return np.repeat(np.arange(len(self.sizes), dtype=np.uint8), self.sizes)

    @cached_property
    def own_codes(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """(pieces,) drawer and place of each as one code, and its bits."""
        firsts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        place = np.arange(len(self.lengths)) - firsts[self.groups]
        drawer = np.searchsorted(DRAWER_STARTS, place, side="right") - 1
        extra = drawer // EACH
        code = codes_of(self.drawer_codes, DRAWER_BITS)[self.groups, drawer] << extra | place - DRAWER_STARTS[drawer]
        return code.astype(np.uint64), self.drawer_codes[self.groups, drawer] + extra

    @cached_property
    def _own_bits(self) -> NDArray[np.uint8]:
        return self.own_codes[1].astype(np.uint8)

    @cached_property
    def group_numbers(self) -> NDArray[np.uint64]:
        """(contexts, groups) the codes of groups."""
        return codes_of(self.group_codes, GROUP_BITS).astype(np.uint64)

    @cached_property
    def _tables(self) -> Tables:
        """What frames are read with."""
        group = code_table(self.group_codes, GROUP_BITS)
        drawer = code_table(self.drawer_codes, DRAWER_BITS)
        row, drawer, bits = np.arange(len(drawer)) >> DRAWER_BITS, drawer >> 4, drawer & 15
        firsts = np.cumsum(self.sizes, dtype=np.int64) - self.sizes
        extra = drawer // EACH
        code = codes_of(self.drawer_codes, DRAWER_BITS)[row, drawer]
        first = firsts[row] + DRAWER_STARTS[drawer] - (code << extra)
        return Tables(
            group=(group >> 4 << DRAWER_BITS + 4 | group & 15).astype(np.uint64),
            drawer=(first << 8 | WORD - bits - extra).view(np.uint64),
            context=self.contexts.astype(np.uint64) << np.uint64(GROUP_BITS),
            lengths=self.lengths,
        )

    @cached_property
    def parser(self) -> Tokenizer:
        """Cuts symbols, one character each, so that the pieces are those which take the fewest bits by themselves."""
        text = self.symbols.tobytes().decode("latin-1")
        # A group's share of all pieces is not stored; its mean bits over contexts tell it well enough.
        group_bits = self.group_codes.mean(0)
        bits = (self.own_codes[1] + group_bits[self.groups]).tolist()
        starts, ends = self.starts.tolist(), (self.starts + self.lengths).tolist()
        vocabulary = [(text[start:end], -cost) for start, end, cost in zip(starts, ends, bits, strict=True)]
        return Tokenizer(Unigram(vocabulary, unk_id=None, byte_fallback=False))

    def pack(self, plain: NDArray[np.uint8]) -> bytes:
        """Symbols (size,) as a frame, which does not name their number; b"" for none."""
        if not plain.size:
            return b""
        ids = np.array(self.parser.encode(plain.tobytes().decode("latin-1"), add_special_tokens=False).ids)
        ends = np.cumsum(self.lengths[ids], dtype=np.int64)
        quarter = np.searchsorted(quarters(np.array([len(plain)]))[1:-1, 0], ends - self.lengths[ids], side="right")
        contexts = self.contexts[np.where(np.diff(quarter, prepend=-1), -1, np.concatenate([[-1], ids[:-1]]))]
        own, own_bits = self.own_codes[0][ids], self.own_codes[1][ids]
        codes = self.group_numbers[contexts, self.groups[ids]] << own_bits.astype(np.uint64) | own
        bits = self.group_codes[contexts, self.groups[ids]] + own_bits
        parts = [spread_bits(codes[quarter == part], bits[quarter == part]) for part in range(4)]
        first, second = (
            np.packbits(np.concatenate([onwards, np.zeros(-(len(onwards) + len(back)) % 8, np.uint8), back[::-1]]))
            for onwards, back in (parts[:2], parts[2:])
        )
        return write_middle(len(first)) + first.tobytes() + second.tobytes()

    def unpack(self, frames: Sequence[bytes | memoryview], sizes: Sequence[int]) -> NDArray[np.uint8]:
        """The inverse of `pack`, for many frames: (symbols,) of all, one after the other.

        `sizes` are the symbols that each holds, FRAME_LIMIT at most. Raises ValueError for anything else.
        """
        if max(sizes, default=0) > FRAME_LIMIT:
            raise ValueError(f"a frame of {max(sizes):,} symbols; at most {FRAME_LIMIT:,} are read")
        if any(is_pieces(frame) != bool(size) for frame, size in zip(frames, sizes, strict=True)):
            raise ValueError("a frame without pieces or symbols")
        kept = [place for place, size in enumerate(sizes) if size]
        if not kept:
            return np.zeros(0, np.uint8)
        plain = np.empty(sum(sizes), np.uint8)
        if max(sizes) * len(sizes) > MOST_SPARE * (len(plain) + FEW_SYMBOLS):
            long = np.array(sizes) > max(sizes) // 2
            for kind in (False, True):
                places_of = np.flatnonzero(long == kind).tolist()
                alike = self.unpack([frames[place] for place in places_of], [sizes[place] for place in places_of])
                plain[np.repeat(long == kind, sizes)] = alike
            return plain
        ids = self._read([frames[place] for place in kept], np.array([sizes[place] for place in kept]))
        places = np.arange(BLOCK_PIECES * PIECE_CELLS)
        end = 0
        for first in range(0, len(ids), BLOCK_PIECES):
            block = ids[first : first + BLOCK_PIECES]
            lengths = self.lengths.take(block)
            ends = np.cumsum(lengths, dtype=np.int64)
            spelt = np.repeat(self.starts.take(block) - ends + lengths, lengths)
            spelt += places[: len(spelt)]
            self.symbols.take(spelt, out=plain[end : end + len(spelt)], mode="clip")
            end += len(spelt)
        return plain

    def _read(self, frames: Sequence[bytes | memoryview], sizes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Pieces of frames, one after the other. Raises ValueError where they are not of so many symbols."""
        halves = read_middles(frames)  # (2, frames) bytes of each
        bounds = quarters(sizes)
        steps = walk(self._tables, frames, halves, np.diff(bounds, axis=0))  # (steps, 4, frames)
        lengths = np.cumsum(self.lengths.take(steps), axis=0, dtype=np.int64)
        done = np.zeros(len(frames), np.int64)
        counts = np.zeros((4, len(frames)), np.int64)
        for part, end in enumerate(bounds[1:]):
            counts[part] = np.minimum((lengths[:, part] < end - done).sum(0) + (end > done), len(steps))
            last = np.take_along_axis(lengths[:, part], counts[None, part] - 1, 0)[0]
            done += np.where(counts[part], last, 0)
        before = np.concatenate([np.full((1, *counts.shape), len(self.lengths)), steps[:-1]])
        follows = self.contexts.take(before).astype(np.int64) * len(self.sizes) + self.groups.take(steps)
        bits = self.group_codes.ravel().take(follows) + self._own_bits.take(steps)
        written = np.arange(len(steps))[:, None, None] < counts
        read = ((bits * written).sum(0, dtype=np.int64).reshape(2, 2, -1).sum(1) + 7) // 8
        wrong = np.flatnonzero((done != sizes) | (read != halves).any(0))
        if len(wrong):
            place = wrong[0]
            found = f"{done[place]} symbols in {read[0, place]} + {read[1, place]} bytes"
            raise ValueError(f"{found} in place of {sizes[place]} in {halves[0, place]} + {halves[1, place]}")
        ids: NDArray[np.int32] = steps.transpose(2, 1, 0)[written.transpose(2, 1, 0)]
        return ids


def quarters(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the four parts of so many symbols begin, and where the last ends: (5, sizes). A piece is of that part in
    which it begins."""
    return -(-sizes * np.arange(5)[:, None] // 4)


def write_middle(middle: int) -> bytes:
    """What a frame begins with. Raises ValueError for one that is too long."""
    if middle < 1 << 14:
        return (1 << 15 | middle).to_bytes(2, "big")
    if middle >= 1 << 30:
        raise ValueError(f"half a frame of {middle:,} bytes")
    return (3 << 30 | middle).to_bytes(4, "big")


def read_middles(frames: Sequence[bytes | memoryview]) -> NDArray[np.int64]:
    """Bytes of both halves of each frame, (2, frames). Raises ValueError for frames that cannot be."""
    halves = []
    for frame in frames:
        long = frame[0] & SECOND_BIT > 0
        begin = 4 if long else 2
        middle = int.from_bytes(frame[:begin], "big") & (1 << (30 if long else 14)) - 1
        if len(frame) < begin + middle:
            raise ValueError(f"half a frame of {middle:,} bytes in {len(frame):,}")
        halves.append((middle, len(frame) - begin - middle))
    return np.array(halves, np.int64).T


def is_pieces(frame: bytes | memoryview) -> bool:
    """Whether a frame is of pieces: not empty, and none of zstd without its magic number."""
    return bool(len(frame)) and frame[0] >= FIRST_BIT


def _check(pieces: Pieces) -> None:
    """Raises ValueError for pieces that nothing can be coded with."""
    kinds = {name: getattr(pieces, name).dtype for name in pieces.__dataclass_fields__}
    expected = {name: np.dtype(np.uint32 if name == "sizes" else np.uint8) for name in kinds}
    count, groups, contexts = len(pieces.lengths), len(pieces.sizes), len(pieces.group_codes)
    shapes = [getattr(pieces, name).shape for name in pieces.__dataclass_fields__]
    fitting = [(int(pieces.lengths.sum(dtype=np.int64)),), (count,), (count + 1,), (groups,), (contexts, groups)]
    if kinds != expected or shapes != [*fitting, (groups, DRAWERS)]:
        raise ValueError("its pieces do not fit together")
    if not 0 < groups <= GROUPS or not 0 < contexts <= GROUPS or pieces.contexts.max() >= contexts:
        raise ValueError(f"its pieces have {groups} groups and {contexts} contexts")
    if pieces.lengths.max() > PIECE_CELLS:
        raise ValueError(f"it has a piece of {pieces.lengths.max()} symbols")
    if int(pieces.sizes.sum(dtype=np.int64)) != count or not pieces.sizes.all() or not pieces.lengths.all():
        raise ValueError("its groups do not hold its pieces")
    if pieces.sizes.max() > DRAWER_SIZES.sum():
        raise ValueError(f"it has a group of {pieces.sizes.max():,} pieces")
    # A code of no bits would let a few bytes stand for any number of pieces.
    if (
        not are_codes(pieces.group_codes, GROUP_BITS)
        or not pieces.group_codes.all()
        or (pieces.group_codes > GROUP_BITS).any()
    ):
        raise ValueError("the codes of its groups are no prefix codes")
    drawers = np.searchsorted(DRAWER_STARTS, pieces.sizes, side="left")
    needed = np.arange(DRAWERS) < drawers[:, None]
    if not are_codes(pieces.drawer_codes, DRAWER_BITS) or (pieces.drawer_codes[needed] > DRAWER_BITS).any():
        raise ValueError("the codes of its drawers are no prefix codes")
