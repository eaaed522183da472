"""Owns what the encoder sees: cells as pixels, drawn on the device that encodes them.

They are those of the image that `typography.draw` makes, pixel for pixel. A text has few different cells, so each is
drawn once.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from compressor.codec.atlas import CELL_HEIGHT, PLANES, load_atlas
from compressor.codec.typography import CONTINUATION, HEADING_BARS, LEFT_EDGE, STYLE_SHIFT
from compressor.styles import STYLE_BITS, Style

CODE_MASK = (1 << STYLE_SHIFT) - 1
CONTINUED = 1 << STYLE_SHIFT + STYLE_BITS  # of a kind: it is the second cell of its character


@dataclass(frozen=True, slots=True)
class Plates:
    """The atlas on a device."""

    cells: Tensor  # (bitmaps, 16) uint8
    first: Tensor  # (0x20000,) int32
    bars: Tensor  # (4,) uint8: above a heading, by level
    dots: Tensor  # (16,) uint8: the edge of code
    upper: Tensor  # (16,) bool: rows that lean
    places: Tensor  # (8,) uint8: how far each pixel of a row is shifted, the leftmost first


@cache
def load_plates(device: torch.device) -> Plates:
    """The atlas, once a device."""
    atlas = load_atlas()
    rows = torch.arange(CELL_HEIGHT)
    return Plates(
        cells=torch.from_numpy(atlas.cells).to(device),
        first=torch.from_numpy(atlas.first).to(device, torch.int32),
        bars=torch.from_numpy(HEADING_BARS).to(device),
        dots=torch.where(rows % 2 == 0, LEFT_EDGE, 0).to(device, torch.uint8),
        upper=(rows < CELL_HEIGHT // 2).to(device),
        places=torch.arange(7, -1, -1, dtype=torch.uint8, device=device),
    )


def kinds_of(codes: Tensor, styles: Tensor | None) -> Tensor:
    """Codes and style bits (strips, 56), int32 and uint8 -> int32 of the same shape, equal where cells look the same.

    `styles` None: all are plain.
    """
    kinds = torch.where(codes == CONTINUATION, codes.roll(1, -1) | CONTINUED, codes)
    return kinds if styles is None else kinds | styles.to(torch.int32) << STYLE_SHIFT


def draw_kinds(kinds: Tensor) -> Tensor:
    """Kinds of cells (...) int32 -> pixels (..., 128) uint8 of 0 and 1."""
    plates = load_plates(kinds.device)
    code, styles = kinds & CODE_MASK, (kinds >> STYLE_SHIFT)[..., None]
    drawn = code < PLANES
    index = plates.first[torch.where(drawn, code, 0)] + (kinds & CONTINUED != 0)
    bitmaps = plates.cells[torch.where(drawn, index, 0)]
    looks = bitmaps | torch.where(styles & Style.BOLD != 0, bitmaps >> 1, 0)
    looks = torch.where((styles & Style.ITALIC != 0) & plates.upper, looks >> 1, looks)
    looks |= torch.where(styles & Style.CODE != 0, plates.dots, 0)
    looks[..., -1:] |= torch.where(styles & Style.LINK != 0, 0xFF, 0).to(torch.uint8)
    looks[..., :1] |= plates.bars[(styles >> 4 & 3).long()]
    return (looks[..., None] >> plates.places & 1).flatten(-2)
