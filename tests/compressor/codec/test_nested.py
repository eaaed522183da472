"""Rates under a token budget: what matters stays as stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.codec.native import load_codec
from compressor.codec.nested import Stored, merge_within, plan_rates, planned_tokens
from compressor.codec.weights import available_rates

CACHES = st.lists(
    st.builds(
        Stored,
        rate=st.sampled_from([10, 20, 40]),
        vision_tokens=st.integers(1, 200),
        relevance=st.floats(0, 1, allow_nan=False),
    ),
    max_size=12,
)


def test_what_fits_stays_as_it_is_stored() -> None:
    caches = [Stored(20, 40, 0.1), Stored(10, 80, 0.9)]
    assert plan_rates(caches, 120, highest=80) == [20, 10]


def test_the_least_relevant_is_merged_first_and_no_further_than_it_must() -> None:
    caches = [Stored(20, 40, 0.9), Stored(20, 40, 0.1), Stored(20, 40, 0.5)]
    assert plan_rates(caches, 100, highest=80) == [20, 40, 20]
    assert plan_rates(caches, 80, highest=80) == [20, 40, 40]
    assert plan_rates(caches, 60, highest=80) == [40, 40, 40]
    assert plan_rates(caches, 50, highest=80) == [40, 80, 40]


def test_a_budget_that_cannot_be_met_ends_with_everything_at_the_highest_rate() -> None:
    caches = [Stored(20, 40, 0.9), Stored(10, 41, 0.1)]
    rates = plan_rates(caches, 5, highest=80)
    assert rates == [80, 80]
    assert planned_tokens(caches, rates) == 10 + 6


@given(CACHES, st.integers(0, 800))
def test_a_plan_holds_its_budget_wherever_one_can(caches: list[Stored], budget: int) -> None:
    rates = plan_rates(caches, budget, highest=80)
    least = planned_tokens(caches, [80] * len(caches))
    assert planned_tokens(caches, rates) <= max(budget, least)
    assert all(rate >= cache.rate for rate, cache in zip(rates, caches, strict=True))


def test_caches_are_merged_until_they_fit_and_the_relevant_ones_stay_exact() -> None:
    codecs = [load_codec(f"native-{rate}", device="cpu") for rate in available_rates()]
    texts = [f"Chapter {number}: the water rose by {number * 37} millimetres an hour.\n" * 30 for number in range(4)]
    caches = codecs[0].encode(texts)
    total = sum(cache.vision_tokens for cache in caches)
    merged = merge_within(caches, [0.1, 0.9, 0.5, 0.3], total * 3 // 4, codecs=codecs)
    assert sum(cache.vision_tokens for cache in merged) <= total * 3 // 4
    assert merged[1] is caches[1]
    assert merged[0].codec == codecs[1].fingerprint
    assert codecs[0].read([merged[1]]) == [texts[1]]


def test_a_budget_that_even_the_highest_rate_misses_is_refused_with_the_numbers() -> None:
    codecs = [load_codec(f"native-{rate}", device="cpu") for rate in available_rates()]
    caches = codecs[0].encode(["word " * 400])
    left = codecs[-1].encode(["word " * 400])[0].vision_tokens
    message = f"{left} vision tokens are left with everything merged to {codecs[-1].name}, the budget is 1"
    with pytest.raises(ValueError, match=message):
        merge_within(caches, [1.0], 1, codecs=codecs)
