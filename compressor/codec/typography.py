"""Owns the text grid: which character stands in which cell, and the image that shows it.

A strip is 56 cells of 8x16 pixels and becomes one token of `native-10`; an image row holds two strips.
Every character takes its own cell (wide ones two), in logical order, so a strip is a known range of characters.
Styles are drawn on the glyph: bold is inked twice, italic leans, code has a dotted edge, a link is underlined, a
heading has a bar above it, the shorter the deeper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compressor.codec.atlas import CELL_HEIGHT, CELL_WIDTH, PLANES, load_atlas
from compressor.styles import Style

STRIP_CELLS = 56
ROW_STRIPS = 2
CELL_PIXELS = CELL_WIDTH * CELL_HEIGHT
BLANK = 0x20
STYLE_SHIFT = 21  # code points, and CONTINUATION, take 21 bits
LEFT_EDGE = 0x80  # pixels of a row, the leftmost is the high bit
HEADING_BARS = np.array([0x00, 0xFF, 0xF0, 0xC0], np.uint8)  # by level
CONTINUATION = 0x110000  # the second cell of a wide character; one past the last code point
SURROGATES = range(0xD800, 0xE000)  # code points that are no characters


@dataclass(frozen=True, slots=True)
class TextGrid:
    """Text set in strips; the blank cells that end a strip belong to no character."""

    codes: NDArray[np.int32]  # (strips, 56) code point of each cell
    counts: NDArray[np.uint8]  # (strips,) characters in each strip
    styles: NDArray[np.uint8]  # (strips, 56) style bits of each cell

    @property
    def cells(self) -> NDArray[np.int32]:
        """What is read back and compared, (strips, 56): a cell's code point, its style bits above."""
        return self.codes | self.styles.astype(np.int32) << STYLE_SHIFT if self.styles.any() else self.codes


def set_text(text: str, styles: NDArray[np.uint8] | None = None) -> TextGrid:
    """Sets text in cells, plain or with style bits a character, (characters,); a wide character never straddles strips.

    Raises ValueError on a lone surrogate.
    """
    try:
        points = points_of(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"lone surrogate at character {error.start}: not Unicode text") from error
    if styles is None:
        styles = np.zeros(len(points), np.uint8)
    assert len(styles) == len(points)
    if points.max(initial=0) < PLANES:
        wide = load_atlas().wide.take(points)
        if not wide.any():
            return _set_narrow(points, styles)
    else:
        wide = load_atlas().wide[np.minimum(points, PLANES - 1)] & (points < PLANES)
    ends = np.cumsum(1 + wide, dtype=np.int64)  # (characters,) cells used up to and with each one
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
    styled = np.zeros(codes.shape, np.uint8)
    styled[strip, column] = styles
    styled[strip[wide], column[wide] + 1] = styles[wide]
    return TextGrid(codes, counts.astype(np.uint8), styled)


