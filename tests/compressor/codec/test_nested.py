"""Rates under a token budget: what matters stays as stored."""

from hypothesis import given
from hypothesis import strategies as st

from compressor.codec.nested import Stored, plan_rates, planned_tokens

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
