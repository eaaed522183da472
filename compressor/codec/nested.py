"""Owns one context for many caches under a token budget: what matters stays as stored, the rest is merged.

A native cache merges to any higher rate out of its tokens alone, two to one from rate to rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compressor.cache import Cache
from compressor.codec.native import NativeCodec


@dataclass(frozen=True, slots=True)
class Stored:
    """What the plan needs to know of a cache."""

    rate: int  # text tokens a vision token stands for, nominally
    vision_tokens: int  # at that rate
    relevance: float  # higher stays nearer to what is stored; comparable within one plan


def merged_tokens(cache: Stored, rate: int) -> int:
    """Vision tokens of a cache at its own or a higher rate."""
    return -(-cache.vision_tokens // (rate // cache.rate))


def plan_rates(caches: Sequence[Stored], budget: int, *, highest: int) -> list[int]:
    """A rate for every cache, so that all together take at most `budget` vision tokens; their own where that fits.

    Rate by rate, the least relevant first: none is merged twice before all are merged once.
    A plan that misses the budget even with everything at `highest` is returned as it is.
    """
    rates = [cache.rate for cache in caches]
    total = sum(cache.vision_tokens for cache in caches)
    rate = 2 * min(rates, default=highest)
    while rate <= highest and total > budget:
        for place in sorted(range(len(caches)), key=lambda place: caches[place].relevance):
            if total <= budget:
                break
            if rates[place] < rate:
                total -= merged_tokens(caches[place], rates[place]) - merged_tokens(caches[place], rate)
                rates[place] = rate
        rate *= 2
    return rates


def planned_tokens(caches: Sequence[Stored], rates: Sequence[int]) -> int:
    """Vision tokens that a plan takes."""
    return sum(merged_tokens(cache, rate) for cache, rate in zip(caches, rates, strict=True))


def merge_within(
    caches: Sequence[Cache], relevance: Sequence[float], budget: int, *, codecs: Sequence[NativeCodec]
) -> list[Cache]:
    """Caches that take at most `budget` vision tokens together, merged by relevance as `plan_rates` says.

    A merged cache keeps its counts, its residual and its digest; what its rate misreads beyond the residual it gets
    wrong, so it is for a decoder's context, and is never stored. `codecs` are the rates of one set of weights. Raises
    UnknownCodec for a cache of another, and ValueError with the numbers where even the highest rate needs more.
    """
    by_rate = {codec.rate: codec for codec in codecs}
    rates = {codec.fingerprint: codec.rate for codec in codecs}
    highest = max(by_rate)
    for cache in caches:
        if cache.codec not in rates:
            by_rate[highest].merge([cache])  # refuses it by name
    stored = [Stored(rates[c.codec], c.vision_tokens, r) for c, r in zip(caches, relevance, strict=True)]
    plan = plan_rates(stored, budget, highest=highest)
    if planned_tokens(stored, plan) > budget:
        raise ValueError(
            f"{planned_tokens(stored, plan):,} vision tokens are left with everything merged to native-{highest}, "
            f"the budget is {budget:,}"
        )
    merged = list(caches)
    for rate in sorted(set(plan)):
        places = [place for place, wanted in enumerate(plan) if wanted == rate != stored[place].rate]
        levels = by_rate[rate].merge([caches[place] for place in places])
        for place, new in zip(places, levels, strict=True):
            merged[place] = replace(caches[place], codec=by_rate[rate].fingerprint, levels=new)
    return merged
