"""A model directory gives its vision half or its language model, and says what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.errors import CompressorError, ModelError, UnknownCodec, UnsupportedModel
from compressor.vlm.answer import stream_answer
from compressor.vlm.decode import PageDecoder
from compressor.vlm.families import FAMILIES, find_family
from compressor.vlm.fingerprint import read_family, read_fingerprint
from compressor.vlm.load import load_decoder, load_encoder, load_tokenizer
from compressor.vlm.page import PageCache, store_page
from compressor.vlm.pagefile import PageFile, write_pages
from compressor.vlm.prompt import prompt_parts
from tests.compressor.vlm.cases import ORDERS, case, pixel_logits
from tests.compressor.vlm.marks import tokenizer
from tests.compressor.vlm.test_encode import WITH_PIL, draw_page
from tests.compressor.vlm.tiny import IMAGE, image_processor

SMALL = "deepseek_vl"


def save(name: str, directory: Path, *, with_processor: bool = True) -> Path:
    case(name).model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    if with_processor and image_processor(name) is not None:
        image_processor(name).save_pretrained(directory)
    return directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def keep_weights(directory: Path, wanted: Callable[[str], bool]) -> int:
    """Leaves only some tensors in a directory's file; how many went."""
    before = weights(directory)
    kept = {key: value for key, value in before.items() if wanted(key)}
    save_file(kept, directory / "model.safetensors", metadata={"format": "pt"})
    return len(before) - len(kept)


def is_language(key: str) -> bool:
    old_names = ("model.layers", "model.embed_tokens", "model.norm")  # as DeepSeek-OCR 2 was published
    return key.startswith(old_names) or any(part in key for part in ("language_model", "text_model", "lm_head"))


def open_decoder(directory: Path):
    return load_decoder(directory, device="cpu", dtype=torch.float32)


def open_encoder(directory: Path):
    return load_encoder(directory, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_language_model_alone_answers_as_the_whole_model(name: str, tmp_path: Path) -> None:
    decoder = open_decoder(save(name, tmp_path))
    pages = [store_page(page, codec=decoder.codec, image_token=IMAGE, format="f32") for page in case(name).tokens]
    logits = decoder.logits(decoder.lay_out(case(name).prompt(pages, ORDERS[1])))
    assert float((logits - pixel_logits(name, ORDERS[1])).abs().max()) <= 1e-4


@pytest.mark.parametrize("name", ["deepseek_vl", "qwen3_vl", "idefics3", "janus"])
def test_the_language_model_loads_where_no_vision_weights_are(name: str, tmp_path: Path) -> None:
    save(name, tmp_path)
    assert keep_weights(tmp_path, is_language) > 10
    assert open_decoder(tmp_path).max_tokens == 4096


@pytest.mark.parametrize("name", WITH_PIL)
def test_the_vision_half_encodes_where_no_language_model_is(name: str, tmp_path: Path) -> None:
    from tests.compressor.vlm.test_encode import encoder

    save(name, tmp_path)
    assert keep_weights(tmp_path, lambda key: not is_language(key)) > 10
    page = draw_page(100, 140)
    found, expected = open_encoder(tmp_path).encode(page), encoder(name).encode(page)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.ids, expected.ids)


def test_from_image_to_answer_through_files(tmp_path: Path) -> None:
    directory = save("qwen3_vl", tmp_path / "model")
    encoder = open_encoder(directory)
    pages = {
        str(number): store_page(encoder.encode(draw_page(*size)), codec=encoder.codec, image_token=encoder.image_token)
        for number, size in enumerate([(100, 140), (140, 100)])
    }
    path = tmp_path / "pages"
    path.write_bytes(write_pages(pages))
    decoder = open_decoder(directory)
    assert decoder.codec == encoder.codec
    with PageFile(path) as file:
        loaded = file.load_many(["1", "0"])
    whole = PageDecoder(case("qwen3_vl").model, FAMILIES["qwen3_vl"], codec=decoder.codec)
    words = load_tokenizer(directory)
    answers = ["".join(stream_answer(by, words, loaded, "What is on line 5?", limit=6)) for by in (decoder, whole)]
    assert answers[0] == answers[1] != ""
    prompts = [prompt_parts(words, decoder.family, order, "What?") for order in (loaded, loaded[::-1])]
    logits = [decoder.read(decoder.lay_out(parts)).logits for parts in prompts]
    assert float((logits[0] - logits[1]).abs().max()) > 0.01


def test_code_in_a_model_directory_is_not_run(tmp_path: Path) -> None:
    directory = save(SMALL, tmp_path / "model")
    ran = tmp_path / "ran"
    (directory / "theirs.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\nclass Words: pass\n")
    maps = {"config.json": {"AutoConfig": "theirs.Config"}, "tokenizer_config.json": {"AutoTokenizer": "theirs.Words"}}
    maps["preprocessor_config.json"] = {"AutoImageProcessor": "theirs.Config"}
    for name, map in maps.items():
        fields = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps(fields | {"auto_map": map}))
    assert open_decoder(directory).max_tokens == 4096
    assert open_encoder(directory).image_token == IMAGE
    assert not ran.exists()


