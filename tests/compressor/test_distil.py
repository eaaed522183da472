"""The layers for queries learn the published model's vectors; a run resumes, and its file is what MiniLM reads."""

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.distil import (
    WIDE,
    Shape,
    Texts,
    main,
    narrowed,
    published_layers,
    queries,
    read_texts,
    save_layers,
    train,
    train_both,
)
from compressor.embed import installed_weights, load_tokenizer
from compressor.errors import ModelError
from compressor.layers import make_layers
from compressor.minilm import MiniLM

TEXT = "The gauge stood at 2.417 m when the lock was opened, and the ferry left at 07:40. Who had the key? " * 8
RECIPE = replace(WIDE, steps=8, queries=16, warm_up=2, checkpoint_every=4)
SHAPE = Shape(heads=4, inner=96)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    path = tmp_path_factory.mktemp("text") / "ferry.txt"
    path.write_text(TEXT)
    return read_texts([path])


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_training_comes_nearer_to_the_published_model_and_its_file_gives_what_was_trained(texts, tmp_path) -> None:
    layers = train_both(texts, tmp_path / "run", (RECIPE, RECIPE), shape=SHAPE)
    for part in ("wide", "narrow"):
        first, last = log_of(tmp_path / "run" / part)
        assert (first["step"], last["step"]) == (4, 8)
        assert last["held out"] > first["held out"]
    assert layers["encoder.layer.1.intermediate.dense.weight"].shape == (96, 384)
    assert layers["encoder.layer.1.attention.output.dense.weight"].shape == (384, 128)
    assert layers["pool.intermediate.dense.weight"].shape == (1536, 384)
    save_layers(layers, tmp_path / "layers.safetensors", sources="test")
    teacher = MiniLM(installed_weights() / "model.safetensors")
    student = teacher.with_layers(tmp_path / "layers.safetensors")
    asked = list(islice(queries(texts, seed=0), 512))
    ids = [encoding.ids for encoding in load_tokenizer(installed_weights()).encode_batch(asked)]
    cosines = (teacher.embed(ids) * student.embed(ids)).sum(1)
    assert cosines.mean() == pytest.approx(last["held out"], abs=2e-3)  # as the run told of the same queries


def test_a_killed_run_goes_on_from_its_checkpoint(texts, tmp_path) -> None:
    def killed(step: int, facts: dict[str, float]) -> None:
        if step == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_both(texts, tmp_path, (RECIPE, RECIPE), shape=SHAPE, progress=killed)
    steps: list[int] = []
    train_both(texts, tmp_path, (RECIPE, RECIPE), shape=SHAPE, progress=lambda step, facts: steps.append(step))
    assert steps == [13, 14, 15, 16]
    assert [row["step"] for row in log_of(tmp_path / "narrow")] == [4, 8]


def test_a_run_of_another_text_or_of_other_layers_is_refused(texts, tmp_path) -> None:
    layers = published_layers()
    train(replace(RECIPE, steps=4), layers, texts, tmp_path)
    with pytest.raises(ModelError, match="holds a run of another recipe, shape or text, or on other weights"):
        train(replace(RECIPE, steps=4), layers, replace(texts, digest="other"), tmp_path)
    with pytest.raises(ModelError, match="holds a run of another recipe, shape or text, or on other weights"):
        train(replace(RECIPE, steps=4), published_layers((0, 1, 2)), texts, tmp_path)


def test_the_heads_and_inner_dimensions_that_are_left_out_are_those_that_add_least() -> None:
    layers, teacher = published_layers((0, 4, 5)), MiniLM(installed_weights() / "model.safetensors")
    ids = [[101, 2073, 2003, 1996, 3145, 102], [101, 3145, 102]]
    for number in (0, 1):
        layers[f"encoder.layer.{number}.output.dense.weight"][:, 400:1200] *= 1e-4
        layers[f"encoder.layer.{number}.attention.output.dense.weight"][:, 64:256] *= 1e-4
    left = narrowed(layers, Shape(heads=6, inner=736), teacher, ids)
    whole = narrowed(layers, Shape(heads=12, inner=1536), teacher, ids)
    student, same = (make_layers(each, dtype=torch.float32, packed=False) for each in (left, whole))
    torch.testing.assert_close(teacher.through(student, ids), teacher.through(same, ids), atol=2e-2, rtol=0)
    for number in (0, 1):
        for name, size in (("attention.self.query", 192), ("attention.self.value", 192), ("intermediate.dense", 736)):
            assert left[f"encoder.layer.{number}.{name}.weight"].shape == (size, 384)
            assert left[f"encoder.layer.{number}.{name}.bias"].shape == (size,)
        assert left[f"encoder.layer.{number}.attention.output.dense.weight"].shape == (384, 192)
        assert left[f"encoder.layer.{number}.output.dense.weight"].shape == (384, 736)


def test_queries_are_runs_of_the_texts_words_and_a_seed_repeats_them(texts) -> None:
    some = list(islice(queries(texts, seed=3), 200))
    assert some == list(islice(queries(texts, seed=3), 200))
    asked = [query for query in some if query not in TEXT]
    assert 60 < len(asked) < 120
    assert all(query.endswith("?") for query in asked)
    assert 5 < np.median([len(query.split()) for query in some]) < 12


@pytest.mark.parametrize("text", ["", "too few words"])
def test_text_with_nothing_to_learn_from_ends_with_one_line(text, tmp_path, monkeypatch) -> None:
    (tmp_path / "short.txt").write_text(text)
    monkeypatch.setattr("sys.argv", ["distil", "--text", str(tmp_path / "short.txt"), "--run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == "the text holds no document of prose or tech or spanish with more than 40 words"
