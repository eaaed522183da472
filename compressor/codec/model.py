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
from compressor.formats import SHARED
from compressor.styles import STYLE_BITS

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
    squeeze_layers: int = 2
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


class Lift(nn.Module):
    """Slices as a squeeze writes them -> features of their cells: each from its own numbers and the shared ones."""

    def __init__(self, slice_width: int, cells: int, dim: int) -> None:
        super().__init__()
        self.cells = cells
        self.own = slice_width // cells
        self.up = nn.Linear(self.own + slice_width - self.own * cells, 2 * dim)
        self.down = nn.Linear(2 * dim, dim)

    def forward(self, slices: Tensor) -> Tensor:
        """(..., slice width) -> (..., cells * dim)."""
        own, shared = slices.split([self.own * self.cells, slices.shape[-1] - self.own * self.cells], -1)
        own = own.unflatten(-1, (self.cells, self.own))
        shared = shared.unsqueeze(-2).expand(*own.shape[:-1], -1)
        lifted: Tensor = self.down(functional.relu(self.up(torch.cat([own, shared], -1)), inplace=True))
        return lifted.flatten(-2)


class Cells(nn.Module):
    """Turns tokens into features of their cells, all at once."""

    def __init__(self, shape: Shape, cells: int, *, layers: int, lift: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.cells = cells  # that attend to each other
        dim, slice_width, slice_cells = shape.cell_dim, shape.width // shape.slices, cells // shape.slices
        self.unpack = Lift(slice_width, slice_cells, dim) if lift else nn.Linear(slice_width, slice_cells * dim)
        self.place = nn.Parameter(torch.randn(cells, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(layers)))
        self.norm = nn.LayerNorm(dim)

    def features(self, tokens: Tensor) -> Tensor:
        """Tokens (n, width), or several of them in a row, -> (groups of cells, cells, dim)."""
        slices = self.unpack(tokens.reshape(-1, self.shape.slices, self.shape.width // self.shape.slices))
        features: Tensor = self.norm(self.blocks(slices.view(len(slices), self.cells, -1) + self.place))
        return features

    def copy_cells(self, other: "Cells", *, unpack: bool) -> None:
        """Takes over what another one knows of characters; layers that it lacks begin as the identity."""
        if unpack:
            self.unpack.load_state_dict(other.unpack.state_dict())
        self.norm.load_state_dict(other.norm.state_dict())
        self.place.copy_(other.place.repeat(self.cells // other.cells, 1))
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if index < len(other.blocks):
                block.load_state_dict(other.blocks[index].state_dict())
            else:
                block.change_nothing()


class Reader(Cells):
    """Turns tokens back into the characters of their cells and their styles."""

    def __init__(self, shape: Shape, cells: int, *, lift: bool = False) -> None:
        super().__init__(shape, cells, layers=shape.reader_layers, lift=lift)
        self.low = nn.Linear(shape.cell_dim, LOW_CLASSES)
        self.high = nn.Linear(shape.cell_dim, HIGH_CLASSES)
        self.style = nn.Linear(shape.cell_dim, STYLE_BITS)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (n, width) -> logits of the low and high byte and of style bits, (strips, 56, 256 | 512 | 6)."""
        x = self.features(tokens).view(-1, STRIP_CELLS, self.shape.cell_dim)
        return self.low(x), self.high(x), self.style(x)

    @torch.no_grad()
    def learn_from(self, below: "Reader") -> None:
        """Begins with what the reader of the rate below knows of characters; which numbers mean them is learnt."""
        self.copy_cells(below, unpack=False)
        for name in ("low", "high", "style"):
            getattr(self, name).load_state_dict(getattr(below, name).state_dict())


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

    def learn_from(self, below: Reader) -> None:
        """Begins with the reader of the rate below."""
        self.reader.learn_from(below)


class Squeeze(nn.Module):
    """Writes two neighbouring tokens anew in numbers of half the bits, so that both fit in one; has its own reader.

    The cells are read out of the tokens below first. Then each cell gets numbers of its own and each slice a few that
    its cells share: a code that mixes the cells of a slice, as an octave's does, was not learnt at this rate.
    """

    def __init__(self, shape: Shape, level: int) -> None:
        super().__init__()
        self.shape = shape
        self.digits = 1 << (level - 1)  # numbers that share one stored number
        self.reach = SHARED[self.digits].levels * SHARED[self.digits].step / 2
        cells, slice_width = 2 * STRIP_CELLS // shape.slices, shape.width // shape.slices
        self.cells = Cells(shape, 2 * STRIP_CELLS, layers=shape.squeeze_layers, lift=level > 2)
        self.own = nn.Linear(shape.cell_dim, slice_width // cells)
        self.shared = nn.Linear(cells * shape.cell_dim, slice_width % cells)
        self.reader = Reader(shape, 2 * STRIP_CELLS, lift=True)

    def merge(self, tokens: Tensor) -> Tensor:
        """Tokens (2n, digits / 2 * width) -> (n, digits * width) float32, bounded to what the quantiser reaches."""
        features = self.cells.features(tokens).unflatten(1, (self.shape.slices, -1))
        numbers = torch.cat([self.own(features).flatten(2), self.shared(features.flatten(2))], -1)
        return self.reach * numbers.float().tanh().view(len(tokens) // 2, -1)

    @torch.no_grad()
    def learn_from(self, below: Reader) -> None:
        """Begins by reading the tokens below as their reader does."""
        self.cells.copy_cells(below, unpack=True)
        self.reader.learn_from(below)


Level = Base | Octave | Squeeze


def build_level(shape: Shape, level: int) -> Level:
    """The network that one rate adds to the rates below: level 0 is native-10, 1 native-20, ..."""
    if level == 0:
        return Base(shape)
    return Octave(shape, level) if level == 1 else Squeeze(shape, level)
