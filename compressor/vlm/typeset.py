"""Owns text as page images by a recipe: where lines break, what they look like, which characters stand under a box.

Lines break by the plain widths of single characters, so that the same text breaks alike on every machine; ligatures,
joined letters and right-to-left order are Raqm's where Pillow has it. Characters that the font lacks are drawn with the
native codec's glyphs, GNU Unifont's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressor.codec.atlas import CELL_HEIGHT, CELL_WIDTH, PLANES, load_atlas
from compressor.types import Box
from compressor.vlm.recipe import Recipe

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

TAB = "    "


@dataclass(frozen=True, slots=True)
class SetLine:
    """A line of a page: characters [start, end) of the text, and shares of the page's height."""

    start: int
    end: int
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class SetPage:
    """A page before it is drawn; cropped to its lines, with the recipe's margins around them."""

    width: int  # pixels
    height: int
    lines: tuple[SetLine, ...]


def set_pages(text: str, recipe: Recipe) -> list[SetPage]:
    """The pages of a text, at least one."""
    face = _face(recipe.font, recipe.pixels(recipe.font_size))
    margin, step = recipe.pixels(recipe.margin), recipe.pixels(recipe.line_height)
    room = recipe.pixels(recipe.page_width) - 2 * margin
    a_page = max(1, (recipe.pixels(recipe.page_height) - 2 * margin) // step)
    lines = list(_break_lines(text, room, face.width)) or [(0, 0)]
    pages = []
    for first in range(0, len(lines), a_page):
        part = lines[first : first + a_page]
        widest = max(sum(face.width(character) for character in text[start:end]) for start, end in part)
        height = 2 * margin + step * len(part)
        places = [
            SetLine(start, end, (margin + step * row) / height, (margin + step * (row + 1)) / height)
            for row, (start, end) in enumerate(part)
        ]
        pages.append(SetPage(2 * margin + min(room, max(1, round(widest))), height, tuple(places)))
    return pages


def draw_page(text: str, page: SetPage, recipe: Recipe) -> "Image":
    """The image of a page of that text, RGB."""
    from PIL import Image, ImageDraw

    face = _face(recipe.font, recipe.pixels(recipe.font_size))
    margin, step = recipe.pixels(recipe.margin), recipe.pixels(recipe.line_height)
    image = Image.new("RGB", (page.width, page.height), recipe.paper)
    canvas = ImageDraw.Draw(image)
    for row, line in enumerate(page.lines):
        x = float(margin)
        shown = "".join(_shown(character) for character in text[line.start : line.end])
        for known, run in groupby(shown, face.has):
            characters = "".join(run)
            if known:
                canvas.text((x, margin + step * row), characters, recipe.ink, face.font)
                x += float(face.font.getlength(characters))
            else:
                for character in characters:
                    glyph = _glyph(ord(character), face.size)
                    image.paste(recipe.ink, (round(x), margin + step * row), glyph)
                    x += glyph.width
    return image


def characters_under(page: SetPage, box: Box) -> tuple[int, int] | None:
    """The characters of the lines whose middle lies within a box on the page; None where there are none."""
    under = [line for line in page.lines if box.y0 <= (line.top + line.bottom) / 2 <= box.y1]
    return (under[0].start, under[-1].end) if under else None


def unknown_characters(text: str, recipe: Recipe) -> int:
    """Characters that neither the font nor Unifont has: they are drawn as a box."""
    face = _face(recipe.font, recipe.pixels(recipe.font_size))
    first = load_atlas().first
    missing = [ord(character) for character in text if _shown(character).strip() and not face.has(character)]
    return sum(code >= PLANES or first[code] == 0 for code in missing)


@dataclass(frozen=True, slots=True)
class _Face:
    """A font at one size in pixels."""

    font: "FreeTypeFont"
    size: int
    known: frozenset[int]
    width: Callable[[str], float]  # of one character, in pixels

    def has(self, character: str) -> bool:
        return ord(character) in self.known


@cache
def _face(name: str, size: int) -> _Face:
    import matplotlib
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    path = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")
    known = frozenset(FT2Font(path).get_charmap())
    plain = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)

    @cache
    def width(character: str) -> float:
        shown = _shown(character)
        if not shown:
            return 0.0
        return float(plain.getlength(shown)) if ord(shown[0]) in known else float(_glyph_width(ord(shown), size))

    return _Face(ImageFont.truetype(path, size), size, known, width)


def _shown(character: str) -> str:
    """What is drawn of a character: of white space its room, of controls nothing."""
    if character == "\t":
        return TAB
    if character.isspace():
        return " " if character != "\n" else ""
    return character if character.isprintable() else ""


def _glyph_width(code: int, size: int) -> int:
    wide = code < PLANES and bool(load_atlas().wide[code])
    return max(1, round(size * CELL_WIDTH * (1 + wide) / CELL_HEIGHT))


@cache
def _glyph(code: int, size: int) -> "Image":
    """A character of Unifont as a mask so many pixels high."""
    from PIL import Image

    atlas = load_atlas()
    first = int(atlas.first[code]) if code < PLANES else 0
    wide = code < PLANES and bool(atlas.wide[code])
    cells = atlas.cells[first : first + 1 + wide]  # (cells, 16)
    bits = np.concatenate([np.unpackbits(cell[:, None], axis=1) for cell in cells], axis=1)
    return Image.fromarray(bits * 255).resize((_glyph_width(code, size), size), Image.Resampling.BOX)


def _break_lines(text: str, room: float, width: Callable[[str], float]) -> Iterator[tuple[int, int]]:
    """Ranges of characters that fit side by side; they end after a line feed, a space, or where nothing else fits."""
    start, used, after_space = 0, 0.0, 0
    for place, character in enumerate(text):
        if character == "\n":
            yield start, place + 1
            start, used, after_space = place + 1, 0.0, 0
            continue
        needed = width(character)
        if used + needed > room and place > start and not character.isspace():
            cut = after_space if after_space > start else place
            yield start, cut
            start, used = cut, sum(width(one) for one in text[cut:place])
        used += needed
        if character.isspace():
            after_space = place + 1
    if start < len(text):
        yield start, len(text)
