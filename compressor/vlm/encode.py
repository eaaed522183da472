"""Owns the step from a page image to its tokens: image processor, vision tower and projector of the model itself."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressor.device import device_faults
from compressor.errors import DeviceFull, ModelError
from compressor.vlm.batch import Pixels, count_units, join, likeness, take_apart
from compressor.vlm.families import Family
from compressor.vlm.page import PageTokens
from compressor.vlm.spans import page_text

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import BaseImageProcessor, PreTrainedModel


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
        return self.encode_many([image])[0]

    def encode_many(self, images: "Sequence[Image]") -> list[PageTokens]:
        """Page images in as few passes as their shapes allow; how many at once fit the device is up to the caller.

        Raises ModelError, DeviceFull.
        """
        return self.encode_pixels([self._pixels(image) for image in images])

    def _pixels(self, image: "Image") -> Pixels:
        if self._processor is None:
            raise ModelError(f"this encoder of {self.family.label} was opened without an image processor")
        # With their rows and columns, tiled families get the tags that stand before each tile.
        more: dict[str, Any] = {"return_row_col_info": True} if self.family.tiles else {}
        pixels: Pixels = self._processor(images=[image.convert("RGB")], return_tensors="pt", **more)
        return pixels

    def encode_pixels(self, pages: Sequence[Pixels]) -> list[PageTokens]:
        """What the image processor gave for each page -> their tokens, on the encoder's device."""
        alike: dict[Hashable, list[int]] = {}
        for number, page in enumerate(pages):
            alike.setdefault(likeness(self._taken_of(page)), []).append(number)
        tokens: dict[int, PageTokens] = {}
        for numbers in alike.values():
            tokens |= zip(numbers, self._encode_alike([pages[number] for number in numbers]), strict=True)
        return [tokens[number] for number in range(len(pages))]

    @torch.no_grad()
    def _encode_alike(self, pages: Sequence[Pixels]) -> list[PageTokens]:
        taken = [self._taken_of(page) for page in pages]
        units = [count_units(page) for page in taken]
        with device_faults(self._device.type):
            given = {key: self._placed(value) for key, value in join(taken).items()}
            output = self._model.get_image_features(**given, return_dict=True)
        features = take_apart(output.pooler_output, units)
        levels = [take_apart(level, units) for level in getattr(output, "deepstack_features", None) or ()]
        return [
            PageTokens(
                features=torch.cat(blocks),
                deepstack=torch.stack([torch.cat(level[number]) for level in levels]) if levels else None,
                grid=self._grid(page),
                ids=self._span(page, [len(block) for block in blocks]),
            )
            for number, (page, blocks) in enumerate(zip(pages, features, strict=True))
        ]

    def _taken_of(self, page: Pixels) -> dict[str, object]:
        """Of what a processor gave, what the model takes."""
        return {key: page[key] for key in self._taken if key in page}

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
        ids = self._tokenize(page_text(self.family, self._image_text, counts, rows=rows, columns=columns))
        placed = ids.count(self.image_token)
        if placed != sum(counts):
            raise ModelError(
                f"{self.family.label} gave {sum(counts)} features for a page, but its tokenizer made {placed} places "
                f"for them: the image token {self.image_token} is not {self._image_text!r}"
            )
        return torch.tensor(ids, dtype=torch.int32)


def _first(value: object) -> int:
    """The number in what processors give for one image: 2, [2], [[2]] or a tensor of these."""
    while isinstance(value, list | tuple | Tensor) and not (isinstance(value, Tensor) and value.ndim == 0):
        value = value[0]
    assert isinstance(value, int | Tensor), "rows and columns are numbers"
    return int(value)


def encode_as_fits(encoder: PageEncoder, images: "Sequence[Image]") -> list[PageTokens]:
    """Encodes images, in halves where the device's memory is too small for all of them. Raises DeviceFull."""
    try:
        return encoder.encode_many(images)
    except DeviceFull:
        if len(images) == 1:
            raise
    half = len(images) // 2
    return [*encode_as_fits(encoder, images[:half]), *encode_as_fits(encoder, images[half:])]
