"""Owns the measuring of a language model that is not loaded: its memory's shape, from its settings alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeGuard

from torch import nn

from compressor.errors import UnsupportedModel
from compressor.vlm.load import empty_language_model
from compressor.vlm.memory import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


# What transformers' classes call the width inside a layer, and how many experts a token goes to.
INNER_WIDTHS = ("intermediate_size", "shared_expert_intermediate_size")
ROUTED = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts")


class _Experts(Protocol):
    gate_up_proj: nn.Parameter


def read_shape(directory: Path) -> Shape:
    """The shape of a model directory's language model. Needs no weights. Raises UnsupportedModel, ModelError."""
    return model_shape(empty_language_model(directory))


def model_shape(model: "PreTrainedModel") -> Shape:
    """The shape of a language model, on any device, the meta device too; of a whole model, vision counts as well.

    Raises UnsupportedModel for a language model that keeps what it reads in a way that is not known here, or whose
    settings do not tell its sizes.
    """
    text = model.config.get_text_config()
    layers = [module for module in model.modules() if hasattr(module, "layer_idx")]
    kept = [_kept_numbers(layer) for layer in layers]
    experts = [part.gate_up_proj for part in model.modules() if _holds_experts(part)]
    if not any(kept):
        raise _unknown(text)
    width = _setting(text, "hidden_size")
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        kv_numbers=sum(kept),
        layer_kv_numbers=max(kept, default=0),
        layer_head_numbers=_setting(text, "num_attention_heads") * _head_numbers(text),
        state_numbers=sum(_state_numbers(layer) for layer in layers),
        width=width,
        inner_width=_told(text, INNER_WIDTHS) or 0,  # 0: every layer has experts, and nothing beside them
        vocabulary=_setting(text, "vocab_size"),
        max_tokens=_setting(text, "max_position_embeddings"),
        experts=sum(map(len, experts)),
        routed=_setting(text, *ROUTED) if experts else 0,
        # Families lay these weights out in two ways and call their width by many names: gate and up are both there.
        expert_width=max((part.numel() // (len(part) * 2 * width) for part in experts), default=0),
    )


def _told(text: "PreTrainedConfig", names: Sequence[str]) -> int | None:
    """The first of some settings that is a number; None where none is one for the whole model."""
    for name in names:
        try:
            told = getattr(text, name, None)
        except RuntimeError:  # transformers' answer where layers differ in it
            continue
        if isinstance(told, int):
            return told
    return None


def _setting(text: "PreTrainedConfig", *names: str) -> int:
    """The same of settings that must be there. Raises UnsupportedModel."""
    told = _told(text, names)
    if told is None:
        raise _unknown(text, f": its settings do not say {' or '.join(names)}")
    return told


def _unknown(text: "PreTrainedConfig", why: str = "") -> UnsupportedModel:
    return UnsupportedModel(
        f"how much memory a language model of type {text.model_type!r} takes for a context is not known{why}"
    )


def _holds_experts(part: nn.Module) -> TypeGuard["_Experts"]:
    """Whether a module is the experts of a layer: their weights lie in one parameter, (experts, inner, width)."""
    return isinstance(getattr(part, "gate_up_proj", None), nn.Parameter)


def _kept_numbers(layer: nn.Module) -> int:
    """That an attention layer keeps of each token: a key and a value of every group of heads, or a latent and a key."""
    projections = [getattr(layer, name, None) for name in ("k_proj", "v_proj", "kv_a_proj_with_mqa")]
    return sum(projection.out_features for projection in projections if isinstance(projection, nn.Linear))


def _head_numbers(text: "PreTrainedConfig") -> int:
    """Numbers of a token's key and value as one head sees them."""
    if getattr(text, "kv_lora_rank", None):  # made out of a latent
        return int(text.qk_nope_head_dim + text.qk_rope_head_dim + text.v_head_dim)
    return 2 * (_told(text, ["head_dim"]) or _setting(text, "hidden_size") // _setting(text, "num_attention_heads"))


def _state_numbers(layer: nn.Module) -> int:
    """That a layer with running state keeps: the last inputs of its convolution, and a matrix of each head."""
    inputs = sum(part.out_channels * part.kernel_size[0] for part in layer.children() if isinstance(part, nn.Conv1d))
    sides = [getattr(layer, name, 0) for name in ("num_v_heads", "head_k_dim", "head_v_dim")]
    return inputs + sides[0] * sides[1] * sides[2]