def test_stop_tokens_are_those_of_the_directory(tmp_path: Path) -> None:
    directory = save(SMALL, tmp_path)
    for written, expected in ((7, (7,)), ([7, 8], (7, 8)), (None, ())):
        (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": written}))
        assert open_decoder(directory).stop_tokens == expected


def test_a_page_of_another_model_is_refused_by_name() -> None:
    pages: list[PageCache] = [
        store_page(case(SMALL).tokens[0], codec="hf:janus@000000000000", image_token=IMAGE, format="f32")
    ]
    message = "this page was encoded by hf:janus@000000000000; the decoder at hand reads hf:tiny@0123456789ab"
    with pytest.raises(UnknownCodec, match=message):
        case(SMALL).decoder.lay_out(pages)


def test_a_model_class_that_is_not_on_the_list_is_refused_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(UnsupportedModel, match="models of type 'llava' are not supported") as caught:
        read_family(tmp_path)
    assert all(f"{family.model_type} ({family.label})" in str(caught.value) for family in FAMILIES.values())


@pytest.mark.parametrize("name", list(FAMILIES))
def test_every_family_names_a_class_of_transformers(name: str) -> None:
    import transformers

    assert getattr(transformers, find_family(name).model_class).config_class.model_type == name


def no_directory(directory: Path) -> None:
    directory.rename(directory.with_name("gone"))


def no_config(directory: Path) -> None:
    (directory / "config.json").unlink()


def nameless_config(directory: Path) -> None:
    (directory / "config.json").write_text("[]")


def no_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()


def cut_weights(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])


def cut_data(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def lost_shard(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    case(SMALL).model.save_pretrained(directory, max_shard_size="50KB")
    sorted(directory.glob("model-*.safetensors"))[1].unlink()


def cut_index(directory: Path) -> None:
    (directory / "model.safetensors.index.json").write_text('{"weight_map": ')


def only_vision(directory: Path) -> None:
    keep_weights(directory, lambda key: not is_language(key))


def other_shapes(directory: Path) -> None:
    changed = {key: value[:-1] if "mlp.up_proj" in key else value for key, value in weights(directory).items()}
    save_file(changed, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_directory, "there is no model directory .*model; give the path of a downloaded model"),
        (no_config, "model is not a model directory: it has no config.json"),
        (nameless_config, "config.json of model names no model_type"),
        (no_weights, "there are no weights in model: it holds no .safetensors file"),
        (cut_weights, "model.safetensors of model is damaged: its header cannot be read"),
        (cut_data, "the weights of model cannot be loaded: .*"),
        (lost_shard, "model lacks 1 of the weight files that its model.safetensors.index.json names, .*model-00002-of"),
        (cut_index, "model.safetensors.index.json of model cannot be read"),
        (only_vision, "the weights of model are not those of DeepSeek-VL: 2[0-9] are missing or of another shape"),
        (other_shapes, "the weights of model .*mlp.up_proj"),
    ],
)
def test_a_bad_model_directory_is_refused_in_one_sentence(damage, message: str, tmp_path: Path) -> None:
    directory = save(SMALL, tmp_path / "model")
    damage(directory)
    with pytest.raises(ModelError, match=message):
        open_decoder(directory)


def test_an_image_processor_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the image processor of .* cannot be loaded"):
        open_encoder(save(SMALL, tmp_path, with_processor=False))


@pytest.mark.parametrize(("name", "label"), [("lfm2_vl", "Lfm2Vl"), ("unlimited_ocr", "UnlimitedOcr")])
def test_a_family_whose_images_need_torchvision_says_so(name: str, label: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    save(name, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": f"{label}ImageProcessor"}))
    try:
        import torchvision  # noqa: F401
    except ImportError:
        with pytest.raises(CompressorError, match="torchvision"):
            open_encoder(tmp_path)
    else:
        assert open_encoder(tmp_path).family.model_type == name


def test_a_fingerprint_changes_with_weights_settings_and_nothing_else(tmp_path: Path) -> None:
    directory = save(SMALL, tmp_path)
    family = read_family(directory)
    first = read_fingerprint(directory, family)
    assert first.startswith("hf:deepseek_vl@")
    held = weights(directory)
    half = len(held) // 2
    for number, part in enumerate((list(held)[:half], list(held)[half:])):  # the same tensors in two files
        save_file({key: held[key] for key in part}, directory / f"model-{number}.safetensors")
    (directory / "model.safetensors").unlink()
    assert read_fingerprint(directory, family) == first
    settings = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "preprocessor_config.json").write_text(json.dumps(settings | {"image_mean": [0, 0, 0]}))
    second = read_fingerprint(directory, family)
    (directory / "preprocessor_config.json").write_text(json.dumps(settings))
    other = {key: value + 0.001 for key, value in held.items()}
    save_file({key: other[key] for key in list(held)[:half]}, directory / "model-0.safetensors")
    assert len({first, second, read_fingerprint(directory, family)}) == 3
