"""Owns the search for a typography: what is tried next, and which trials are best. Knows no model and no page.

First trials drawn at random, then steps from the best: a neighbour of the best trial that was not tried yet, of the
next best once all of its neighbours were. What trial n tries depends on the seed, n and the trials before it alone, so
that a search that was stopped goes on as if it had not been.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from compressor.errors import ContextTooLong, DeviceFull
from compressor.vlm.recipe import Recipe
from compressor.vlm.typographies import Space

DRAWS = 100  # at random for a typography that was not tried yet, before the first such one is taken


@dataclass(frozen=True, slots=True)
class Measured:
    """What pages of one typography cost, and what is read of them."""

    fidelity: float  # share of the characters that are read back right, 0..1
    tokens: float  # vision tokens for a thousand text tokens


@dataclass(frozen=True, slots=True)
class Trial:
    """One typography that was tried."""

    number: int  # from 0
    phase: str  # "built-in", "random" or "local"
    recipe: Recipe
    measured: Measured | None  # None where it could not be measured
    fault: str | None  # why
    seconds: float

    @property
    def got(self) -> Measured:
        """Its measure, of a trial that has one."""
        assert self.measured is not None, "this trial could not be measured"
        return self.measured


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted: the fewest tokens with a fidelity, or the highest fidelity within tokens.

    With both, the fewest tokens that reach the fidelity, and no more than the most.
    """

    fidelity: float | None  # at least
    tokens: float | None  # at most

    def shortfall(self, measured: Measured) -> float:
        """How far it is from what is wanted, as a share of it; 0 where it is met."""
        lost = max(0.0, self.fidelity - measured.fidelity) / self.fidelity if self.fidelity else 0.0
        over = max(0.0, measured.tokens / self.tokens - 1) if self.tokens else 0.0
        return lost + over

    def order(self, measured: Measured) -> tuple[float, float, float]:
        """Less is better."""
        if self.fidelity is None:
            return self.shortfall(measured), -measured.fidelity, measured.tokens
        return self.shortfall(measured), measured.tokens, -measured.fidelity


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for, where, and for how long."""

    goal: Goal
    trials: int = 40  # in all, those that were done before included
    random: int = 12  # of them, before steps from the best
    seed: int = 1
    space: Space = field(default_factory=Space)


Evaluate = Callable[[Recipe], Measured]


def search(evaluate: Evaluate, wanted: Search, done: Sequence[Trial] = ()) -> Iterator[Trial]:
    """Goes on from the trials that were done, and gives each further one as it is measured.

    Trial 0 is the built-in recipe, to compare with; then come those at random. What does not fit a decoder's context
    or a device is a trial without a measure; every other error ends the search. Ends early where nothing is left.
    """
    tried = list(done)
    while len(tried) < wanted.trials:
        proposed = propose(tried, wanted)
        if proposed is None:
            return
        tried.append(_try(evaluate, len(tried), *proposed))
        yield tried[-1]


def propose(tried: Sequence[Trial], wanted: Search) -> tuple[str, Recipe] | None:
    """The next trial's phase and typography; None where all were tried."""
    if not tried:
        return "built-in", Recipe()
    rng = Random(f"{wanted.seed}/{len(tried)}")
    seen = {trial.recipe for trial in tried}
    if len(tried) > wanted.random:  # trial 0 is not one of them
        for parent in ranked(tried, wanted.goal):
            fresh = [recipe for recipe in wanted.space.neighbours(parent.recipe) if recipe not in seen]
            if fresh:
                return "local", rng.choice(fresh)
    drawn = (wanted.space.sample(rng) for _ in range(DRAWS))
    found = next((recipe for recipe in drawn if recipe not in seen), None)
    found = found or next((recipe for recipe in wanted.space.every() if recipe not in seen), None)
    return None if found is None else ("random", found)


def ranked(trials: Sequence[Trial], goal: Goal) -> list[Trial]:
    """Those that were measured, the best first; of equal ones the earlier."""
    measured = [trial for trial in trials if trial.measured is not None]
    return sorted(measured, key=lambda trial: (goal.order(trial.got), trial.number))


def frontier(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that no other beats in both fidelity and tokens, the fewest tokens first."""
    best: list[Trial] = []
    for trial in ranked(trials, Goal(fidelity=0.0, tokens=None)):
        if not best or trial.got.fidelity > best[-1].got.fidelity:
            best.append(trial)
    return best


def _try(evaluate: Evaluate, number: int, phase: str, recipe: Recipe) -> Trial:
    start = time.monotonic()
    measured, fault = None, None
    try:
        measured = evaluate(recipe)
    except (ContextTooLong, DeviceFull) as error:
        fault = str(error)
    return Trial(number, phase, recipe, measured, fault, round(time.monotonic() - start, 3))
