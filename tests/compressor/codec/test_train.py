"""Every rate trains on the one below it, resumes, and what comes out is a codec that reads back exactly."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.codec.classes import CHARACTERS, _confusions, share_codes
from compressor.codec.corpus import Corpus, cells_of
from compressor.codec.curve import draw_curve
from compressor.codec.glyphs import LEVELS, write_glyphs
from compressor.codec.model import Level, Shape
from compressor.codec.native import load_codec
from compressor.codec.train import RECIPES, learning_rate, resume, save, train
from compressor.codec.weights import RATES, available_rates, load_levels, promising_rates, save_level
from compressor.errors import ModelError

TEXT = "The gauge stood at 2.417 m when the lock was opened, and the ferry left at 07:40.\n" * 60
CPU = torch.device("cpu")
TINY = Shape(cell_dim=64, hidden_dim=64, reader_layers=1, head_dim=32)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus({"prose": cells_of(TEXT)}, {"prose": [TEXT]})


def recipe(level: int, steps: int = 4):
    return replace(RECIPES[level], steps=steps, strips=16, warm_up=1, checkpoint_every=2, reader_layers=1, scripts=0.0)


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_all_rates_grow_on_each_other_and_read_back_exactly(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "weights"
    for level in range(len(RATES)):
        below = load_levels(RATES[level - 1], CPU, out) if level else []
        before = [value.clone() for each in below for value in each.state_dict().values()]
        trained = train(
            replace(recipe(level), reader_layers=1 + level // 3),
            corpus,
            tmp_path / str(level),
            shape=TINY,
            below=below,
            device=CPU,
        )
        held_out = {"prose": 1 - level / 10, "styles": 1.0}
        save_level(trained, trained.shape, level, sources="test", held_out=held_out, directory=out)
        if level in LEVELS:
            assert write_glyphs(load_codec(f"native-{RATES[level]}", device="cpu", directory=out), level, out).exists()
        after = [value for each in below for value in each.state_dict().values()]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert available_rates(out) == list(RATES)
    assert [len(promising_rates(least, out)) for least in (1.0, 0.9, 0.75, 0.7)] == [1, 2, 3, 4]
    for rate in RATES:
        codec = load_codec(f"native-{rate}", device="cpu", directory=out)
        cache = codec.encode([TEXT], [np.full(len(TEXT), 5, np.uint8)])[0]
        assert codec.read([cache]) == [TEXT]
        assert (codec.read_styles([cache])[0] == 5).all()
        assert cache.levels.shape[1] == 512


def test_characters_that_neighbours_do_not_tell_apart_get_codes_of_their_own() -> None:
    """b, c and d stand in the same place, so do x and y; two codes cannot keep all apart, three can."""
    text = "abe ace ade uxv uyv " * 50
    corpus = Corpus({"prose": cells_of(text)}, {})
    place = {chr(character): index for index, character in enumerate(CHARACTERS.tolist())}
    given = share_codes(corpus, {"prose": 1.0}, 3)
    assert given.shape == CHARACTERS.shape
    assert set(given.tolist()) <= {0, 1, 2}
    assert len({int(given[place[letter]]) for letter in "bcd"}) == 3
    assert given[place["x"]] != given[place["y"]]
    assert (share_codes(corpus, {"prose": 1.0}, 3) == given).all()


def test_characters_without_a_code_of_their_own_count_as_none_that_has_one() -> None:
    confused = _confusions(Corpus({"prose": cells_of("aée aze " * 50)}, {}), {"prose": 1.0})
    assert not confused.any()


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(corpus: Corpus, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def killed(step: int, facts: dict[str, float]) -> None:
        if step == 50:
            raise KeyboardInterrupt

    wanted = replace(recipe(0, steps=52), checkpoint_every=25)
    with pytest.raises(KeyboardInterrupt):
        train(wanted, corpus, run, shape=TINY, below=[], device=CPU, progress=killed)
    seen: list[int] = []
    train(wanted, corpus, run, shape=TINY, below=[], device=CPU, progress=lambda step, facts: seen.append(step))
    assert seen == [52]
    assert steps_of(run) == [50, 52]
    assert draw_curve(run / "log.jsonl", tmp_path / "curve.png", "native-10").stat().st_size > 5000
    another = "holds a run of another recipe, shape or text, or on other weights: choose another --run, or remove it"
    with pytest.raises(ModelError, match=another):
        train(recipe(0, steps=9), corpus, run, shape=TINY, below=[], device=CPU)
    with pytest.raises(ModelError, match=another):
        train(wanted, replace(corpus, digest="another text's"), run, shape=TINY, below=[], device=CPU)
    (run / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"checkpoint.safetensors cannot be read \(.*: remove it, and the run begins"):
        train(wanted, corpus, run, shape=TINY, below=[], device=CPU)


def test_a_run_on_other_weights_than_the_checkpoints_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    one, other = (
        train(replace(recipe(0), seed=seed), corpus, tmp_path / str(seed), shape=TINY, below=[], device=CPU)
        for seed in (1, 2)
    )
    train(recipe(1), corpus, tmp_path / "run", shape=TINY, below=[one], device=CPU)
    train(recipe(1), corpus, tmp_path / "run", shape=TINY, below=[one], device=CPU)
    with pytest.raises(ModelError, match="or on other weights"):
        train(recipe(1), corpus, tmp_path / "run", shape=TINY, below=[other], device=CPU)


@pytest.mark.parametrize("saved", [100, 0])  # the run was killed behind its first checkpoint, and before
def test_what_was_logged_behind_the_checkpoint_is_dropped_and_so_is_a_line_that_was_cut_off(
    tmp_path: Path, saved: int
) -> None:
    level = Level(TINY, 0)
    optimizer = torch.optim.AdamW(level.parameters())
    (tmp_path / "log.jsonl").write_text('{"step": 50}\n{"step": 100}\n{"step": 150}\n{"step": 20')
    if saved:
        save(tmp_path, level, optimizer, saved, "this one")
    assert resume(tmp_path, level, optimizer, "this one") == saved
    assert steps_of(tmp_path) == ([50, 100] if saved else [])


def test_a_checkpoint_that_cannot_be_written_is_told_in_one_sentence(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.partial").mkdir()
    with pytest.raises(ModelError, match=r"checkpoint\.partial cannot be written \("):
        train(recipe(0), corpus, tmp_path, shape=TINY, below=[], device=CPU)


def test_too_little_text_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    few = Corpus({"prose": cells_of(TEXT)}, {"prose": ["short"]})
    message = r"too little prose: every 50th document is held out .* give at least 50 documents, as lines of a .jsonl"
    with pytest.raises(ModelError, match=message):
        train(recipe(0), few, tmp_path / "run", shape=TINY, below=[], device=CPU)
    assert not (tmp_path / "run").exists()


def test_training_further_begins_with_what_was_learnt(corpus: Corpus, tmp_path: Path) -> None:
    first = train(recipe(0), corpus, tmp_path / "first", shape=TINY, below=[], device=CPU)
    gentle = replace(recipe(0).trained_further(), learning_rate=0.0, steps=1)
    again = train(gentle, corpus, tmp_path / "again", shape=TINY, below=[], start=first, device=CPU)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_the_learning_rate_warms_up_and_ends_near_nothing() -> None:
    schedule = [learning_rate(RECIPES[0], step) for step in range(RECIPES[0].steps)]
    assert schedule[0] < schedule[RECIPES[0].warm_up - 1] == max(schedule)
    assert schedule[-1] < 0.03 * max(schedule)
