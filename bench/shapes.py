"""Owns the models that the benchmark of contexts runs: real classes and shapes, with random weights.

What a model says changes nothing about what it costs. Shapes are those of published models, as their settings were
seen (`source`), and a small one that a CPU gets through.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from compressor.vlm.decode import PageDecoder
from compressor.vlm.encode import PageEncoder
from compressor.vlm.families import FAMILIES

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedModel

CODEC = "hf:bench@000000000000"
IMAGE, OPENING, IMAGE_TEXT = 9, 7, "<image>"


@dataclass(frozen=True, slots=True)
class BenchShape:
    """One model to measure."""

    name: str
    family: str
    source: str
    context: int  # that the published model was trained for
    text: dict[str, Any]
    vision: dict[str, Any] = field(default_factory=dict)
    side: int = 1024  # pixels of a page image
    page_tokens: int = 1024  # that the published model makes of such a page


def _qwen_vision(width: int, inner: int, depth: int, out: int, levels: list[int]) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "depth": depth,
        "num_heads": width // 64 if width < 1024 else 16,
        "out_hidden_size": out,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": levels,
    }


def _grid_rope(sections: list[int]) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 5_000_000.0, "mrope_section": sections, "mrope_interleaved": True}


SHAPES = {
    shape.name: shape
    for shape in (
        BenchShape(
            "qwen3-vl-8b",
            "qwen3_vl",
            "the 8B variant in pytorch/torchtitan, torchtitan/experiments/qwen3_vl/__init__.py",
            262_144,
            {
                "vocab_size": 151_936,
                "hidden_size": 4096,
                "intermediate_size": 12_288,
                "num_hidden_layers": 36,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "head_dim": 128,
                "rope_parameters": _grid_rope([24, 20, 20]),
            },
            _qwen_vision(1152, 4304, 27, 4096, [8, 16, 24]),
        ),
        BenchShape(
            "deepseek-ocr-2",
            "deepseek_ocr2",
            "its config.json as published; its vision tower's encoder as build_qwen2_decoder_as_encoder in its own "
            "deepencoderv2.py, which config.json leaves out: the class's own would be twenty times as large",
            8_192,
            {
                "vocab_size": 129_280,
                "hidden_size": 1280,
                "intermediate_size": 6848,
                "num_hidden_layers": 12,
                "num_attention_heads": 10,
                "num_key_value_heads": 10,
                "moe_intermediate_size": 896,
                "n_group": 1,
                "topk_group": 1,
                "num_experts_per_tok": 6,
                "mlp_layer_types": ["dense"] + ["sparse"] * 11,
            },
            {
                "encoder_config": {
                    "hidden_size": 896,
                    "intermediate_size": 4864,
                    "num_hidden_layers": 24,
                    "num_attention_heads": 14,
                    "num_key_value_heads": 2,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
                }
            },
            page_tokens=833,
        ),
        BenchShape(
            "small",
            "qwen3_vl",
            "Qwen3-VL's class, shrunk for CPUs",
            0,
            {
                "vocab_size": 4096,
                "hidden_size": 256,
                "intermediate_size": 768,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 64,
                "rope_parameters": _grid_rope([12, 10, 10]),
            },
            _qwen_vision(128, 512, 4, 256, [0, 1, 2]),
            side=512,
            page_tokens=256,
        ),
    )
}


def with_layers(shape: BenchShape, layers: int) -> BenchShape:
    """The same model with only so many layers of its language model, for machines that cannot hold or run all.

    Raises ValueError for more than it has, or fewer than it adds deepstack levels to.
    """
    total = shape.text["num_hidden_layers"]
    least = max(1, len(shape.vision.get("deepstack_visual_indexes", ())))
    if not least <= layers <= total:
        raise ValueError(f"{shape.name} has {total} layers and needs at least {least} of them, not {layers}")
    kinds = {key: shape.text[key][:layers] for key in ("mlp_layer_types",) if key in shape.text}
    text = {**shape.text, **kinds, "num_hidden_layers": layers}
    return replace(shape, name=f"{shape.name}, {layers} of {total} layers", text=text)


def build_model(shape: BenchShape, *, tokens: int, device: str, dtype: torch.dtype) -> "PreTrainedModel":
    """The whole model with random weights, made on its device, with positions for so many tokens."""
    import transformers

    family = FAMILIES[shape.family]
    full: type[PreTrainedModel] = getattr(transformers, family.model_class)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text = {**shape.text, **ends, "max_position_embeddings": max(tokens, shape.context)}
    fields: dict[str, Any] = {"image_token_id": IMAGE, "text_config": text}
    if family.grid:
        fields |= {"video_token_id": 10, "vision_start_token_id": OPENING, "vision_end_token_id": 8}
    if shape.vision:
        fields["vision_config"] = shape.vision
    config_class: Callable[..., Any] = full.config_class  # type: ignore[assignment]
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(0)
        with torch.device(device):
            model: PreTrainedModel = full(config_class(**fields))
            model.eval()
            return model
    finally:
        torch.set_default_dtype(before)


def page_encoder(model: "PreTrainedModel", shape: BenchShape) -> PageEncoder:
    """Its vision half."""

    def tokenize(text: str) -> list[int]:
        pieces = text.split(IMAGE_TEXT)
        return [OPENING] * bool(pieces[0]) + [IMAGE] * (len(pieces) - 1) + [OPENING] * bool(pieces[-1])

    return PageEncoder(
        model,
        FAMILIES[shape.family],
        codec=CODEC,
        image_processor=_image_processor(shape),
        tokenize=tokenize,
        image_text=IMAGE_TEXT,
    )


def page_decoder(model: "PreTrainedModel", shape: BenchShape) -> PageDecoder:
    """Its language half; the vision tower is let go."""
    family = FAMILIES[shape.family]
    for name, _ in list(model.model.named_children()):
        if name != family.decoder:
            delattr(model.model, name)
    return PageDecoder(model, family, codec=CODEC)


def _image_processor(shape: BenchShape) -> "BaseImageProcessor":
    import transformers

    made: BaseImageProcessor
    if shape.family == "qwen3_vl":
        area = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
        made = transformers.Qwen2VLImageProcessorPil(patch_size=16, merge_size=2, size=area)
    else:
        made = transformers.DeepseekOcr2ImageProcessorPil()
    return made
