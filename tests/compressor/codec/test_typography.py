"""The text grid holds any text, and its image holds the grid."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compressor.codec.typography import (
    CONTINUATION,
    STRIP_CELLS,
    cell_bitmaps,
    draw,
    read_grid,
    set_text,
    strip_pixels,
    unpack_cells,
)

ANY_TEXT = st.text(max_size=300)


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_any_text_reads_back_from_its_grid(text: str) -> None:
    assert read_grid(set_text(text)) == text


@given(ANY_TEXT)
@settings(max_examples=50, deadline=None)
def test_the_image_saved_as_png_holds_the_same_pixels_as_the_glyphs(text: str) -> None:
    grid = set_text(text)
    file = io.BytesIO()
    draw(grid).save(file, "PNG")
    pixels = strip_pixels(Image.open(file))
    assert (pixels[: len(grid.codes)] == unpack_cells(cell_bitmaps(grid.codes))).all()
    assert not pixels[len(grid.codes) :].any()


def test_a_wide_character_takes_two_cells_and_never_straddles_two_strips() -> None:
    grid = set_text("a" * (STRIP_CELLS - 1) + "漢字")
    assert grid.counts.tolist() == [STRIP_CELLS - 1, 2]
    assert grid.codes[1, :4].tolist() == [ord("漢"), CONTINUATION, ord("字"), CONTINUATION]


def test_line_feed_and_tab_are_visible_marks() -> None:
    space, line_feed, tab = cell_bitmaps(set_text(" \n\t").codes)[0, :3]
    assert not space.any()
    assert line_feed.any()
    assert tab.any()
    assert (line_feed != tab).any()


def test_every_script_has_glyphs_of_its_own() -> None:
    for text in ("ΑΩαω", "ЖЯжя", "שלום", "مرحبا", "नमस्ते", "สวัสดี", "漢字", "한국어", "😀🚀", "∑∫√"):
        shapes = {bitmap.tobytes() for bitmap in cell_bitmaps(set_text(text).codes)[0]}
        missing = cell_bitmaps(set_text("\U0002f800").codes)[0, 0].tobytes()
        assert missing not in shapes, text


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match="lone surrogate at character 2: not Unicode text"):
        set_text("ab\ud800")


def test_an_image_off_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"an image of 100x16 is not on the codec's grid \(896 x 16n\)"):
        strip_pixels(Image.new("1", (100, 16)))
