"""Owns the codec's network: cells of pixels to tokens, tokens to characters, and from each rate to the next.

Knows nothing of text, files or storage: pixels and numbers in, numbers and logits out.

Each cell is looked at by itself and gets numbers of its own in the token, the same wherever its glyph stands; the cells
of a slice share a few more, for what only their neighbourhood tells (styles, scripts). What glyphs mean is up to the
reader, which sees the whole token. So a code is learnt in minutes, and tokens repeat as letters do, which entropy
coding likes.
"""

from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.codec.typography import CELL_PIXELS, STRIP_CELLS
from compressor.formats import SHARED
from compressor.styles import STYLE_BITS

LOW_CLASSES = 256  # a character is read as two bytes: code point % 256 ...
HIGH_CLASSES = 512  # ... and code point // 256, planes 0 and 1
SLICE_NUMBERS = 64


@dataclass(frozen=True, slots=True)
class Code:
    """How a slice's 64 numbers are given out."""

    cells: int  # in a slice
    own: int  # numbers that each cell has for itself
    shared: int  # numbers that all its cells share
    digits: int  # numbers that share one stored number of four bits
    sight: int = 1  # cells to each side whose own numbers a cell is read from: a wide character stands in two

    @property
    def values(self) -> int:
        """How many values a number can take."""
        return SHARED[self.digits].levels

    @property
    def reach(self) -> float:
        """Numbers lie between minus this and this: what the quantiser covers."""
        return SHARED[self.digits].levels * SHARED[self.digits].step / 2


# native-10, native-20, ...: each rate halves the bits of a cell. 9 numbers a cell would fit at native-10, but 8 fill
# whole bytes, and more are of no use. Four bits a cell, at native-80, tell letters apart only among their neighbours;
# what slices share told too little there for a tenth of the bytes.
CODES = (Code(7, 8, 0, 1), Code(14, 4, 8, 1), Code(14, 4, 8, 2), Code(14, 4, 0, 4, sight=7))


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network; stored with the weights."""

    width: int = 512  # numbers of four bits in a stored token
    cell_dim: int = 256
    hidden_dim: int = 1024  # of what looks at a cell by itself
    reader_layers: int = 2
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
        self.rectify = nn.ReLU()
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2)  # each (batch * heads, length, head_dim)
        # Two plain products: on a CPU twice as fast as the fused call at this length.
        scores = torch.bmm(q * (dim // self.heads) ** -0.5, k.transpose(1, 2)).softmax(-1)
        mixed = torch.bmm(scores.to(v.dtype), v).view(batch, self.heads, length, -1)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, dim))
        widened: Tensor = self.down(self.rectify(self.up(self.norm_mlp(x))))
        return x + widened

    def change_nothing(self) -> None:
        """Begins as the identity."""
        for parameter in (self.out.weight, self.down.weight, self.down.bias):
            nn.init.zeros_(parameter)


class Writer(nn.Module):
    """Turns cells into tokens."""

    def __init__(self, shape: Shape, code: Code, inputs: int) -> None:
        super().__init__()
        self.code = code
        self.look = nn.Sequential(
            nn.Linear(inputs, shape.hidden_dim),
            nn.ReLU(),
            nn.Linear(shape.hidden_dim, shape.cell_dim),
            nn.ReLU(),
        )
        self.own = nn.Linear(shape.cell_dim, code.own)
        self.shared = nn.Linear(code.cells * shape.cell_dim, code.shared) if code.shared else None
        self.numbers = shape.width * code.digits

    def forward(self, cells: Tensor) -> Tensor:
        """What is known of each cell (tokens, cells, inputs) -> tokens (tokens, digits * width), within the reach.

        First every cell's own numbers, then every slice's: stored side by side, the own ones repeat as letters do.
        """
        return self.number(self.look(cells))

    def number(self, features: Tensor) -> Tensor:
        """Features of cells (tokens, cells, dim) -> tokens (tokens, digits * width)."""
        parts = [self.own(features).flatten(1)]
        if self.shared is not None:
            parts.append(self.shared(features.view(len(features), -1, self.code.cells * features.shape[-1])).flatten(1))
        numbers = torch.cat(parts, 1).float()
        return self.code.reach * functional.pad(numbers, (0, self.numbers - numbers.shape[1])).tanh()


class Reader(nn.Module):
    """Turns tokens back into the characters of their cells and their styles, all at once."""

    def __init__(self, shape: Shape, code: Code, cells: int) -> None:
        super().__init__()
        self.code = code
        self.cells = cells  # in a token
        self.context = min(cells, 2 * STRIP_CELLS)  # cells that attend to each other
        dim = shape.cell_dim
        self.lift = nn.Sequential(
            nn.Linear((2 * code.sight + 1) * code.own + code.shared, shape.hidden_dim),
            nn.ReLU(),
            nn.Linear(shape.hidden_dim, dim),
        )
        self.place = nn.Parameter(torch.randn(self.context, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, shape.head_dim) for _ in range(shape.reader_layers)))
        self.norm = nn.LayerNorm(dim)
        self.low = nn.Linear(dim, LOW_CLASSES)
        self.high = nn.Linear(dim, HIGH_CLASSES)
        self.style = nn.Linear(dim, STYLE_BITS)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (n, digits * width) -> logits of the low and high byte and of style bits (strips, 56, 256 | 512 | 6).

        A cell is read from its own numbers, its neighbours' and the shared ones; then cells attend to each other.
        """
        code, slices = self.code, self.cells // self.code.cells
        own, shared = tokens[:, : self.cells * code.own], tokens[:, self.cells * code.own :]
        own = functional.pad(own.view(len(tokens), self.cells, code.own), (0, 0, code.sight, code.sight))
        own = own.unfold(1, 2 * code.sight + 1, 1).flatten(2)  # (n, cells, own numbers in sight)
        shared = shared[:, : slices * code.shared].view(len(tokens), slices, 1, code.shared)
        shared = shared.expand(-1, -1, code.cells, -1).flatten(1, 2)
        x = self.lift(torch.cat([own, shared], -1))
        x = self.norm(self.blocks(x.view(-1, self.context, x.shape[-1]) + self.place))
        x = x.view(-1, STRIP_CELLS, x.shape[-1])
        return self.low(x), self.high(x), self.style(x)


