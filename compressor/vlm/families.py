"""Owns the list of vision-language families: as data, all that differs between them. Imports no model."""

from dataclasses import dataclass
from typing import Literal

from compressor.errors import UnsupportedModel

PageKv = Literal["shifted", "prefix"]
ImageBackend = Literal["pil", "torchvision"]


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a family writes an image that its processor cuts into tiles; {row} and {column} count from 1."""

    rows_key: str  # of the image processor's output
    columns_key: str
    tile: str  # stands before the features of each tile
    row_end: str  # after the last tile of a row
    whole: str  # before the features of the whole image, which come last
    alone: str  # the same where the image was not cut


@dataclass(frozen=True, slots=True)
class Family:
    """One family of models that share a class of transformers."""

    model_type: str  # as config.json says it
    label: str  # for people
    model_class: str  # in transformers
    opening: str = ""  # stands before a page's features in the prompt
    closing: str = ""  # and after
    decoder: str = "language_model"  # attribute of the model that holds the language model; "" where it is one
    grid: bool = False  # positions have rows and columns (m-rope)
    tiles: Tiles | None = None
    # "shifted": keys of a page can be moved to another position, so pages computed apart can be put together.
    # "prefix": layers with recurrent state; what was read can only be read on.
    page_kv: PageKv = "shifted"
    image_backend: ImageBackend = "pil"  # of the image processor; torchvision only where there is no other
    resizes: bool = True  # a smaller image of a page takes fewer tokens; False where all images are made alike


_FAKE = "<fake_token_around_image>"
_IDEFICS_TILES = Tiles(
    rows_key="rows",
    columns_key="cols",
    tile=_FAKE + "<row_{row}_col_{column}>",
    row_end="\n",
    whole=f"\n{_FAKE}<global-img>",
    alone=f"{_FAKE}<global-img>",
)
_LFM_TILES = Tiles(
    rows_key="image_rows",
    columns_key="image_cols",
    tile="<|img_row_{row}_col_{column}|>",
    row_end="",
    whole="<|img_thumbnail|>",
    alone="",
)
_GLM = ("<|begin_of_image|>", "<|end_of_image|>")
_QWEN = ("<|vision_start|>", "<|vision_end|>")

_LIST = (
    Family("deepseek_ocr2", "DeepSeek-OCR 2", "DeepseekOcr2ForConditionalGeneration"),
    Family("unlimited_ocr", "Unlimited-OCR", "UnlimitedOcrForConditionalGeneration", image_backend="torchvision"),
    Family("glm4v", "Glyph (GLM-4.1V)", "Glm4vForConditionalGeneration", *_GLM, grid=True),
    Family("glm_ocr", "GLM-OCR", "GlmOcrForConditionalGeneration", *_GLM, grid=True),
    Family("qwen3_vl", "Qwen3-VL", "Qwen3VLForConditionalGeneration", *_QWEN, grid=True),
    Family("qwen3_5", "Qwen3.5", "Qwen3_5ForConditionalGeneration", *_QWEN, grid=True, page_kv="prefix"),
    Family("deepseek_vl", "DeepSeek-VL", "DeepseekVLForConditionalGeneration", resizes=False),
    Family("deepseek_vl_hybrid", "DeepSeek-VL hybrid", "DeepseekVLHybridForConditionalGeneration", resizes=False),
    Family("janus", "Janus", "JanusForConditionalGeneration", "<begin_of_image>", "<end_of_image>", resizes=False),
    Family("got_ocr2", "GOT-OCR2", "GotOcr2ForConditionalGeneration", "<img>", "</img>", resizes=False),
    Family(
        "lfm2_vl",
        "LFM2-VL",
        "Lfm2VlForConditionalGeneration",
        "<|image_start|>",
        "<|image_end|>",
        tiles=_LFM_TILES,
        page_kv="prefix",
        image_backend="torchvision",
    ),
    Family(
        "idefics3",
        "Idefics3",
        "Idefics3ForConditionalGeneration",
        closing=_FAKE,
        decoder="text_model",
        tiles=_IDEFICS_TILES,
        resizes=False,
    ),
    Family(
        "smolvlm",
        "SmolVLM",
        "SmolVLMForConditionalGeneration",
        closing=_FAKE,
        decoder="text_model",
        tiles=_IDEFICS_TILES,
        resizes=False,
    ),
)
FAMILIES = {family.model_type: family for family in _LIST}


def find_family(model_type: str) -> Family:
    """The family of a config's model_type. Raises UnsupportedModel with the list."""
    if model_type not in FAMILIES:
        known = ", ".join(f"{family.model_type} ({family.label})" for family in _LIST)
        raise UnsupportedModel(f"models of type {model_type!r} are not supported; these are: {known}")
    return FAMILIES[model_type]
