"""Owns transformer layers over texts laid end to end: what their tokens become, and one vector for each text.

How many heads and inner dimensions a layer has its tensors tell. What tokens pass through costs as much as they are
many; a layer that makes one vector of a text costs as if each text were one token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from compressor.attention import attend, places_of
from compressor.device import pad_rows
from compressor.packed import PackedLinear, Then

WIDTH = 384
HEAD = 32  # dimensions of a head
EPSILON = 1e-12
POOL = "pool."  # the layer that makes one vector of a text, in the names of tensors
STEP_TEXTS = 8  # a batch's texts are padded to whole steps

Weights = Mapping[str, Tensor]  # by the names that the published model's file has for them


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm over the last dimension, which is WIDTH."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, (WIDTH,), self.weight, self.bias, EPSILON)


class PlainLinear:
    """What PackedLinear is, on any device and in any number format; gradients pass through it."""

    def __init__(self, weight: Tensor, bias: Tensor, *, then: Then = "none") -> None:
        self._weight, self._bias = weight, bias
        self._then = {"none": nn.Identity(), "relu": nn.ReLU(), "gelu": nn.GELU()}[then]

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self._then(linear(x, self._weight, self._bias))
        return y

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + layer(x)."""
        return residual + linear(x, self._weight, self._bias)


Linear = PackedLinear | PlainLinear


@dataclass(frozen=True, slots=True)
class Block:
    """What a layer makes of rows and of what they attended to; norms after the sums."""

    attention: Linear
    attention_norm: Norm
    widen: Linear
    narrow: Linear
    norm: Norm

    def __call__(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.attention_norm(self.attention.add_to(x, attended))
        return self.norm(self.narrow.add_to(x, self.widen(x)))


@dataclass(frozen=True, slots=True)
class Pool:
    """A layer that asks once for each text, with the mean of its tokens.

    Keys and values of tokens are never made: a query goes back through the keys' weights and meets the tokens
    themselves, and what it saw of them goes through the values'. A bias of keys would add the same to every token.
    """

    query: Linear
    key: Tensor  # (heads, HEAD, WIDTH) float32
    value: Tensor  # (heads, WIDTH, HEAD) float32
    value_bias: Tensor
    block: Block

    def __call__(self, texts: Sequence[Tensor], means: Tensor, dtype: torch.dtype) -> Tensor:
        """texts: (tokens, WIDTH) float32 each, means (texts, WIDTH) -> (texts, WIDTH)."""
        count, heads = len(means), len(self.key)
        x = pad_rows(means, STEP_TEXTS).to(dtype)
        queries = self.query(x)[:count].float().view(count, heads, HEAD).transpose(0, 1) * HEAD**-0.5
        sought = torch.bmm(queries, self.key).transpose(0, 1)  # (texts, heads, WIDTH)
        seen = torch.stack([(its @ text.T).softmax(-1) @ text for its, text in zip(sought, texts, strict=True)])
        attended = torch.bmm(seen.transpose(0, 1), self.value).transpose(0, 1).reshape(count, -1) + self.value_bias
        return self.block(x, pad_rows(attended, STEP_TEXTS).to(dtype))[:count].float()


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that every token passes through, seeing those of its text."""

    qkv: Linear
    heads: int
    block: Block


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers one after the other, in one number format."""

    layers: list[Layer]
    pool: Pool | None  # None: a text's vector is the mean of its tokens
    dtype: torch.dtype

    def __call__(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """(tokens, WIDTH), texts of these lengths laid end to end and padding behind -> (texts, WIDTH) float32."""
        x = x.to(self.dtype)
        places = places_of(lengths, len(x), x)
        for layer in self.layers:
            x = layer.block(x, attend(layer.qkv(x), places, layer.heads))
        texts = torch.split_with_sizes(x[: sum(lengths)].float(), list(lengths))
        means = torch.stack([text.mean(0) for text in texts])
        return means if self.pool is None else self.pool(texts, means, self.dtype)


def make_layers(weights: Weights, *, dtype: torch.dtype, packed: bool) -> Layers:
    """The layers of a file's tensors. Raises KeyError where some are missing."""
    count = len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
    layers = [_layer(weights, f"encoder.layer.{index}.", dtype, packed) for index in range(count)]
    pool = _pool(weights, dtype, packed) if any(name.startswith(POOL) for name in weights) else None
    return Layers(layers, pool, dtype)


def norm_of(weights: Weights, name: str, dtype: torch.dtype) -> Norm:
    """The norm of a name in the tensors' names."""
    return Norm(weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype))


def _layer(weights: Weights, prefix: str, dtype: torch.dtype, packed: bool) -> Layer:
    names = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
    heads = len(weights[f"{names[0]}.bias"]) // HEAD
    return Layer(_linear(weights, names, dtype, packed), heads, _block(weights, prefix, dtype, packed))


def _pool(weights: Weights, dtype: torch.dtype, packed: bool) -> Pool:
    own = f"{POOL}attention.self."
    key, value = (weights[f"{own}{name}.weight"].float().view(-1, HEAD, WIDTH) for name in ("key", "value"))
    return Pool(
        query=_linear(weights, [f"{own}query"], dtype, packed),
        key=key,
        value=value.transpose(1, 2).contiguous(),
        value_bias=weights[f"{own}value.bias"].float(),
        block=_block(weights, POOL, dtype, packed),
    )


def _block(weights: Weights, prefix: str, dtype: torch.dtype, packed: bool) -> Block:
    return Block(
        attention=_linear(weights, [f"{prefix}attention.output.dense"], dtype, packed),
        attention_norm=norm_of(weights, f"{prefix}attention.output.LayerNorm", dtype),
        widen=_linear(weights, [f"{prefix}intermediate.dense"], dtype, packed, then="gelu"),
        narrow=_linear(weights, [f"{prefix}output.dense"], dtype, packed),
        norm=norm_of(weights, f"{prefix}output.LayerNorm", dtype),
    )


def _linear(weights: Weights, names: Sequence[str], dtype: torch.dtype, packed: bool, *, then: Then = "none") -> Linear:
    """One layer that gives what several give, side by side."""
    weight, bias = (torch.cat([weights[f"{name}.{part}"] for name in names]).to(dtype) for part in ("weight", "bias"))
    return (PackedLinear if packed else PlainLinear)(weight, bias, then=then)
