"""Owns the step from a page image to its tokens: image processor, vision tower and projector of the model itself."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressor.device import device_faults
from compressor.errors import ModelError
from compressor.vlm.families import Family
from compressor.vlm.page import PageTokens
from compressor.vlm.spans import page_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BaseImageProcessor, PreTrainedModel

Pixels = Mapping[str, object]  # what an image processor gives for one image


class PageEncoder:
    """The vision half of one model on one device. One caller at a time."""

    def __init__(
        self,
        model: "PreTrainedModel",
        family: Family,
        *,
        codec: str,
        image_processor: "BaseImageProcessor | None",
        tokenize: Callable[[str], list[int]],
        image_text: str,
    ) -> None:
        """`tokenize` gives a text's ids and adds none of its own; `image_text` is the text of the image token."""
        self.family = family
        self.codec = codec
        self.image_token: int = model.config.image_token_id
        self._model = model.model
        self._device = model.device
        self._dtype = model.dtype
        self._processor = image_processor
        self._tokenize = tokenize
        self._image_text = image_text
        self._merge = getattr(model.config.vision_config, "spatial_merge_size", 1)
        self._taken = tuple(inspect.signature(self._model.get_image_features).parameters)

    def encode(self, image: "Image") -> PageTokens:
        """One page image, of any size and mode. Raises ModelError, DeviceFull."""
        if self._processor is None:
            raise ModelError(f"this encoder of {self.family.label} was opened without an image processor")
        # With their rows and columns, tiled families get the tags that stand before each tile.
        more: dict[str, Any] = {"return_row_col_info": True} if self.family.tiles else {}
        return self.encode_pixels(self._processor(images=[image.convert("RGB")], return_tensors="pt", **more))

    @torch.no_grad()
    def encode_pixels(self, pixels: Pixels) -> PageTokens:
        """What the image processor gave for one page -> its tokens, on the encoder's device."""
        taken = {key: self._placed(pixels[key]) for key in self._taken if key in pixels}
        with device_faults(self._device.type):
            output = self._model.get_image_features(**taken, return_dict=True)
            tiles = _tiles(output.pooler_output)
            features = torch.cat(tiles)
            deepstack = getattr(output, "deepstack_features", None)
            levels = None if deepstack is None else torch.stack([torch.cat(list(level)) for level in deepstack])
        return PageTokens(
            features=features,
            deepstack=levels,
            grid=self._grid(pixels),
            ids=self._span(pixels, [len(tile) for tile in tiles]),
        )

    def _placed(self, value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        return value.to(self._device, self._dtype if value.is_floating_point() else None)

    def _grid(self, pixels: Pixels) -> tuple[int, int] | None:
        """Rows and columns of tokens: of patches, before the model merges them, is what processors give."""
        if not self.family.grid:
            return None
        grid = pixels["image_grid_thw"]
        assert isinstance(grid, Tensor), "image processors give grids as tensors"
        _, rows, columns = grid[0].tolist()
        return rows // self._merge, columns // self._merge

    def _span(self, pixels: Pixels, counts: list[int]) -> Tensor:
        """Ids of the page's stretch of a prompt, (positions,) int32."""
        rows, columns = 0, 0
        if self.family.tiles is not None:
            rows = _first(pixels[self.family.tiles.rows_key])
            columns = _first(pixels[self.family.tiles.columns_key])
        tiles = rows * columns + 1
        if rows * columns > 1 and len(counts) == 1 and counts[0] % tiles == 0:
            counts = tiles * [counts[0] // tiles]  # the family gives one block for all tiles, which are equal
        ids = self._tokenize(page_text(self.family, self._image_text, counts, rows=rows, columns=columns))
        placed = ids.count(self.image_token)
        if placed != sum(counts):
            raise ModelError(
                f"{self.family.label} gave {sum(counts)} features for a page, but its tokenizer made {placed} places "
                f"for them: the image token {self.image_token} is not {self._image_text!r}"
            )
        return torch.tensor(ids, dtype=torch.int32)


def _tiles(pooled: object) -> list[Tensor]:
    """Projector outputs, which models give as one tensor or as a list -> (tokens, width) each."""
    parts = [pooled] if isinstance(pooled, Tensor) else pooled
    assert isinstance(parts, list | tuple), "projector outputs are a tensor or a list of them"
    return [part.reshape(-1, part.shape[-1]) for part in parts]


def _first(value: object) -> int:
    """The number in what processors give for one image: 2, [2], [[2]] or a tensor of these."""
    while isinstance(value, list | tuple | Tensor) and not (isinstance(value, Tensor) and value.ndim == 0):
        value = value[0]
    assert isinstance(value, int | Tensor), "rows and columns are numbers"
    return int(value)
