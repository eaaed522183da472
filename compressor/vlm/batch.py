"""Owns several pages in one pass of a vision tower: what processors gave for each joined, what comes out taken apart.

Models differ in what they give a page's features as: a block of a tensor, an item of a list, an item for each tile,
or one block for all tiles of all pages. A unit is the smallest of these, a tile or an image.
"""

from collections.abc import Hashable, Mapping, Sequence

import torch
from torch import Tensor

from compressor.errors import ModelError

Pixels = Mapping[str, object]  # what an image processor gives for one page


def likeness(pixels: Pixels) -> Hashable:
    """Equal for pages that can be joined: tensors of one key differ at most in the axis that counts units."""
    return tuple(
        (key, tuple(size for axis, size in enumerate(value.shape) if axis != _axis(value)))
        for key, value in sorted(pixels.items())
        if isinstance(value, Tensor)
    )


def join(pages: Sequence[Pixels]) -> dict[str, object]:
    """What processors gave for several pages that are alike, as for one call; a key may be missing in some."""
    joined: dict[str, object] = {}
    for key in dict.fromkeys(key for page in pages for key in page):
        values = [page[key] for page in pages if key in page]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if len(tensors) == len(values):
            joined[key] = torch.cat(tensors, _axis(tensors[0]))
        else:
            joined[key] = [item for value in values if isinstance(value, Sequence) for item in value]
    return joined


def count_units(pixels: Pixels) -> int:
    """Tiles or images of one page."""
    counted = pixels.get("image_grid_thw", pixels["pixel_values"])
    assert isinstance(counted, Tensor), "image processors give pixels and grids as tensors"
    return counted.shape[_axis(counted)]


def take_apart(pooled: object, units: Sequence[int]) -> list[list[Tensor]]:
    """Projector outputs for pages of so many units -> for each page its units, (tokens, width) each.

    Raises ModelError where the model gave another number of them.
    """
    parts = list(pooled) if isinstance(pooled, Tensor | list | tuple) else []
    total = sum(units)
    if len(parts) == 1 < total and len(parts[0]) % total == 0:
        parts = list(parts[0].chunk(total))  # one block for all units, which are equal
    if len(parts) != total:
        raise ModelError(f"the model gave {len(parts)} blocks of features for {total} images or tiles")
    ends = [sum(units[: number + 1]) for number in range(len(units))]
    return [parts[end - count : end] for count, end in zip(units, ends, strict=True)]


def _axis(value: Tensor) -> int:
    """The axis that counts units: the second where the first counts samples of several images (Idefics3, SmolVLM)."""
    return 1 if value.ndim == 5 or (value.ndim == 4 and not value.is_floating_point()) else 0
