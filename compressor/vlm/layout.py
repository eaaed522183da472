"""Owns the layout of a prompt: ids and explicit positions of text and pages, without any state of a model.

Where positions have rows and columns (m-rope), a text token takes the next position on all axes; a page that
begins at p gives its features (p, p + row, p + column), and the text after it goes on at p + max(rows, columns).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.vlm.page import PageCache

Part = Sequence[int] | PageCache


@dataclass(frozen=True, slots=True)
class Layout:
    """A stretch of a prompt, ready for a decoder."""

    ids: Tensor  # (tokens,) int64, the image token at each feature
    positions: Tensor  # (axes, tokens) int64; one axis, or four: sequence, time, row, column
    visual: Tensor  # (tokens,) bool: a feature of a page stands here
    pages: tuple[PageCache, ...]  # in order; together they have as many features as `visual` marks
    next_position: int  # of what follows

    def __len__(self) -> int:
        return len(self.ids)


def lay_out(parts: Sequence[Part], *, grid: bool, start: int = 0) -> Layout:
    """Text ids and pages in order, from position `start` on. An id of the image token in text stays plain text."""
    ids: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
    positions: list[Tensor] = [torch.empty(3, 0, dtype=torch.int64)]
    visual: list[Tensor] = [torch.empty(0, dtype=torch.bool)]
    position = start
    for part in parts:
        if isinstance(part, PageCache):
            ids.append(part.ids.long())
            visual.append(part.ids == part.image_token)
            positions.append(_page_positions(part, position, grid))
        else:
            ids.append(torch.tensor(part, dtype=torch.int64))
            visual.append(torch.zeros(len(part), dtype=torch.bool))
            positions.append(_line(position, len(part)))
        if positions[-1].shape[1]:
            position = int(positions[-1].max()) + 1
    axes = torch.cat(positions, 1)
    sequence = torch.arange(start, start + axes.shape[1])[None]
    return Layout(
        ids=torch.cat(ids),
        positions=torch.cat([sequence, axes]) if grid else axes[:1],
        visual=torch.cat(visual),
        pages=tuple(part for part in parts if isinstance(part, PageCache)),
        next_position=position,
    )


def _line(start: int, length: int) -> Tensor:
    """(3, length): one position after another, the same on all axes."""
    return torch.arange(start, start + length).expand(3, -1)


def _page_positions(page: PageCache, start: int, grid: bool) -> Tensor:
    """(3, positions) of a page. Its features are one stretch where positions have rows and columns."""
    if not grid:
        return _line(start, page.positions)
    assert page.grid is not None, "a page of a family with grid positions has a grid"
    rows, columns = page.grid
    assert rows * columns == page.vision_tokens, "a page's grid covers its features"
    before = int((page.ids == page.image_token).int().argmax())
    first = start + before
    steps = torch.stack(
        [
            torch.zeros(rows * columns, dtype=torch.int64),
            torch.arange(rows).repeat_interleave(columns),
            torch.arange(columns).repeat(rows),
        ]
    )
    after = page.positions - before - rows * columns
    return torch.cat([_line(start, before), first + steps, _line(first + max(rows, columns), after)], 1)
