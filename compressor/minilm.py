"""Owns the forward pass of all-MiniLM-L6-v2: token ids to vectors. Knows nothing of text.

Texts of a batch are laid end to end, so nothing is spent on padding; only attention looks at them one by one.
Native bf16 is 2.7 times as fast as fp32 on one core and moves a vector by less than 1e-4 in cosine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, normalize

from compressor.attention import attend, places_of
from compressor.device import has_native_bf16, rounded, side_by_side
from compressor.packed import PackedLinear, can_pack

WIDTH = 384
HEADS = 12
LAYERS = 6
EPSILON = 1e-12
MAX_TOKENS = 256  # special tokens included; what the model was trained to read
BATCH_TOKENS = 1024  # activations of this many still fit a core's cache
STEP_TOKENS = 32  # batches are padded to whole steps


@dataclass(frozen=True, slots=True)
class Norm:
    """A norm's weight and bias."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, norms after the sums."""

    qkv: nn.Module
    attention: nn.Module
    attention_norm: Norm
    widen: nn.Module
    narrow: nn.Module
    norm: Norm


class MiniLM:
    """The model on one device. Safe to call from several threads."""

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        weights = load_file(path, device=device)
        dtype = torch.bfloat16 if has_native_bf16(device) else torch.float32
        self._device = device
        self._dtype = dtype
        self._words = weights["embeddings.word_embeddings.weight"]
        # every text is of the first token type
        self._positions = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _norm_of(weights, "embeddings.LayerNorm", torch.float32)
        self._layers = [_layer(weights, f"encoder.layer.{index}.", dtype) for index in range(LAYERS)]

    def embed(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Token ids with special tokens, one sequence a text -> (texts, 384) float32 of length 1."""
        cut = [[*ids[: MAX_TOKENS - 1], ids[-1]] if len(ids) > MAX_TOKENS else ids for ids in texts]
        device = torch.device(self._device).type
        return np.concatenate(side_by_side(self._forward, batches(cut), device=device))

    @torch.inference_mode()
    def _forward(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        lengths = [len(ids) for ids in texts]
        padding = rounded(sum(lengths), STEP_TOKENS) - sum(lengths)
        ids = torch.tensor([id for ids in texts for id in ids] + [0] * padding, device=self._device)
        places = [place for length in lengths for place in range(length)] + [0] * padding
        positions = torch.tensor(places, device=self._device)
        x = _norm(self._words[ids] + self._positions[positions], self._norm).to(self._dtype)  # (tokens, 384)
        texts_at = places_of(lengths, len(x), x)
        for layer in self._layers:
            x = _norm(x + layer.attention(attend(layer.qkv(x), texts_at, HEADS)), layer.attention_norm)
            x = _norm(x + layer.narrow(gelu(layer.widen(x))), layer.norm)
        means = [text.mean(0) for text in torch.split_with_sizes(x[: sum(lengths)].float(), lengths)]
        return normalize(torch.stack(means), dim=-1).cpu().numpy()


def batches(texts: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """The texts in order, in runs of at most BATCH_TOKENS tokens."""
    start, tokens = 0, 0
    for index, ids in enumerate(texts):
        if index > start and tokens + len(ids) > BATCH_TOKENS:
            yield texts[start:index]
            start, tokens = index, 0
        tokens += len(ids)
    yield texts[start:]


def _norm(x: Tensor, norm: Norm) -> Tensor:
    return layer_norm(x, (WIDTH,), norm.weight, norm.bias, EPSILON)


def _norm_of(weights: dict[str, Tensor], name: str, dtype: torch.dtype) -> Norm:
    return Norm(weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype))


def _linear_of(weights: dict[str, Tensor], names: Sequence[str], dtype: torch.dtype) -> nn.Module:
    """One layer that gives what several give, side by side."""
    weight, bias = (torch.cat([weights[f"{name}.{part}"] for name in names]).to(dtype) for part in ("weight", "bias"))
    if can_pack(weight.device.type):
        return PackedLinear(weight, bias)
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, device=weight.device, dtype=dtype)
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer


def _layer(weights: dict[str, Tensor], prefix: str, dtype: torch.dtype) -> Layer:
    return Layer(
        qkv=_linear_of(weights, [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")], dtype),
        attention=_linear_of(weights, [f"{prefix}attention.output.dense"], dtype),
        attention_norm=_norm_of(weights, f"{prefix}attention.output.LayerNorm", dtype),
        widen=_linear_of(weights, [f"{prefix}intermediate.dense"], dtype),
        narrow=_linear_of(weights, [f"{prefix}output.dense"], dtype),
        norm=_norm_of(weights, f"{prefix}output.LayerNorm", dtype),
    )
