"""A page codec is named by its model, its recipe and its format, and draws no more pixels than the model wants."""

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.vlm.codec import LONGEST, PageCodec, longest_side, open_codec
from compressor.vlm.families import FAMILIES
from compressor.vlm.recipe import Recipe
from tests.compressor.vlm.saved import save_model
from tests.compressor.vlm.tiny import image_processor


def test_a_codec_is_named_by_model_and_recipe(tmp_path: Path) -> None:
    codec = open_codec(f"hf:{save_model('qwen3_vl', tmp_path / 'one')}")
    other = open_codec(f"hf:{save_model('qwen3_vl', tmp_path / 'two', seed=1)}")
    assert codec.fingerprint.startswith(f"{codec.model}+")
    assert codec.model.startswith("hf:qwen3_vl@")
    assert other.model != codec.model
    assert replace(codec, recipe=Recipe(dpi=72)).fingerprint != codec.fingerprint
    assert open_codec(codec.name) == codec


def test_a_smaller_size_has_a_name_of_its_own_and_the_full_one_keeps_that_of_caches_without_sizes() -> None:
    full = PageCodec("hf:x", Path("x"), FAMILIES["qwen3_vl"], "hf:qwen3_vl@0123456789ab")
    assert full.fingerprint == "hf:qwen3_vl@0123456789ab+64fbe0e0"
    assert len({replace(full, scale=scale).fingerprint for scale in (1.0, 0.5, 0.25)}) == 3


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("deepseek_vl", 32),
        ("deepseek_vl_hybrid", 64),
        ("got_ocr2", 256),
        ("idefics3", 64),
        ("deepseek_ocr2", 1152),
        ("qwen3_vl", 45),
        ("glm4v", 45),
    ],
)
def test_a_page_is_drawn_as_large_as_its_model_wants(name: str, side: int) -> None:
    assert longest_side(image_processor(name), FAMILIES[name]) == side


def test_a_model_that_does_not_say_gets_a_bounded_page() -> None:
    assert longest_side(None, FAMILIES["lfm2_vl"]) == LONGEST
