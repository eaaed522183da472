"""Owns what a word's occurrences come to in a passage: BM25's share of its weight, and a byte that bounds it.

Frequencies are weighed as FTS5's bm25() does, whose scores the weights of the fusion were fitted to. Knows no words.
"""

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75
LEVELS = 256
# More than the share at each level, less than a step above the least of it.
SHARES: NDArray[np.float64] = np.arange(1, LEVELS + 1) / LEVELS
_BLOCK = 1 << 20  # postings weighed at a time


def steepness(words: int, passages: int) -> float:
    """What a word more makes of the norm, where so many passages have so many words in all."""
    return K1 * B / max(words / max(1, passages), 1.0)


def norms(lengths: NDArray[np.int32], steep: float) -> NDArray[np.float32]:
    """What passages' lengths make of occurrences in them: `often` of these are often / (often + norm) of the weight."""
    return lengths.astype(np.float32) * np.float32(steep) + np.float32(K1 * (1 - B))


def levels_of(
    places: NDArray[np.int32], counts: NDArray[np.uint8], lengths: NDArray[np.int32], steep: float
) -> NDArray[np.uint8]:
    """The share of its weight that a word gives a passage, for each posting: in LEVELS steps, rounded down."""
    levels = np.empty(len(places), np.uint8)
    below = norms(lengths, steep)
    for begin in range(0, len(places), _BLOCK):
        these = slice(begin, begin + _BLOCK)
        often = counts[these].astype(np.float32)
        often /= often + below.take(places[these])
        levels[these] = np.minimum(often * LEVELS, LEVELS - 1)
    return levels


def tops_of(levels: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The highest level of each word's postings, of which none has none. starts: (words + 1,)."""
    return np.maximum.reduceat(levels, starts[:-1]) if len(levels) else np.empty(0, np.uint8)
