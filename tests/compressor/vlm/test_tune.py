"""The search finds what a landscape hides, goes on where it was stopped, and never tries a typography twice.

The landscapes are formulas: a letter of few pixels is read badly, a page of many pixels costs many tokens.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from filelock import FileLock

from compressor.errors import ContextTooLong, ModelError
from compressor.vlm.recipe import Recipe
from compressor.vlm.triallog import append_trial, open_log
from compressor.vlm.tune import Goal, Measured, Search, Trial, frontier, propose, ranked, search
from compressor.vlm.tuneplot import draw_trials
from compressor.vlm.tunerun import LOG, run_search
from compressor.vlm.typographies import Space

ABOUT = {"model": "hf:landscape", "text": "abc"}
SMALL = Space(
    dpi=(60, 72, 84, 96, 108, 120),
    font_size=(7.0, 8.0, 9.0, 10.0, 11.0),
    leading=(0.0, 1.0, 2.0, 3.0),
    margin=(0, 10, 36),
    page=((595, 842), (595, 595)),
    font=("DejaVuSans", "DejaVuSerif"),
    colours=(("#000000", "#ffffff"), ("#ffffff", "#000000")),
)


def landscape(recipe: Recipe) -> Measured:
    """Letters are read from some 11 pixels on, better with air between lines, in serifs and in black; pixels cost."""
    pixels = recipe.font_size * recipe.dpi / 72
    seen = pixels + 0.4 * (recipe.line_height - recipe.font_size)
    seen += 0.5 * (recipe.font == "DejaVuSerif") + 0.5 * (recipe.ink == "#000000")
    area = recipe.font_size * recipe.line_height * (recipe.dpi / 72) ** 2
    margins = recipe.page_width / (recipe.page_width - 2 * recipe.margin)
    return Measured(1 / (1 + math.exp(-1.2 * (seen - 10))), 6 * area * margins**2)


def best_of(trials: list[Trial], goal: Goal) -> Measured:
    return ranked(trials, goal)[0].got


@pytest.mark.parametrize(
    "goal", [Goal(0.97, None), Goal(None, 500.0), Goal(0.9, 900.0)], ids=["fidelity", "tokens", "both"]
)
def test_the_search_comes_near_the_best_of_a_small_space_in_a_tenth_of_its_trials(goal: Goal) -> None:
    every = list(SMALL.every())
    best = min((landscape(recipe) for recipe in every), key=goal.order)
    assert goal.shortfall(best) == 0
    wanted = Search(goal, trials=len(every) // 10, random=20, space=SMALL)
    got = best_of(list(search(landscape, wanted)), goal)
    assert goal.shortfall(got) == 0
    assert got.tokens <= 1.02 * best.tokens
    assert got.fidelity >= best.fidelity - 0.02


def test_steps_from_the_best_find_more_than_chance_does() -> None:
    goal = Goal(0.97, None)
    local, random = (
        [best_of(list(search(landscape, Search(goal, 60, drawn, seed))), goal).tokens for seed in range(8)]
        for drawn in (12, 60)
    )
    assert sum(local) < 0.85 * sum(random)
    assert sum(a <= b for a, b in zip(local, random, strict=True)) >= 7


def test_the_built_in_recipe_comes_first_then_chance_then_steps_and_nothing_twice() -> None:
    trials = list(search(landscape, Search(Goal(0.97, None), trials=50, random=12)))
    assert [trial.phase for trial in trials] == ["built-in"] + ["random"] * 12 + ["local"] * 37
    assert [trial.number for trial in trials] == list(range(50))
    assert trials[0].recipe == Recipe()
    assert len({trial.recipe for trial in trials}) == 50


def test_a_search_ends_when_everything_was_tried() -> None:
    one = Space((96, 108), (9.0,), (2.0,), (10,), ((595, 842),), ("DejaVuSans",), (("#000000", "#ffffff"),))
    trials = list(search(landscape, Search(Goal(0.5, None), trials=9, random=0, space=one)))
    assert [trial.recipe for trial in trials] == [Recipe(), replace(Recipe(), dpi=108)]


def test_a_neighbour_differs_along_one_axis_by_a_step() -> None:
    space, recipe = Space(), Recipe()
    found = space.neighbours(recipe)
    assert len(set(found)) == len(found) == 2 * 4 + 2 + 2 + 2
    assert {other.dpi for other in found} == {88, 96, 108}
    assert {other.font_size for other in found} == {8.5, 9.0, 9.5}
    assert {other.line_height - other.font_size for other in found} == {1.5, 2.0, 2.5}
    rng = Random(1)
    for _ in range(300):
        drawn = space.sample(rng)
        assert recipe not in space.neighbours(recipe)
        assert all(drawn in space.neighbours(other) for other in space.neighbours(drawn))


def test_a_recipe_that_is_on_no_step_can_be_left() -> None:
    odd = Recipe(dpi=97, font_size=9.25, line_height=11.0, margin=3)
    assert {other.dpi for other in Space().neighbours(odd)} >= {45, 96, 300}


def test_what_does_not_fit_is_a_trial_and_never_a_parent() -> None:
    def narrow(recipe: Recipe) -> Measured:
        if recipe.dpi > 96:
            raise ContextTooLong("9,000 tokens do not fit the context")
        return landscape(recipe)

    goal = Goal(0.97, None)
    trials = list(search(narrow, Search(goal, trials=40, random=12)))
    failed = [trial for trial in trials if trial.measured is None]
    assert failed
    assert {trial.fault for trial in failed} == {"9,000 tokens do not fit the context"}
    assert all(trial.recipe.dpi <= 96 for trial in ranked(trials, goal) + frontier(trials))


def test_the_frontier_is_what_nothing_beats() -> None:
    trials = list(search(landscape, Search(Goal(0.9, None), trials=60)))
    front = frontier(trials)
    for trial in trials:
        beaten = any(
            other.got.tokens <= trial.got.tokens and other.got.fidelity >= trial.got.fidelity and other.got != trial.got
            for other in trials
        )
        assert beaten == (trial.got not in [one.got for one in front])
    assert [t.got.tokens for t in front] == sorted(t.got.tokens for t in front)


def test_a_goal_prefers_what_meets_it_then_what_is_near() -> None:
    goal = Goal(0.9, 500.0)
    good, dear, blurred = Measured(0.91, 480.0), Measured(0.99, 501.0), Measured(0.5, 100.0)
    assert sorted([blurred, dear, good], key=goal.order) == [good, dear, blurred]
    assert goal.shortfall(dear) == pytest.approx(0.002)
    assert sorted([good, Measured(0.95, 490.0)], key=Goal(None, 500.0).order)[0] == Measured(0.95, 490.0)


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    wanted = Search(Goal(0.97, None), trials=30)
    through = run_search(tmp_path / "through", ABOUT, landscape, wanted)
    measured: list[Recipe] = []

    def dying(recipe: Recipe) -> Measured:
        if len(measured) == 17:
            raise KeyboardInterrupt
        measured.append(recipe)
        return landscape(recipe)

    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run_search(folder, ABOUT, dying, wanted)
    with (folder / LOG).open("ab") as log:
        log.write(b'{"number": 17, "pha')  # killed while it wrote
    measured.clear()
    resumed = run_search(folder, ABOUT, dying, wanted)
    assert len(measured) == 13
    assert [(t.number, t.phase, t.recipe, t.measured) for t in resumed] == [
        (t.number, t.phase, t.recipe, t.measured) for t in through
    ]
    assert open_log(folder / LOG, ABOUT) == resumed
    assert run_search(folder, ABOUT, dying, wanted) == resumed  # nothing is left to do
    assert len(measured) == 13


def test_another_goal_goes_on_from_the_same_trials(tmp_path: Path) -> None:
    first = run_search(tmp_path, ABOUT, landscape, Search(Goal(0.97, None), trials=20))
    second = run_search(tmp_path, ABOUT, landscape, Search(Goal(None, 300.0), trials=30))
    assert second[:20] == first


def test_a_log_of_another_search_is_refused_and_left_alone(tmp_path: Path) -> None:
    wanted = Search(Goal(0.97, None), trials=3)
    run_search(tmp_path, ABOUT, landscape, wanted)
    before = (tmp_path / LOG).read_bytes()
    message = r"trials\.jsonl is the log of another search \(it differs in text\): choose another --run, or remove it"
    with pytest.raises(ModelError, match=message):
        run_search(tmp_path, {**ABOUT, "text": "other"}, landscape, wanted)
    assert (tmp_path / LOG).read_bytes() == before


@pytest.mark.parametrize("line", [b"{}\n", b"[1]\n", b'{"number": 0, "recipe"\n', b'{"number": "0"}\n'])
def test_a_damaged_log_is_refused_with_the_line(tmp_path: Path, line: bytes) -> None:
    run_search(tmp_path, ABOUT, landscape, Search(Goal(0.97, None), trials=2))
    with (tmp_path / LOG).open("ab") as log:
        log.write(line)
    with pytest.raises(ModelError, match=r"line 4 of .*trials\.jsonl is no trial: choose another --run, or remove it"):
        open_log(tmp_path / LOG, ABOUT)


def test_a_log_that_a_kill_left_without_a_line_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b'{"search": {"mod')
    assert open_log(tmp_path / LOG, ABOUT) == []
    append_trial(tmp_path / LOG, Trial(0, "built-in", Recipe(), None, "too long", 1.5))
    (trial,) = open_log(tmp_path / LOG, ABOUT)
    assert (trial.measured, trial.fault, trial.recipe) == (None, "too long", Recipe())
    assert json.loads((tmp_path / LOG).read_text().splitlines()[0])["search"]["model"] == "hf:landscape"


def test_two_searches_in_one_folder_are_refused(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"), pytest.raises(ModelError, match=r"another search is at work in .*: wait for it"):
        run_search(tmp_path, ABOUT, landscape, Search(Goal(0.97, None), trials=2))


def test_what_is_tried_depends_on_the_seed() -> None:
    one, other = (list(search(landscape, Search(Goal(0.9, None), trials=5, seed=seed))) for seed in (1, 2))
    assert [trial.recipe for trial in one[1:]] != [trial.recipe for trial in other[1:]]
    assert propose([], Search(Goal(0.9, None))) == ("built-in", Recipe())


def test_the_picture_is_a_png_with_or_without_trials(tmp_path: Path) -> None:
    goal = Goal(0.9, 300.0)
    trials = list(search(landscape, Search(goal, trials=20)))
    for name, part in (("all.png", trials), ("none.png", [])):
        path = draw_trials(part, goal, "a title", tmp_path / name)
        assert path.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "all.png").stat().st_size > (tmp_path / "none.png").stat().st_size
