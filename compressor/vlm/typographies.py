"""Owns the typographies that a search may try, as steps along axes: which there are, and which lie next to one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import TypeVar

from compressor.vlm.recipe import FONTS, Recipe

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Space:
    """The values of each axis; those of the first four are in order, and neighbours are one step up or down."""

    dpi: tuple[int, ...] = (45, 51, 57, 64, 72, 80, 88, 96, 108, 120, 144, 168, 192, 240, 300)
    font_size: tuple[float, ...] = tuple(halves / 2 for halves in range(14, 29))  # 7, 7.5 ... 14 points
    leading: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)  # points from line to line beyond the font's size
    margin: tuple[int, ...] = (0, 5, 10, 20, 36, 72)
    page: tuple[tuple[int, int], ...] = ((595, 842), (842, 595), (595, 595))  # A4 upright and across, a square
    font: tuple[str, ...] = FONTS
    colours: tuple[tuple[str, str], ...] = (("#000000", "#ffffff"), ("#ffffff", "#000000"), ("#202020", "#f8f4e8"))

    def sample(self, rng: Random) -> Recipe:
        """Any typography, each with the same chance."""
        draw = rng.choice
        size, leading = draw(self.font_size), draw(self.leading)
        page, font, colours = draw(self.page), draw(self.font), draw(self.colours)
        return _recipe(draw(self.dpi), size, leading, draw(self.margin), page, font, colours)

    def every(self) -> Iterator[Recipe]:
        """All of them, none twice."""
        axes = self.dpi, self.font_size, self.leading, self.margin, self.page, self.font, self.colours
        return (_recipe(*values) for values in product(*axes))

    def neighbours(self, recipe: Recipe) -> list[Recipe]:
        """What differs along one axis: by one step where the axis has an order, by any value elsewhere."""
        size = recipe.font_size
        leading = recipe.line_height - size
        page, colours = (recipe.page_width, recipe.page_height), (recipe.ink, recipe.paper)
        return [
            *(replace(recipe, dpi=dpi) for dpi in _beside(recipe.dpi, self.dpi)),
            *(replace(recipe, font_size=other, line_height=other + leading) for other in _beside(size, self.font_size)),
            *(replace(recipe, line_height=size + other) for other in _beside(leading, self.leading)),
            *(replace(recipe, margin=margin) for margin in _beside(recipe.margin, self.margin)),
            *(replace(recipe, page_width=w, page_height=h) for w, h in _others(page, self.page)),
            *(replace(recipe, font=font) for font in _others(recipe.font, self.font)),
            *(replace(recipe, ink=ink, paper=paper) for ink, paper in _others(colours, self.colours)),
        ]


def _recipe(
    dpi: int,
    font_size: float,
    leading: float,
    margin: int,
    page: tuple[int, int],
    font: str,
    colours: tuple[str, str],
) -> Recipe:
    return Recipe(
        dpi=dpi,
        page_width=page[0],
        page_height=page[1],
        margin=margin,
        font=font,
        font_size=font_size,
        line_height=font_size + leading,
        ink=colours[0],
        paper=colours[1],
    )


def _beside(value: Value, values: tuple[Value, ...]) -> list[Value]:
    """The values one step below and above; all others for a value that is on no step."""
    if value not in values:
        return list(values)
    place = values.index(value)
    return [values[step] for step in (place - 1, place + 1) if 0 <= step < len(values)]


def _others(value: Value, values: tuple[Value, ...]) -> list[Value]:
    return [other for other in values if other != value]
