"""Owns the learning of pieces: which strings of symbols repeat in much text, and how they follow each other.

The vocabulary grows from single symbols: text is cut into the pieces that there are, and pairs that stand side by side
more often than by chance become pieces, too. Then those that are used least are left out again.
Pieces are grouped by what stands before them, and their contexts by what follows: of all ways to do so in so many
groups, one that keeps most of what a piece tells about the next (co-clustering: Dhillon et al., 2003).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from compressor.pieces import DRAWER_STARTS, DRAWERS, GROUPS, PIECE_CELLS, Pieces
from compressor.prefixes import NO_CODE, code_bits
from compressor.walk import DRAWER_BITS, GROUP_BITS

PIECES = 150_000
# Growth: in so much of the text, so many pairs become pieces.
GROWTH = ((1 / 16, 4_000), (1 / 8, 30_000), (1 / 4, 90_000), (1 / 2, 250_000), (1.0, 250_000))
LEAST = 4  # times that a pair must be seen
KEPT = 3  # times that a piece must be used
ROUNDS = 24  # of grouping
PRIOR = 0.02  # of a group after a context, beside what was counted
UNSEEN = 0.1  # of a context and a group, while they are looked for


@dataclass(slots=True)
class _Vocabulary:
    strings: list[bytes]
    counts: NDArray[np.float64]

    def cut(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Texts, a character a symbol, as pieces."""
        costs = np.log(self.counts) - np.log(self.counts.sum())
        known = [(string.decode("latin-1"), cost) for string, cost in zip(self.strings, costs.tolist(), strict=True)]
        parser = Tokenizer(Unigram(known, unk_id=None, byte_fallback=False))
        return [np.array(each.ids, np.int64) for each in parser.encode_batch_fast(texts, add_special_tokens=False)]


def learn_pieces(symbols: Sequence[NDArray[np.uint8]], alphabet: Sequence[int], *, most: int = PIECES) -> Pieces:
    """Pieces for texts like these, the symbols of a chunk each; all of the alphabet are among them."""
    texts = [each.tobytes().decode("latin-1") for each in symbols]
    known = _Vocabulary([bytes([symbol]) for symbol in alphabet], np.ones(len(alphabet)))
    for share, pairs in GROWTH:
        cut = known.cut(texts[: max(1, int(share * len(texts)))])
        known = _grown(_used(known, cut, len(known.strings)), known, cut, pairs)
    for pieces in (2 * most, most):
        known = _used(known, known.cut(texts), pieces)
    cut = known.cut(texts)
    return _coded(known.strings, cut)


def _used(known: _Vocabulary, cut: Sequence[NDArray[np.int64]], most: int) -> _Vocabulary:
    """The pieces that a text was cut into most often, and all single symbols."""
    counts = np.bincount(np.concatenate(cut), minlength=len(known.strings)).astype(np.float64)
    single = np.array([len(string) == 1 for string in known.strings])
    kept = (counts >= KEPT) | single
    kept[np.argsort(-(counts + single * counts.sum()), kind="stable")[most:]] = False
    strings = [known.strings[place] for place in np.flatnonzero(kept)]
    return _Vocabulary(strings, np.maximum(counts[kept], 0.5))


def _grown(used: _Vocabulary, known: _Vocabulary, cut: Sequence[NDArray[np.int64]], pairs: int) -> _Vocabulary:
    """`used` and so many pairs of the pieces `known`: those that save most."""
    size = len(known.strings)
    keys = np.sort(np.concatenate([each[:-1] * size + each[1:] for each in cut]))
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    seen = np.diff(starts, append=len(keys))
    first, second = keys[starts] // size, keys[starts] % size
    counts = np.bincount(np.concatenate(cut), minlength=size)
    lengths = np.array(list(map(len, known.strings)))
    fitting = np.flatnonzero((seen >= LEAST) & (lengths[first] + lengths[second] <= PIECE_CELLS))
    first, second, seen = first[fitting], second[fitting], seen[fitting]
    gain = seen * np.log(seen * float(counts.sum()) / (counts[first] * counts[second].astype(np.float64)))
    found = dict(zip(used.strings, used.counts.tolist(), strict=True))
    for place in np.argsort(-gain, kind="stable")[:pairs].tolist():
        string = known.strings[first[place]] + known.strings[second[place]]
        found.setdefault(string, float(seen[place]))
    return _Vocabulary(list(found), np.array(list(found.values())))


def _coded(strings: Sequence[bytes], cut: Sequence[NDArray[np.int64]]) -> Pieces:
    """Pieces and the codes that fit how a text is cut into them."""
    size = len(strings)
    before = np.concatenate([np.concatenate([[size], each[:-1]]) for each in cut])
    after = np.concatenate(cut)
    context, group = _grouped(before, after, size)
    counts = np.bincount(after, minlength=size)
    order = np.lexsort((-counts, group))
    _, sizes = np.unique(group, return_counts=True)
    table = np.bincount(context[before] * len(sizes) + group[after], minlength=(context.max() + 1) * len(sizes))
    firsts = np.cumsum(sizes) - sizes
    drawer_codes = np.full((len(sizes), DRAWERS), NO_CODE, np.uint8)
    for row, first, held in zip(drawer_codes, firsts, sizes, strict=True):
        ends = np.append(DRAWER_STARTS[1:][DRAWER_STARTS[1:] < held], held)
        used = np.add.reduceat(counts[order[first : first + held]] + 0.5, np.append(0, ends[:-1]))
        row[: len(ends)] = code_bits(used.astype(np.float64), DRAWER_BITS)
    return Pieces(
        symbols=np.frombuffer(b"".join(strings[place] for place in order), np.uint8),
        lengths=np.array([len(strings[place]) for place in order], np.uint8),
        contexts=np.append(context[order], context[-1]).astype(np.uint8),
        sizes=sizes.astype(np.uint32),
        group_codes=np.stack(
            [code_bits(row.astype(np.float64) + PRIOR, GROUP_BITS) for row in table.reshape(-1, len(sizes))]
        ),
        drawer_codes=drawer_codes,
    )


def _grouped(
    before: NDArray[np.int64], after: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The context of each piece and of a start, (size + 1,), and the group of each piece, (size,), without gaps."""
    rng = np.random.default_rng(0)
    context, group = rng.integers(GROUPS, size=size + 1), rng.integers(GROUPS, size=size)
    for _ in range(ROUNDS):
        together = _counted(context[before], group[after], GROUPS) + UNSEEN
        following = np.log(together / together.sum(1, keepdims=True))
        context = _counted(before, group[after], size + 1) @ following.T
        context = context.argmax(1)
        together = _counted(context[before], group[after], GROUPS) + UNSEEN
        preceding = np.log(together / together.sum(0, keepdims=True))
        group = (_counted(after, context[before], size) @ preceding).argmax(1)
    return np.unique(context, return_inverse=True)[1], np.unique(group, return_inverse=True)[1]


def _counted(rows: NDArray[np.int64], columns: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """How often each row and column come together, (size, GROUPS)."""
    return np.bincount(rows * GROUPS + columns, minlength=size * GROUPS).reshape(size, GROUPS).astype(np.float32)
