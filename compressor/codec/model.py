"""Owns the codec's network: strips of pixels to tokens, tokens to characters, octaves between rates.

Knows nothing of text, files or storage: pixels and tokens in, tokens and logits out.

A token is cut in slices: one slice stands for a group of neighbouring cells, the same at every strip. That
makes the code local, so it is learnt in minutes; attention across the strip adds what context can.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.codec.typography import CELL_PIXELS, STRIP_CELLS

LOW_CLASSES = 256  # a character is read as two bytes: code point % 256 ...
HIGH_CLASSES = 512  # ... and code point // 256, planes 0 and 1


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; stored with the weights."""

    width: int = 512  # numbers in a token
    slices: int = 8  # a token's slices; 6 cells each at native-10
    cell_dim: int = 256
    encoder_layers: int = 1
    reader_layers: int = 2
    octave_dim: int = 384
    octave_layers: int = 2  # down; the way up has one more
    head_dim: int = 64


class Block(nn.Module):
    """Pre-norm attention and MLP over (batch, sequence, dim)."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.norm_attention = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.norm_mlp = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)  # each (batch * heads, length, head_dim)
        # Two plain products: on a CPU twice as fast as the fused call at this length.
        scores = torch.bmm(q * (dim // self.heads) ** -0.5, k.transpose(1, 2)).softmax(-1)
        mixed = torch.bmm(scores.to(v.dtype), v).view(batch, self.heads, length, -1)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        widened: Tensor = self.down(functional.relu(self.up(self.norm_mlp(x))))
        return x + widened


def normalise(tokens: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the width, in float32: the range that the quantiser is made for."""
    return functional.layer_norm(tokens.float(), tokens.shape[-1:])


class Base(nn.Module):
    """`native-10`: one token a strip."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        dim, slice_width = shape.cell_dim, shape.width // shape.slices
        group = STRIP_CELLS // shape.slices
        self.patch = nn.Linear(CELL_PIXELS, dim)
        self.encoder_place = nn.Parameter(torch.randn(STRIP_CELLS, dim) * 0.02)
        self.encoder = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.encoder_layers)))
        self.encoder_norm = nn.LayerNorm(dim)
        self.pack = nn.Linear(group * dim, slice_width)
        self.unpack = nn.Linear(slice_width, group * dim)
        self.reader_place = nn.Parameter(torch.randn(STRIP_CELLS, dim) * 0.02)
        self.reader = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.reader_layers)))
        self.reader_norm = nn.LayerNorm(dim)
        self.low = nn.Linear(dim, LOW_CLASSES)
        self.high = nn.Linear(dim, HIGH_CLASSES)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (strips, 48, 128) of 0 and 1 -> tokens (strips, width) float32."""
        x = self.encoder(self.patch(pixels) + self.encoder_place)
        return normalise(self.pack(self.encoder_norm(x).view(len(x), self.shape.slices, -1)).flatten(1))

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (strips, width) -> logits of the low and high byte (strips, 48, 256), (strips, 48, 512)."""
        cells = self.unpack(tokens.view(len(tokens), self.shape.slices, -1))
        x = self.reader(cells.view(len(tokens), STRIP_CELLS, -1) + self.reader_place)
        x = self.reader_norm(x)
        return self.low(x), self.high(x)


class Octave(nn.Module):
    """Merges two neighbouring tokens into one of the same width, and takes it apart again."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        dim, slice_width = shape.octave_dim, shape.width // shape.slices
        places = 2 * shape.slices
        self.enter = nn.Linear(slice_width, dim)
        self.down_place = nn.Parameter(torch.randn(places, dim) * 0.02)
        self.down = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.octave_layers)))
        self.down_norm = nn.LayerNorm(dim)
        self.pack = nn.Linear(2 * dim, slice_width)
        self.unpack = nn.Linear(slice_width, 2 * dim)
        self.up_place = nn.Parameter(torch.randn(places, dim) * 0.02)
        self.up = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.octave_layers + 1)))
        self.up_norm = nn.LayerNorm(dim)
        self.leave = nn.Linear(dim, slice_width)

    def merge(self, tokens: Tensor) -> Tensor:
        """Tokens (2n, width) -> (n, width) float32."""
        places = 2 * self.shape.slices
        x = self.enter(tokens.reshape(-1, places, self.shape.width // self.shape.slices))
        x = self.down_norm(self.down(x + self.down_place))
        return normalise(self.pack(x.view(len(x), self.shape.slices, -1)).flatten(1))

    def split(self, tokens: Tensor) -> Tensor:
        """Tokens (n, width) -> an estimate (2n, width) float32 of the tokens they were merged from."""
        x = self.unpack(tokens.view(len(tokens), self.shape.slices, -1))
        x = self.up_norm(self.up(x.view(len(tokens), 2 * self.shape.slices, -1) + self.up_place))
        return normalise(self.leave(x).view(2 * len(tokens), self.shape.width))
