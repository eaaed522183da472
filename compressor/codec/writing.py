"""Owns how tokens are written once weights are fixed: every different cell is looked at once.

`model.Writer` looks at a cell by itself, so the numbers of a cell hang on its kind alone, at every rate: a rate looks
at nothing but the numbers that the rate below gave the kind. A text has a hundred kinds of cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.codec.model import Code, Level
from compressor.codec.pixels import draw_kinds, kinds_of
from compressor.device import rounded
from compressor.quantise import split, store

STEP_KINDS = 1024  # kinds are looked at in as many rows as a power of two, or a multiple of this: new shapes cost


@dataclass(frozen=True, slots=True)
class Kinds:
    """The different cells of a batch, and where each stands."""

    looks: Tensor  # (kinds, inputs) what the writer is shown of each
    which: Tensor  # (cells,) int64, in reading order


class FixedWriter:
    """A rate's writer, its layers those that the level has by then. Made before they are packed."""

    def __init__(self, level: Level) -> None:
        self.code: Code = level.code
        self._writer = level.writer
        self._width = level.shape.width
        self._shared = None
        if self._writer.shared is not None:
            by_cell = self._writer.shared.weight.float().view(self.code.shared, self.code.cells, -1)
            self._shared = (by_cell.permute(1, 2, 0).contiguous(), self._writer.shared.bias.float())
        nothing = torch.zeros(1, self.code.digits, device=level.reader.place.device)
        self._unused = int(self._store(nothing))  # what stands where a token has numbers to spare

    def write(self, kinds: Kinds, cells: int) -> tuple[Tensor, Tensor]:
        """Own numbers of each kind (kinds, own), and tokens of so many cells as stored (tokens, width), all uint8."""
        features = self._writer.look(kinds.looks)
        own = self._store(self._writer.own(features))
        levels = own.new_full((len(kinds.which) // cells, self._width), self._unused)
        filled = cells * own.shape[1]
        levels[:, :filled] = own[kinds.which].view(len(levels), -1)
        if self._shared is not None:
            weight, bias = self._shared
            added = torch.einsum("kd,cdn->kcn", features.float(), weight)  # what each kind adds to a slice, by place
            places = torch.arange(self.code.cells, device=own.device)
            sums = added[kinds.which.view(-1, self.code.cells), places].sum(1) + bias
            shared = self._store(sums.to(torch.bfloat16)).view(len(levels), -1)
            levels[:, filled : filled + shared.shape[1]] = shared
        return split(own, self.code.digits), levels

    def _store(self, numbers: Tensor) -> Tensor:
        return store(self.code.reach * numbers.float().tanh(), self.code.digits)


def write_levels(writers: Sequence[FixedWriter], kinds: Kinds, *, cells: int) -> list[Tensor]:
    """Tokens as stored at the rates of some writers, each on the one before: (tokens, width) uint8 a rate.

    `cells` are those of a token of the first writer.
    """
    levels = []
    for writer in writers:
        digits, written = writer.write(kinds, cells)
        levels.append(written)
        kinds, cells = Kinds(looks_of(digits, writer.code, kinds.looks.dtype), kinds.which), 2 * cells
    return levels


def looks_of(digits: Tensor, code: Code, dtype: torch.dtype) -> Tensor:
    """What a writer is shown of cells that a rate gave these own numbers, (n, own) uint8 -> (n, own * values)."""
    return (
        (digits[..., None] == torch.arange(code.values, dtype=torch.uint8, device=digits.device)).flatten(1).to(dtype)
    )


def drawn_kinds(codes: Tensor, styles: Tensor | None, dtype: torch.dtype) -> Kinds:
    """Codes and style bits (strips, 56) -> the cells' kinds, as the lowest rate looks at them."""
    kinds, which = _different(kinds_of(codes, styles))
    return Kinds(draw_kinds(kinds).to(dtype), which)


def stored_kinds(levels: Tensor, level: Level, dtype: torch.dtype) -> Kinds:
    """Tokens as stored at the rate of a level, (tokens, width) uint8 -> the cells' kinds, as the next rate does."""
    code = level.code
    own = split(levels, code.digits)[:, : level.reader.cells * code.own].reshape(-1, code.own)
    shifts = torch.arange(code.own, device=levels.device) * (code.values - 1).bit_length()
    kinds, which = _different((own.long() << shifts).sum(1))
    return Kinds(looks_of((kinds[:, None] >> shifts & code.values - 1).to(torch.uint8), code, dtype), which)


def _different(kinds: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (...) -> the different ones, the first over again up to a rounded count, and which each is, (all,)."""
    found, which = kinds.flatten().unique(return_inverse=True)
    missing = rounded(len(found), STEP_KINDS) - len(found)
    return torch.cat([found, found[:1].expand(missing)]), which
