"""Owns the moving of what a language model keeps of a page to other positions.

Decoders here rotate keys by position before they keep them, and rotations add up: what is kept moves by rotating it
on, by the difference of positions. Most keep keys and values. DeepSeek V2 and V3 keep of each token a latent, which
knows no position, where others keep keys, and one rotated key for all heads where others keep values.
"""

import sys
from typing import Literal

import torch
from torch import Tensor

from compressor.errors import ModelError
from compressor.vlm.decode import PageDecoder

# By type of language model, what of it is rotated. Some families take any language model; only of these is it known,
# and tested, that moving is exact: others rotate in some of their layers only, or each layer in its own way.
ROTATED: dict[str, Literal["keys", "values"]] = {
    "deepseek_ocr2_text": "keys",
    "unlimited_ocr_text": "keys",
    "glm4v_text": "keys",
    "glm_ocr_text": "keys",
    "qwen3_vl_text": "keys",
    "llama": "keys",
    "qwen2": "keys",
    "qwen3": "keys",
    "deepseek_v2": "values",
    "deepseek_v3": "values",
}
_FIXED_ROPES = ("default", "linear", "yarn", "llama3", "proportional")  # frequencies do not depend on the length


def check_movable(decoder: PageDecoder) -> None:
    """Raises ModelError for a model whose blocks cannot be moved exactly."""
    label = decoder.family.label
    if decoder.family.page_kv != "shifted":
        raise ModelError(f"{label} keeps a running state: its pages cannot be put together from blocks")
    text = decoder.config.get_text_config()
    if text.model_type not in ROTATED:
        raise ModelError(
            f"the language model of this {label} model is of type {text.model_type!r}, whose pages cannot be put "
            f"together from blocks; they can of {', '.join(ROTATED)}"
        )
    kind = (text.rope_parameters or {}).get("rope_type", "default")
    if kind not in _FIXED_ROPES:
        raise ModelError(
            f"positions of this {label} model are of type {kind!r}, which change with the length of the "
            f"context: its pages cannot be put together from blocks"
        )


def move(decoder: PageDecoder, keys: Tensor, values: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """What a layer keeps of a stretch, (1, heads, tokens, width) each, `distance` positions on; on the device."""
    keys, values = keys.to(decoder.device), values.to(decoder.device)
    if not distance:
        return keys, values
    if ROTATED[decoder.config.get_text_config().model_type] == "values":
        return keys, _rotated(decoder, values, distance)
    return _rotated(decoder, keys, distance), values


def _rotated(decoder: PageDecoder, kept: Tensor, distance: int) -> Tensor:
    """Keys rotated on, by the model's own functions, in float32."""
    rotary = decoder.language.rotary_emb
    functions = sys.modules[type(decoder.language).__module__]
    positions = torch.full((3, 1, 1) if decoder.family.grid else (1, 1), distance, device=decoder.device)
    wide = kept.float()
    scale = getattr(rotary, "attention_scaling", 1.0) or 1.0  # of YaRN: it is in the keys already
    turns = rotary(wide, positions)
    moved: Tensor
    if isinstance(turns, Tensor):  # DeepSeek V2: a complex number for each pair
        moved = functions.apply_rotary_emb(wide, wide, turns / scale)[1]
    else:
        # DeepSeek V3 may turn pairs that lie side by side, but keeps them apart in halves, as others have them.
        cosines, sines = turns
        moved = functions.apply_rotary_pos_emb(wide, wide, cosines / scale, sines / scale)[1]
    return moved.to(kept.dtype)
