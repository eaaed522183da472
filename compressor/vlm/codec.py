"""Owns what a page codec is: a vision-language model by name, and how page images for it are made. Loads no weights."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.decoders.names import model_directory
from compressor.parse.raster import DPI
from compressor.vlm.families import Family
from compressor.vlm.fingerprint import read_family, read_fingerprint
from compressor.vlm.recipe import Recipe

if TYPE_CHECKING:
    from transformers import BaseImageProcessor

    from compressor.vlm.rows import RowFormat

RECIPE = Recipe()
FORMAT: "RowFormat" = "int8"
LONGEST = 4096  # pixels of a page's long side, for models that take images of any size


@dataclass(frozen=True, slots=True)
class PageCodec:
    """One configured model, and one size of its pages. Those of one fingerprint were made alike."""

    name: str  # as the settings say it, "hf:owner/model"
    directory: Path
    family: Family
    model: str  # fingerprint of the model, which its pages carry: "hf:qwen3_vl@0123456789ab"
    recipe: Recipe = RECIPE
    scale: float = 1.0  # of an image's sides: pages can be kept in smaller sizes beside the full one

    @property
    def fingerprint(self) -> str:
        """Names the rows of its caches: the model, and how images of pages are made and stored."""
        how = f"{self.recipe.digest} {DPI} {FORMAT}" + (f" {self.scale}" if self.scale != 1 else "")
        return f"{self.model}+{hashlib.sha256(how.encode()).hexdigest()[:8]}"


def open_codec(name: str, recipe: Recipe = RECIPE) -> PageCodec:
    """The codec behind "hf:<model>". Raises UnsupportedModel; ModelError where there is no model or no weights."""
    directory = model_directory(name)
    family = read_family(directory)
    return PageCodec(name, directory, family, read_fingerprint(directory, family), recipe)


def longest_side(processor: "BaseImageProcessor | None", family: Family) -> int:
    """Pixels beyond which the model's image processor would only make a page's long side smaller again."""
    size = getattr(processor, "size", None)
    sides = [getattr(size, name, None) for name in ("longest_edge", "height", "width")]
    finer = getattr(processor, "high_res_size", None)  # of hybrids, which see a page at two sizes
    sides += [getattr(finer, name, None) for name in ("height", "width")]
    wanted = max((side for side in sides if side), default=LONGEST)
    if family.grid:
        wanted = round((2 * wanted) ** 0.5)  # a number of pixels in all; a page is at most twice as long as wide
    tiles = getattr(processor, "max_patches", 0) if getattr(processor, "crop_to_patches", False) else 0
    tile = getattr(processor, "tile_size", None)
    if tiles and isinstance(tile, int):
        wanted = max(wanted, tiles * tile)
    return min(wanted, LONGEST)
