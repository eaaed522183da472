"""Text becomes page images by a checked recipe, and a box on a page leads back to its characters."""

from dataclasses import replace

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.types import Box
from compressor.vlm.recipe import Recipe
from compressor.vlm.typeset import characters_under, draw_page, set_pages, unknown_characters

PROSE = "The gauge at Marlow Weir was read at 06:00 on 3 May 2024, and it stood at 2.417 m. " * 30


def ink(text: str, recipe: Recipe | None = None) -> float:
    """The share of dark pixels of the first page."""
    recipe = recipe or Recipe()
    page = set_pages(text, recipe)[0]
    return float((np.asarray(draw_page(text, page, recipe).convert("L")) < 128).mean())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dpi": 20}, "a page's dpi must be 45 to 300, not 20"),
        ({"font_size": 20.0}, "a page's font_size must be 7 to 14, not 20"),
        ({"line_height": 20.0}, "a page's line_height must be 9 to 12, not 20"),
        ({"margin": -1}, "a page's margin must be 0 to 72, not -1"),
        ({"font": "Papyrus"}, "a page's font must be one of DejaVuSans, DejaVuSansMono, DejaVuSerif, not 'Papyrus'"),
        ({"ink": "black"}, "a page's ink must be a colour as #rrggbb, not 'black'"),
        ({"ink": "#ffffff"}, "a page's ink and paper must differ; both are #ffffff"),
    ],
)
def test_a_recipe_outside_the_ranges_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(Recipe(), **changed)


def test_every_field_of_a_recipe_is_in_its_hash() -> None:
    changes = {"dpi": 72, "page_width": 600, "page_height": 800, "margin": 20, "font": "DejaVuSerif"}
    changes |= {"font_size": 10.0, "line_height": 12.0, "ink": "#111111", "paper": "#eeeeee"}
    digests = {replace(Recipe(), **{name: value}).digest for name, value in changes.items()}
    assert len(digests | {Recipe().digest}) == len(changes) + 1


@pytest.mark.parametrize("text", [PROSE, "a\n\n\nb", "x" * 5000, "短い" * 900, " " * 50, "\n" * 300])
def test_the_lines_of_all_pages_hold_every_character_once(text: str) -> None:
    pages = set_pages(text, Recipe())
    ranges = [(line.start, line.end) for page in pages for line in page.lines]
    assert "".join(text[start:end] for start, end in ranges) == text
    limit = Recipe().pixels(595), Recipe().pixels(842)
    assert all(page.width <= limit[0] and page.height <= limit[1] for page in pages)


def test_words_are_kept_whole() -> None:
    (page,) = set_pages(PROSE, Recipe())
    assert len(page.lines) > 5
    assert all(PROSE[line.end - 1] == " " for line in page.lines)


@pytest.mark.parametrize("text", ["The gauge stood.", "水位计", "المنسوب", "🌊", "\U00020000"])
def test_every_script_leaves_ink(text: str) -> None:
    assert ink(text) > 0.01


def test_a_text_that_takes_several_pages_fills_them_in_order() -> None:
    text = "\n".join(f"line {number}" for number in range(200))
    pages = set_pages(text, Recipe())
    assert len(pages) > 2
    assert text[pages[1].lines[0].start :].startswith("line ")
    assert pages[-1].height < pages[0].height  # cropped


def test_what_nothing_can_draw_is_counted() -> None:
    assert unknown_characters("plain, 水, \t\n", Recipe()) == 0
    assert unknown_characters("\U00020000\U00020001", Recipe()) == 2


def test_a_box_leads_back_to_the_lines_under_it() -> None:
    text = "first line\nsecond line\nthird line"
    (page,) = set_pages(text, Recipe())
    second = page.lines[1]
    found = characters_under(page, Box(0.0, second.top, 1.0, second.bottom))
    assert found is not None
    assert text[slice(*found)] == "second line\n"
    assert characters_under(page, Box(0.0, 0.0, 1.0, 0.001)) is None


def test_the_same_text_gives_the_same_pixels() -> None:
    pages = [draw_page(PROSE, set_pages(PROSE, Recipe())[0], Recipe()) for _ in range(2)]
    assert pages[0].tobytes() == pages[1].tobytes()