def points_of(text: str) -> NDArray[np.int32]:
    """The code points of a text, (characters,). Raises UnicodeEncodeError on a lone surrogate."""
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def _set_narrow(points: NDArray[np.int32], styles: NDArray[np.uint8]) -> TextGrid:
    strips = -(-len(points) // STRIP_CELLS)
    codes = np.full(strips * STRIP_CELLS, BLANK, np.int32)
    codes[: len(points)] = points
    counts = np.full(strips, STRIP_CELLS, np.uint8)
    if len(points) % STRIP_CELLS:
        counts[-1] = len(points) % STRIP_CELLS
    styled = np.zeros(strips * STRIP_CELLS, np.uint8)
    styled[: len(points)] = styles
    return TextGrid(codes.reshape(strips, STRIP_CELLS), counts, styled.reshape(strips, STRIP_CELLS))


def stack(grids: Sequence[TextGrid], multiple: int) -> TextGrid:
    """The strips of grids one behind the other, each grid filled up with blank ones to a multiple."""
    strips = [-(-len(grid.codes) // multiple) * multiple for grid in grids]
    codes = np.full((sum(strips), STRIP_CELLS), BLANK, np.int32)
    styles = np.zeros(codes.shape, np.uint8)
    counts = np.zeros(len(codes), np.uint8)
    start = 0
    for grid, taken in zip(grids, strips, strict=True):
        own = slice(start, start + len(grid.codes))
        codes[own], counts[own], styles[own] = grid.codes, grid.counts, grid.styles
        start += taken
    return TextGrid(codes, counts, styles)


def characters_of(grid: TextGrid) -> NDArray[np.bool_]:
    """Cells that hold a character, (strips, 56): neither a continuation nor the blanks that end a strip."""
    characters: NDArray[np.bool_] = grid.codes != CONTINUATION
    wide = ~characters.all(1)  # strips in which a character is not where its number says
    inside = np.arange(STRIP_CELLS) < grid.counts[:, None]
    inside[wide] = characters[wide] & (np.cumsum(characters[wide], axis=1) <= grid.counts[wide, None])
    return inside


def read_grid(grid: TextGrid) -> str:
    """The text of a grid, strip after strip."""
    text: str = grid.codes[characters_of(grid)].astype("<u4").tobytes().decode("utf-32-le")
    return text


def grid_of(cells: NDArray[np.int32], counts: NDArray[np.uint8]) -> TextGrid:
    """The inverse of `TextGrid.cells`."""
    return TextGrid(cells & (1 << STYLE_SHIFT) - 1, counts, (cells >> STYLE_SHIFT).astype(np.uint8))


def read_styles(grid: TextGrid) -> NDArray[np.uint8]:
    """The style bits of a grid's characters, (characters,)."""
    return grid.styles[characters_of(grid)]


def cell_bitmaps(codes: NDArray[np.int32], styles: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Bitmaps of cells in reading order: (..., cells) int32 -> (..., cells, 16) uint8, a byte a pixel row."""
    atlas = load_atlas()
    continued = codes == CONTINUATION
    left = np.roll(codes, 1, axis=-1)
    known = np.where(continued, left, codes)
    index = atlas.first[np.where(known < PLANES, known, 0)] + continued
    index[known >= PLANES] = 0
    bitmaps: NDArray[np.uint8] = atlas.cells[index]
    if styles is not None and styles.any():
        styled = np.nonzero(styles)
        bitmaps[styled] = _draw_styles(bitmaps[styled], styles[styled])
    return bitmaps


def _draw_styles(bitmaps: NDArray[np.uint8], styles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Styles on glyphs: (cells, 16), (cells,) -> (cells, 16)."""
    bold, italic, code, link = (
        (styles & bit).astype(np.bool_)[:, None] for bit in (Style.BOLD, Style.ITALIC, Style.CODE, Style.LINK)
    )
    drawn = bitmaps | np.where(bold, bitmaps >> 1, 0).astype(np.uint8)
    upper = np.arange(CELL_HEIGHT) < CELL_HEIGHT // 2
    drawn = np.where(italic & upper, drawn >> 1, drawn)
    drawn |= np.where(code & (np.arange(CELL_HEIGHT) % 2 == 0), LEFT_EDGE, 0).astype(np.uint8)
    drawn[:, -1] |= np.where(link[:, 0], 0xFF, 0).astype(np.uint8)
    drawn[:, 0] |= HEADING_BARS[styles >> 4 & 3]
    return drawn


def draw(grid: TextGrid) -> Image.Image:
    """Draws a grid black on white, 112 cells a row: a 1-bit image 896 pixels wide, 16 a row high."""
    rows = max(1, -(-len(grid.codes) // ROW_STRIPS))
    codes = np.full((rows * ROW_STRIPS, STRIP_CELLS), BLANK, np.int32)
    codes[: len(grid.codes)] = grid.codes
    styles = np.zeros(codes.shape, np.uint8)
    styles[: len(grid.styles)] = grid.styles
    bits = cell_bitmaps(codes, styles).reshape(rows, ROW_STRIPS * STRIP_CELLS, CELL_HEIGHT)
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
