"""Owns the rates of many caches under a token budget: what matters stays as stored, the rest is to be merged.

A native cache merges to any higher rate out of its tokens alone, two to one from rate to rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass


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
