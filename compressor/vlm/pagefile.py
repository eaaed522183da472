"""Owns the page file: many page caches in one sealed file, read page by page.

Layout, version 1. Parts of an entry, all uint8: `ids` (positions, 4) little-endian int32, `features` (tokens, bytes
of a row), `scales` (tokens, 4) little-endian float32 or (0, 4), `deepstack` and `deepstack_scales` the same for all
levels one after another. The facts hold codec, format, image token, grid and the number of deepstack levels.
A later version must still read this one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.ranges import ByteRanges, ReadFile, owned
from compressor.sealed import Kind, Parts, SealedFile, seal
from compressor.vlm.page import PageCache
from compressor.vlm.rows import SCALE_BYTES, RowFormat, Rows, check_format, is_scaled, row_bytes

VERSION = "1"
PARTS = ("ids", "features", "scales", "deepstack", "deepstack_scales")


class Facts(TypedDict):
    """What the header says of a page."""

    codec: str
    format: str
    image_token: int
    grid: list[int] | None
    levels: int  # of deepstack
    sha256: str


def _kind() -> Kind:
    return Kind(
        name="page file",
        version_key="percel_pages",
        version=VERSION,
        parts=PARTS,
        remedy="encode its pages anew from their document",
    )


def write_pages(pages: Mapping[str, PageCache]) -> bytes:
    """The bytes of a page file that holds these pages by entry name; equal pages give equal bytes."""
    return seal(_kind(), {entry: (_facts(page), _parts(page)) for entry, page in pages.items()})


def _facts(page: PageCache) -> dict[str, object]:
    return {
        "codec": page.codec,
        "format": page.features.format,
        "image_token": page.image_token,
        "grid": None if page.grid is None else list(page.grid),
        "levels": len(page.deepstack),
    }


def _parts(page: PageCache) -> Parts:
    row = page.features.values.shape[1]
    return {
        "ids": _bytes(page.ids.to(torch.int32)).reshape(-1, 4),
        "features": page.features.values.numpy(),
        "scales": _bytes(page.features.scales).reshape(-1, SCALE_BYTES),
        "deepstack": _stack([rows.values.numpy() for rows in page.deepstack], row),
        "deepstack_scales": _stack([_bytes(rows.scales).reshape(-1, SCALE_BYTES) for rows in page.deepstack], 4),
    }


class PageFile(SealedFile[PageCache]):
    """A page file, local where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks the header and what it says of pages, loading a page checks that page. Raises CacheDamaged with the
    file's name.
    """

    _local = ReadFile
    _at_once = True

    def __init__(self, source: Path | ByteRanges) -> None:
        super().__init__(source, _kind())
        header = self._header()
        with self._opening():
            for entry in header:
                _check(entry, header.facts[entry], {part: header.places[f"{entry}.{part}"].shape for part in PARTS})

    def facts(self, entry: str) -> Facts:
        """What the header says of a page. Touches only the header."""
        return cast("Facts", self._header().facts[entry])

    def positions(self, entry: str) -> int:
        """Tokens of a decoder's context that a page occupies. Touches only the header."""
        return self._header().places[f"{entry}.ids"].shape[0]

    def stored_bytes(self, entry: str) -> int:
        """What a page takes, in the file and in memory. Touches only the header."""
        start, end = self._contents.stretch(entry)
        return end - start

    def _entry(self, entry: str, parts: Parts) -> PageCache:
        facts = self.facts(entry)
        format = cast("RowFormat", facts["format"])
        grid = facts["grid"]
        levels = facts["levels"]
        ids = _numbers(parts["ids"], "<i4")
        placed = int((ids == facts["image_token"]).sum())
        if placed != len(parts["features"]):
            raise self._damaged(f"{entry} has places for {placed} of its {len(parts['features'])} features")
        return PageCache(
            codec=facts["codec"],
            features=_rows(format, parts["features"], parts["scales"]),
            deepstack=tuple(
                _rows(format, values, scales)
                for values, scales in zip(
                    _split(parts["deepstack"], levels), _split(parts["deepstack_scales"], levels), strict=True
                )
            ),
            grid=None if grid is None else (grid[0], grid[1]),
            ids=ids,
            image_token=facts["image_token"],
        )


def _check(entry: str, facts: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError for a page without its facts, or with parts of other shapes than these stand for."""
    format = check_format(facts.get("format"))
    levels, grid = facts.get("levels"), facts.get("grid")
    if (
        not isinstance(facts.get("codec"), str)
        or type(facts.get("image_token")) is not int
        or not 0 <= facts["image_token"] < 1 << 31  # what its ids can be
        or type(levels) is not int
        or not (grid is None or (isinstance(grid, list) and [type(side) for side in grid] == [int, int]))
    ):
        raise ValueError(f"codec, image token, grid or levels of {entry} are not told")
    rows, row = shapes["features"] if len(shapes["features"]) == 2 else (0, 0)
    scaled = rows if is_scaled(format) else 0
    wanted = {
        "ids": (*shapes["ids"][:1], 4),
        "features": (rows, row),
        "scales": (scaled, SCALE_BYTES),
        "deepstack": (levels * rows, row),
        "deepstack_scales": (levels * scaled, SCALE_BYTES),
    }
    cut_off = row % max(1, row_bytes(format, 1))  # within a number; a byte holds two of int4
    if wanted != shapes or cut_off or (levels and not rows):  # of no rows there might be any number of levels
        raise ValueError(f"the parts of {entry} do not fit together")
    if grid is not None and (min(grid) < 0 or grid[0] * grid[1] != rows):
        raise ValueError(f"the grid of {entry} does not cover its {rows} features")


def _bytes(tensor: Tensor) -> NDArray[np.uint8]:
    """A vector of int32 or float32 as little-endian bytes."""
    array = tensor.numpy()
    return np.frombuffer(array.astype(array.dtype.newbyteorder("<")).tobytes(), np.uint8)


def _stack(parts: Sequence[NDArray[np.uint8]], width: int) -> NDArray[np.uint8]:
    return np.concatenate(parts) if parts else np.zeros((0, width), np.uint8)


def _split(stacked: NDArray[np.uint8], levels: int) -> list[NDArray[np.uint8]]:
    return np.split(stacked, levels) if levels else []


def _rows(format: RowFormat, values: NDArray[np.uint8], scales: NDArray[np.uint8]) -> Rows:
    return Rows(format, torch.from_numpy(owned(values)), _numbers(scales, "<f4"))


def _numbers(stored: NDArray[np.uint8], dtype: str) -> Tensor:
    numbers = np.frombuffer(stored.tobytes(), dtype)
    return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("=")))
