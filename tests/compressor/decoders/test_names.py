"""A decoder's name is checked before anything is loaded, and what is wrong with it is said once."""

import json
from pathlib import Path

import pytest

from compressor.decoders.names import check_decoder, check_page_codec, model_directory
from compressor.errors import ModelError, UnsupportedModel


def directory(folder: Path, model_type: str, *, weights: bool = True) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    if weights:
        (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_model_directory_is_a_decoder_and_a_codec(tmp_path: Path) -> None:
    model = directory(tmp_path / "tiny", "qwen3_vl")
    check_decoder(f"hf:{model}")
    check_page_codec(f"hf:{model}")
    assert model_directory(f"hf:{model}") == model
    check_decoder("extractive")


def test_a_name_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ModelError, match=r"there is no decoder 'oracle'; choose one of: extractive, hf:<model>, openai:<url>"
    ):
        check_decoder("oracle")
    with pytest.raises(ModelError, match=r"'native-20' is no codec of pages; name models as hf:<directory> or hf:"):
        check_page_codec("native-20")


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    model = directory(tmp_path / "bare", "qwen3_vl", weights=False)
    with pytest.raises(ModelError, match=r"there are no weights in bare: it holds no \.safetensors file"):
        check_decoder(f"hf:{model}")


def test_a_class_that_is_not_on_the_list_is_refused_with_the_list(tmp_path: Path) -> None:
    model = directory(tmp_path / "text", "bert")
    with pytest.raises(UnsupportedModel, match=r"models of type 'bert' are not supported; these are: deepseek_ocr2"):
        check_page_codec(f"hf:{model}")


def test_a_model_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ModelError, match="there is no model directory no/such/place; give the path"):
        check_decoder("hf:no/such/place")
