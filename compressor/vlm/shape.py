"""Owns the measuring of a language model that is not loaded: its memory's shape, from its settings alone."""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from compressor.vlm.load import empty_language_model
from compressor.vlm.memory import Shape

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def read_shape(directory: Path) -> Shape:
    """The shape of a model directory's language model. Needs no weights. Raises UnsupportedModel, ModelError."""
    return model_shape(empty_language_model(directory))


def model_shape(model: "PreTrainedModel") -> Shape:
    """The shape of a language model, on any device, the meta device too; of a whole model, vision counts as well."""
    text = model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    layers = [module for module in model.modules() if hasattr(module, "layer_idx")]
    kept = [_kept_numbers(layer) for layer in layers]
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        kv_numbers=sum(kept),
        layer_kv_numbers=max(kept, default=0),
        layer_head_numbers=2 * text.num_attention_heads * head,
        state_numbers=sum(_state_numbers(layer) for layer in layers),
        width=text.hidden_size,
        inner_width=text.intermediate_size,
        vocabulary=text.vocab_size,
        max_tokens=text.max_position_embeddings,
    )


def _kept_numbers(layer: nn.Module) -> int:
    """That an attention layer keeps of each token: a key and a value of every group of heads."""
    projections = [getattr(layer, name, None) for name in ("k_proj", "v_proj")]
    return sum(projection.out_features for projection in projections if isinstance(projection, nn.Linear))


def _state_numbers(layer: nn.Module) -> int:
    """That a layer with running state keeps: the last inputs of its convolution, and a matrix of each head."""
    inputs = sum(part.out_channels * part.kernel_size[0] for part in layer.children() if isinstance(part, nn.Conv1d))
    sides = [getattr(layer, name, 0) for name in ("num_v_heads", "head_k_dim", "head_v_dim")]
    return inputs + sides[0] * sides[1] * sides[2]
