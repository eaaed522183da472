"""Owns the adaptive rate: each chunk gets the fewest tokens that still read well enough.

All rates come out of one pass of the network, because each is merged from the one below; only reading back is done
again for the chunks that a rate reads too poorly, and the highest rate stops where too much is wrong already.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.codec.native import NativeCodec, set_texts
from compressor.codec.typography import TextGrid
from compressor.codec.weights import RATES

PROBED_FROM = 80  # the rate from which on most text is read too poorly: one part of a chunk may tell
PROBE = 3  # a third of its tokens


@dataclass(frozen=True, slots=True)
class Budget:
    """What a rate may get wrong about a chunk and still be chosen."""

    accuracy: float = 0.99  # least share of characters read right before the residual
    # Most residual bytes, as a share of the text's UTF-8 bytes: the next lower rate costs twice the tokens.
    residual: float = 0.1

    def holds(self, cache: Cache, text: str) -> bool:
        """Whether a verified cache stays within it."""
        return cache.raw_char_accuracy >= self.accuracy and len(cache.residual) <= self.residual * len(text.encode())


def encode_adaptive(
    codecs: Sequence[NativeCodec],
    texts: Sequence[str],
    styles: Sequence[NDArray[np.uint8]] | None = None,
    *,
    budget: Budget,
) -> list[Cache]:
    """A verified cache of every text, by whichever of the codecs needs the fewest tokens within the budget.

    Of rates that need as many tokens the lowest is taken; where none holds the budget, too. `codecs` are rates of one
    set of weights. Raises ValueError for text that is not Unicode.
    """
    ordered = sorted(codecs, key=lambda codec: codec.rate)
    grids = set_texts(texts, styles)
    by_rate = ordered[-1].draw_and_encode(grids)
    found: list[Cache | None] = [None] * len(texts)
    for codec, below in zip(reversed(ordered), [*reversed(ordered[:-1]), None], strict=True):
        levels = by_rate[RATES.index(codec.rate)]
        lower = None if below is None else by_rate[RATES.index(below.rate)]
        left = [
            place
            for place, cache in enumerate(found)
            if cache is None and (lower is None or len(lower[place]) > len(levels[place]))
        ]
        if lower is not None and codec.rate >= PROBED_FROM:
            left = _within_reach(codec, left, texts, grids, levels, budget)
        caches = codec.verify(
            [texts[place] for place in left], [grids[place] for place in left], [levels[place] for place in left]
        )
        for place, cache in zip(left, caches, strict=True):
            if codec is ordered[0] or budget.holds(cache, texts[place]):
                found[place] = cache
    return [cache for cache in found if cache is not None]


def _within_reach(
    codec: NativeCodec,
    places: Sequence[int],
    texts: Sequence[str],
    grids: Sequence[TextGrid],
    levels: Sequence[NDArray[np.uint8]],
    budget: Budget,
) -> list[int]:
    """The places of chunks that do not miss the budget for certain, by what is wrong in a part of each."""
    parts = [levels[place][: -(-len(levels[place]) // PROBE)] for place in places]
    wrong = codec.misread([grids[place] for place in places], parts)
    lengths = [max(1, len(texts[place])) for place in places]
    return [
        place
        for place, missed, length in zip(places, wrong, lengths, strict=True)
        if (length - missed) / length >= budget.accuracy
    ]
