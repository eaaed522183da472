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
    slices: int = 8  # a token's slices; 7 cells each at native-10
    cell_dim: int = 256
    encoder_layers: int = 1
    reader_layers: int = 2
    octave_dim: int = 384
    octave_layers: int = 2
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
        widened: Tensor = self.down(functional.relu(self.up(self.norm_mlp(x)), inplace=True))
        return x + widened

    def change_nothing(self) -> None:
        """Begins as the identity."""
        for parameter in (self.out.weight, self.down.weight, self.down.bias):
            nn.init.zeros_(parameter)


def normalise(slices: Tensor) -> Tensor:
    """Slices (n, slices, m) -> tokens (n, slices * m) float32 of mean 0 and variance 1 a slice, as the quantiser needs.

    Over the whole width, the slices of a token that is half blank would share one scale: those with text were
    three times as large as usual, beyond the quantiser's range, and a third of the errors stood in such tokens.
    """
    return functional.layer_norm(slices.float(), slices.shape[-1:]).flatten(1)


class Reader(nn.Module):
    """Turns tokens back into the characters of their cells, all at once."""

    def __init__(self, shape: Shape, cells: int) -> None:
        super().__init__()
        self.shape = shape
        self.cells = cells  # that one token stands for
        dim = shape.cell_dim
        self.unpack = nn.Linear(shape.width // shape.slices, cells // shape.slices * dim)
        self.place = nn.Parameter(torch.randn(cells, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.reader_layers)))
        self.norm = nn.LayerNorm(dim)
        self.low = nn.Linear(dim, LOW_CLASSES)
        self.high = nn.Linear(dim, HIGH_CLASSES)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (n, width) -> logits of the low and high byte (strips, 56, 256), (strips, 56, 512)."""
        slices = self.unpack(tokens.reshape(-1, self.shape.slices, self.shape.width // self.shape.slices))
        x = self.blocks(slices.view(len(slices), self.cells, -1) + self.place)
        x = self.norm(x).view(-1, STRIP_CELLS, self.shape.cell_dim)
        return self.low(x), self.high(x)


class Base(nn.Module):
    """`native-10`: one token a strip."""

    digits = 1

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        dim, slice_width = shape.cell_dim, shape.width // shape.slices
        self.patch = nn.Linear(CELL_PIXELS, dim)
        self.place = nn.Parameter(torch.randn(STRIP_CELLS, dim) * 0.02)
        self.encoder = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.encoder_layers)))
        self.norm = nn.LayerNorm(dim)
        self.pack = nn.Linear(STRIP_CELLS // shape.slices * dim, slice_width)
        self.reader = Reader(shape, STRIP_CELLS)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (strips, 56, 128) of 0 and 1 -> tokens (strips, width) float32."""
        x = self.norm(self.encoder(self.patch(pixels) + self.place))
        return normalise(self.pack(x.view(len(x), self.shape.slices, -1)))


class Octave(nn.Module):
    """Merges two neighbouring tokens into one of the same width; has a reader of its own."""

    digits = 1

    def __init__(self, shape: Shape, level: int) -> None:
        super().__init__()
        self.shape = shape
        dim, slice_width = shape.octave_dim, shape.width // shape.slices
        self.enter = nn.Linear(slice_width, dim)
        self.place = nn.Parameter(torch.randn(2 * shape.slices, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.octave_layers)))
        self.norm = nn.LayerNorm(dim)
        self.pack = nn.Linear(2 * dim, slice_width)
        self.reader = Reader(shape, STRIP_CELLS << level)

    def merge(self, tokens: Tensor) -> Tensor:
        """Tokens (2n, width) -> (n, width) float32."""
        slices = tokens.reshape(-1, 2 * self.shape.slices, self.shape.width // self.shape.slices)
        x = self.norm(self.blocks(self.enter(slices) + self.place))
        return normalise(self.pack(x.view(len(x), self.shape.slices, -1)))

    @torch.no_grad()
    def learn_from(self, below: Reader) -> None:
        """Begins with what the reader of the rate below knows of characters; which numbers mean them is learnt."""
        for name in ("blocks", "norm", "low", "high"):
            getattr(self.reader, name).load_state_dict(getattr(below, name).state_dict())
        self.reader.place.copy_(below.place.repeat(2, 1))


class Squeeze(nn.Module):
    """Rewrites two neighbouring tokens in numbers of half the bits, so that both fit in one; has a reader of its own.

    It begins as a copy that changes nothing, and the numbers lose their bits little by little while it is trained:
    merging slices again, as an octave does, did not leave its plateau at this rate.
    """

    def __init__(self, shape: Shape, level: int) -> None:
        super().__init__()
        self.shape = shape
        self.digits = 1 << (level - 1)  # numbers that share one stored number
        dim, slice_width = shape.octave_dim, shape.width // shape.slices
        self.slices = self.digits * shape.slices
        self.enter = nn.Linear(slice_width, dim)
        self.place = nn.Parameter(torch.randn(self.slices, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.octave_layers)))
        self.norm = nn.LayerNorm(dim)
        self.pack = nn.Linear(dim, slice_width)
        nn.init.zeros_(self.pack.weight)
        nn.init.zeros_(self.pack.bias)
        self.reader = Reader(shape, 2 * STRIP_CELLS)

    def merge(self, tokens: Tensor) -> Tensor:
        """Tokens (2n, digits / 2 * width) -> (n, digits * width) float32."""
        slices = tokens.reshape(-1, self.slices, self.shape.width // self.shape.slices)
        x = self.norm(self.blocks(self.enter(slices) + self.place))
        return normalise(slices + self.pack(x))

    @torch.no_grad()
    def learn_from(self, below: Reader) -> None:
        """Begins with the reader of the rate below; layers that it lacks begin as copies that change nothing."""
        for name in ("unpack", "norm", "low", "high"):
            getattr(self.reader, name).load_state_dict(getattr(below, name).state_dict())
        self.reader.place.copy_(below.place)
        for index, block in enumerate(self.reader.blocks):
            if index < len(below.blocks):
                block.load_state_dict(below.blocks[index].state_dict())
            else:
                assert isinstance(block, Block)
                block.change_nothing()


Level = Base | Octave | Squeeze


def build_level(shape: Shape, level: int) -> Level:
    """The network that one rate adds to the rates below: level 0 is native-10, 1 native-20, ..."""
    if level == 0:
        return Base(shape)
    return Octave(shape, level) if level == 1 else Squeeze(shape, level)
