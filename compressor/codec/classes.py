"""Owns which characters share a code where codes are fewer than characters: those that their neighbours tell apart.

Two characters are confused as often as the same neighbours stand around both; characters are given out to codes so
that those of one code are confused least. It is how a telephone's keys spell words, with keys chosen for it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compressor.codec.corpus import LINE_FEED, PRINTABLE, Corpus
from compressor.codec.typography import BLANK

CHARACTERS = np.array([BLANK, *PRINTABLE, LINE_FEED], np.int32)
ATTEMPTS = 20  # orders in which characters are moved; the best end is kept


def share_codes(corpus: Corpus, shares: Mapping[str, float], codes: int) -> NDArray[np.int64]:
    """The code of each of `CHARACTERS`, (characters,) below `codes`, by training text in these shares of its kinds."""
    confused = _confusions(corpus, shares)
    rng = np.random.default_rng(0)
    ends = [_give_out(confused, codes, rng) for _ in range(ATTEMPTS)]
    return min(ends, key=lambda given: float(confused[given[:, None] == given[None]].sum()))


def _confusions(corpus: Corpus, shares: Mapping[str, float]) -> NDArray[np.float64]:
    """How often the same two neighbours stand around two characters, as shares of text, (characters, characters)."""
    size = len(CHARACTERS) + 1  # the last stands for all others
    known = np.full(int(CHARACTERS.max()) + 2, size - 1)
    known[CHARACTERS] = np.arange(size - 1)
    between = np.zeros((size * size, size))
    for kind, cells in corpus.train.items():
        if len(cells) < 3 or not shares.get(kind):
            continue
        text = known[np.minimum(cells, len(known) - 1)]
        found = np.bincount((text[:-2] * size + text[2:]) * size + text[1:-1], minlength=size**3)
        between += shares[kind] * found.reshape(size * size, size) / found.sum()
    between = between[:, :-1]
    confused = np.stack([np.minimum(between[:, [place]], between).sum(0) for place in range(size - 1)])
    np.fill_diagonal(confused, 0)
    return confused


def _give_out(confused: NDArray[np.float64], codes: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Moves one character after the other to the code where it is confused least, until none gains by moving."""
    given = rng.integers(codes, size=len(confused))
    moved = True
    while moved:
        moved = False
        for place in rng.permutation(len(confused)):
            cost = np.bincount(given, weights=confused[place], minlength=codes)
            if cost.min() < cost[given[place]] - 1e-15:
                given[place] = cost.argmin()
                moved = True
    return given