class Level(nn.Module):
    """The network that one rate adds to those below: a writer and a reader. Level 0 is native-10, 1 native-20, ..."""

    def __init__(self, shape: Shape, level: int) -> None:
        super().__init__()
        self.shape = shape
        self.level = level
        self.code = CODES[level]
        self.below = CODES[level - 1] if level else None
        self.writer = Writer(shape, self.code, self.below.own * self.below.values if self.below else CELL_PIXELS)
        self.reader = Reader(shape, self.code, STRIP_CELLS << level)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (strips, 56, 128) of 0 and 1 -> tokens (strips, width) float32; of level 0 alone."""
        tokens: Tensor = self.writer(pixels)
        return tokens

    def merge(self, digits: Tensor) -> Tensor:
        """Numbers of tokens below as stored, (2n, digits * width) uint8 -> tokens (n, digits * width) float32.

        Only the cells' own numbers are looked at: what a slice shares is told by its cells.
        """
        assert self.below is not None
        cells = self.reader.cells // 2
        own = digits[:, : cells * self.below.own].reshape(-1, 2 * cells, self.below.own, 1)
        known = own == torch.arange(self.below.values, dtype=torch.uint8, device=digits.device)
        tokens: Tensor = self.writer(known.flatten(2).to(self.reader.place.dtype))
        return tokens

    @torch.no_grad()
    def learn_from(self, below: Reader) -> None:
        """Begins with what the reader of the rate below knows of characters; which numbers mean them is learnt."""
        for name in ("norm", "low", "high", "style"):
            getattr(self.reader, name).load_state_dict(getattr(below, name).state_dict())
        for block, known in zip_longest(self.reader.blocks, below.blocks):
            assert isinstance(block, Block)
            if known is None:
                block.change_nothing()
            else:
                block.load_state_dict(known.state_dict())
        self.reader.place.copy_(below.place.repeat(self.reader.context // below.context, 1))
