"""Owns the text grid: which character stands in which cell, and the image that shows it.

A strip is 56 cells of 8x16 pixels and becomes one token of `native-10`; an image row holds two strips.
Every character takes its own cell (wide ones two), in logical order, so a strip is a known range of characters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.codec.atlas import CELL_HEIGHT, CELL_WIDTH, PLANES, Atlas, load_atlas

STRIP_CELLS = 56
ROW_STRIPS = 2
CELL_PIXELS = CELL_WIDTH * CELL_HEIGHT
BLANK = 0x20
CONTINUATION = 0x110000  # the second cell of a wide character; one past the last code point


@dataclass(frozen=True, slots=True)
class TextGrid:
    """Text set in strips; the blank cells that end a strip belong to no character."""

    codes: NDArray[np.int32]  # (strips, 56) code point of each cell
    counts: NDArray[np.uint8]  # (strips,) characters in each strip


def set_text(text: str) -> TextGrid:
    """Sets text in cells; a wide character never straddles two strips. Raises ValueError on a lone surrogate."""
    try:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.int32)
    except UnicodeEncodeError as error:
        raise ValueError(f"lone surrogate at character {error.start}: not Unicode text") from error
    wide = load_atlas().wide[np.minimum(points, PLANES - 1)] & (points < PLANES)
    ends = np.cumsum(1 + wide, dtype=np.int64)  # (characters,) cells used up to and with each one
    if not wide.any():
        return _set_narrow(points)
    bounds = [0]
    while bounds[-1] < len(points):
        used = ends[bounds[-1] - 1] if bounds[-1] else 0
        bounds.append(int(np.searchsorted(ends, used + STRIP_CELLS, side="right")))
    starts = np.array(bounds[:-1])
    counts = np.diff(bounds)
    strip = np.repeat(np.arange(len(counts)), counts)
    column = ends - 1 - wide - np.where(starts > 0, ends[starts - 1], 0)[strip]
    codes = np.full((len(counts), STRIP_CELLS), BLANK, np.int32)
    codes[strip, column] = points
    codes[strip[wide], column[wide] + 1] = CONTINUATION
    return TextGrid(codes, counts.astype(np.uint8))


def _set_narrow(points: NDArray[np.int32]) -> TextGrid:
    strips = -(-len(points) // STRIP_CELLS)
    codes = np.full(strips * STRIP_CELLS, BLANK, np.int32)
    codes[: len(points)] = points
    counts = np.full(strips, STRIP_CELLS, np.uint8)
    if len(points) % STRIP_CELLS:
        counts[-1] = len(points) % STRIP_CELLS
    return TextGrid(codes.reshape(strips, STRIP_CELLS), counts)


def read_grid(grid: TextGrid) -> str:
    """The text of a grid, strip after strip."""
    characters = grid.codes != CONTINUATION
    kept = characters & (np.cumsum(characters, axis=1) <= grid.counts[:, None])
    text: str = grid.codes[kept].astype("<u4").tobytes().decode("utf-32-le")
    return text


def cell_bitmaps(codes: NDArray[np.int32], atlas: Atlas | None = None) -> NDArray[np.uint8]:
    """Bitmaps of cells in reading order: (..., cells) int32 -> (..., cells, 16) uint8, a byte a pixel row."""
    atlas = atlas or load_atlas()
    continued = codes == CONTINUATION
    left = np.roll(codes, 1, axis=-1)
    known = np.where(continued, left, codes)
    index = atlas.first[np.where(known < PLANES, known, 0)] + continued
    index[known >= PLANES] = 0
    bitmaps: NDArray[np.uint8] = atlas.cells[index]
    return bitmaps


def draw(grid: TextGrid) -> Image.Image:
    """Draws a grid black on white, 112 cells a row: a 1-bit image 896 pixels wide, 16 a row high."""
    rows = max(1, -(-len(grid.codes) // ROW_STRIPS))
    codes = np.full((rows * ROW_STRIPS, STRIP_CELLS), BLANK, np.int32)
    codes[: len(grid.codes)] = grid.codes
    bits = cell_bitmaps(codes).reshape(rows, ROW_STRIPS * STRIP_CELLS, CELL_HEIGHT)
    packed = np.ascontiguousarray((~bits).transpose(0, 2, 1))  # (rows, 16, 112), white is 1
    return Image.frombytes("1", (ROW_STRIPS * STRIP_CELLS * CELL_WIDTH, rows * CELL_HEIGHT), packed.tobytes())


def strip_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Cuts an image into strips: -> (strips, 56, 128) uint8 of 0 and 1, ink is 1.

    Raises ValueError for an image that is not on the grid (896 pixels wide, 16 high a row).
    """
    width = ROW_STRIPS * STRIP_CELLS * CELL_WIDTH
    if image.width != width or image.height % CELL_HEIGHT:
        raise ValueError(f"an image of {image.width}x{image.height} is not on the codec's grid ({width} x 16n)")
    ink = ~np.frombuffer(image.convert("1", dither=Image.Dither.NONE).tobytes(), np.uint8)
    rows = image.height // CELL_HEIGHT
    cells = ink.reshape(rows, CELL_HEIGHT, ROW_STRIPS * STRIP_CELLS).transpose(0, 2, 1)
    return unpack_cells(cells.reshape(rows * ROW_STRIPS, STRIP_CELLS, CELL_HEIGHT))


def unpack_cells(bitmaps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(strips, cells, 16) uint8 bitmaps -> (strips, cells, 128) uint8 of 0 and 1."""
    return np.unpackbits(np.ascontiguousarray(bitmaps), axis=-1)
