"""A page image becomes what its model's own processor and vision tower make of it."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageDraw

from compressor.errors import ModelError
from compressor.vlm.batch import join, likeness, take_apart
from compressor.vlm.encode import PageEncoder
from compressor.vlm.families import FAMILIES
from compressor.vlm.spans import page_text
from tests.compressor.vlm.cases import CODEC, case
from tests.compressor.vlm.marks import IMAGE_TEXT, make_tokenizer, tokenize, tokenizer
from tests.compressor.vlm.tiny import IMAGE, image_processor, pixels

WITH_PIL = [name for name, family in FAMILIES.items() if family.image_backend == "pil"]


def draw_page(width: int, height: int, mode: str = "RGB") -> Image.Image:
    page = Image.new("RGB", (width, height), "white")
    for line in range(5, height - 5, 11):
        ImageDraw.Draw(page).text((4, line), f"line {line}: a page of text", fill="black")
    return page.convert(mode)


def encoder(name: str, **changed) -> PageEncoder:
    given = {"image_processor": image_processor(name), "tokenize": tokenize, "image_text": IMAGE_TEXT} | changed
    return PageEncoder(case(name).model, FAMILIES[name], codec=CODEC, **given)


@pytest.mark.parametrize("size", [(40, 60), (700, 500)], ids=str)
@pytest.mark.parametrize("name", WITH_PIL)
def test_an_image_gives_the_features_of_its_models_own_pixels(name: str, size: tuple[int, int]) -> None:
    page = draw_page(*size)
    tokens = encoder(name).encode(page)
    given = image_processor(name)(images=[page], return_tensors="pt")
    kept = {key: value for key, value in given.items() if key != "num_patches"}
    with torch.no_grad():
        expected = case(name).model.model.get_image_features(**kept, return_dict=True).pooler_output
    rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in expected])
    assert torch.equal(tokens.features, rows)
    assert int((tokens.ids == IMAGE).sum()) == len(rows)
    assert (tokens.grid is None) == (not FAMILIES[name].grid)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_pages_encoded_together_are_those_encoded_one_by_one(name: str) -> None:
    order = [2, 0, 1, 0]
    together = encoder(name).encode_pixels([pixels(name, page) for page in order])
    for tokens, page in zip(together, order, strict=True):
        alone = case(name).tokens[page]
        assert tokens.features.shape == alone.features.shape
        assert float((tokens.features - alone.features).abs().max()) <= 1e-4
        assert (tokens.ids.tolist(), tokens.grid) == (alone.ids.tolist(), alone.grid)
        assert (tokens.deepstack is None) == (alone.deepstack is None)
        if tokens.deepstack is not None and alone.deepstack is not None:
            assert float((tokens.deepstack - alone.deepstack).abs().max()) <= 1e-4


@pytest.mark.parametrize("name", WITH_PIL)
def test_images_of_all_sizes_are_encoded_together(name: str) -> None:
    images = [draw_page(*size) for size in ((40, 60), (700, 500), (30, 30), (40, 60))]
    together = encoder(name).encode_many(images)
    for tokens, image in zip(together, images, strict=True):
        alone = encoder(name).encode(image)
        assert float((tokens.features - alone.features).abs().max()) <= 1e-4
        assert tokens.ids.tolist() == alone.ids.tolist()


def test_alike_pages_take_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    inner = case("qwen3_vl").model.model
    given = inner.get_image_features
    maker = encoder("qwen3_vl")
    monkeypatch.setattr(inner, "get_image_features", lambda **pixels: passes.append(1) or given(**pixels))
    assert len(maker.encode_pixels([pixels("qwen3_vl", page) for page in (0, 1, 2)])) == 3
    assert len(passes) == 1


def test_pages_are_alike_whatever_the_number_of_their_tiles() -> None:
    def tiled(tiles: int, side: int) -> dict:
        return {"pixel_values": torch.zeros(1, tiles, 3, side, side), "rows": [[tiles]]}

    assert likeness(tiled(2, 32)) == likeness(tiled(5, 32))
    assert likeness(tiled(2, 32)) != likeness(tiled(2, 48))
    assert likeness(tiled(2, 32)) != likeness(tiled(2, 32) | {"pixel_attention_mask": torch.ones(1, 2, 32, 32) > 0})
    assert join([tiled(2, 32), tiled(5, 32)])["pixel_values"].shape == (1, 7, 3, 32, 32)


def test_no_pages_are_no_tokens() -> None:
    assert encoder("janus").encode_many([]) == []


def test_another_number_of_blocks_than_pages_is_refused() -> None:
    with pytest.raises(ModelError, match="the model gave 2 blocks of features for 3 images or tiles"):
        take_apart([torch.zeros(4, 8), torch.zeros(4, 8)], [1, 2])


def test_pages_that_differ_give_features_that_differ() -> None:
    pages = [encoder("qwen3_vl").encode(draw_page(*size)).features for size in ((40, 60), (41, 60))]
    assert not torch.equal(*pages)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_an_image_of_any_mode_is_encoded(mode: str) -> None:
    plain = encoder("deepseek_vl").encode(draw_page(40, 60, mode).convert("RGB"))
    assert torch.equal(encoder("deepseek_vl").encode(draw_page(40, 60, mode)).features, plain.features)


def test_a_page_of_tiles_is_tagged_as_its_processor_tags_it() -> None:
    from transformers import Idefics3Processor

    page = draw_page(64, 64)
    processor = Idefics3Processor(image_processor("idefics3"), make_tokenizer(), image_seq_len=4)
    expected = processor(images=[[page]], text=[f"A{IMAGE_TEXT}B"], return_tensors="pt")["input_ids"][0]
    assert encoder("idefics3").encode(page).ids.tolist() == expected[1:-1].tolist()


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (2, 3)])
def test_the_text_of_idefics3_and_smolvlm_is_that_of_their_processors(rows: int, columns: int) -> None:
    from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    marks = {"fake_image_token": "<fake_token_around_image>", "global_image_tag": "<global-img>"}
    stand_in = SimpleNamespace(**marks, image_token=IMAGE_TEXT, image_seq_len=5)
    counts = [5] * (rows * columns + 1)
    expected = Idefics3Processor.replace_image_token(stand_in, {"rows": [[rows]], "cols": [[columns]]}, 0)
    assert page_text(FAMILIES["idefics3"], IMAGE_TEXT, counts, rows=rows, columns=columns) == expected
    expected = get_image_prompt_string(rows, columns, 5, marks["fake_image_token"], IMAGE_TEXT, "<global-img>")
    assert page_text(FAMILIES["smolvlm"], IMAGE_TEXT, counts, rows=rows, columns=columns) == expected


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_the_text_of_lfm2_is_that_of_its_processor(rows: int, columns: int, thumbnail: bool) -> None:
    from transformers.models.lfm2_vl.processing_lfm2_vl import Lfm2VlProcessor

    marks = {"image_start_token": "<|image_start|>", "image_end_token": "<|image_end|>"}
    marks |= {"image_thumbnail_token": "<|img_thumbnail|>", "image_token": IMAGE_TEXT}
    expected = Lfm2VlProcessor._build_image_tokens(SimpleNamespace(**marks), rows, columns, 4, 3, thumbnail, True)
    tiles = [4] * (rows * columns) if rows * columns > 1 else []
    counts = tiles + ([3] if thumbnail or not tiles else [])
    assert page_text(FAMILIES["lfm2_vl"], IMAGE_TEXT, counts, rows=rows, columns=columns) == expected


def test_the_text_of_janus_is_that_of_its_processor() -> None:
    from transformers.models.janus.processing_janus import JanusProcessor

    marks = {"image_start_token": "<begin_of_image>", "image_end_token": "<end_of_image>"}
    stand_in = SimpleNamespace(**marks, image_token=IMAGE_TEXT, num_image_tokens=16)
    assert page_text(FAMILIES["janus"], IMAGE_TEXT, [16]) == JanusProcessor.replace_image_token(stand_in, {}, 0)


def test_the_text_of_got_ocr2_stands_in_its_processors_prompt() -> None:
    from transformers import GotOcr2Processor

    processor = GotOcr2Processor(image_processor("got_ocr2"), make_tokenizer())
    prompt = tokenizer().decode(processor(images=[draw_page(40, 60)], return_tensors="pt")["input_ids"][0])
    assert page_text(FAMILIES["got_ocr2"], "<imgpad>", [256]) in prompt


def test_features_for_another_number_of_tiles_are_refused() -> None:
    with pytest.raises(ModelError, match="Idefics3 gave features for 3 tiles of a page cut into 4"):
        page_text(FAMILIES["idefics3"], IMAGE_TEXT, [4, 4, 4], rows=2, columns=2)


def test_a_tokenizer_that_does_not_know_the_image_token_is_refused() -> None:
    message = (
        "DeepSeek-VL gave 16 features for a page, but its tokenizer made 0 places for them: "
        "the image token 9 is not '<imgpad>'"
    )
    with pytest.raises(ModelError, match=message):
        encoder("deepseek_vl", image_text="<imgpad>").encode(draw_page(40, 60))


def test_an_encoder_without_an_image_processor_says_so() -> None:
    with pytest.raises(ModelError, match="this encoder of Janus was opened without an image processor"):
        encoder("janus", image_processor=None).encode(draw_page(40, 60))
