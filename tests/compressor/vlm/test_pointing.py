"""Boxes in answers become boxes on pages; those that are not sound become nothing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.types import Box
from compressor.vlm.pointing import Pointed, Pointing, read_pointing

WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def test_deepseek_ocr_points_with_ref_and_det() -> None:
    found = read_pointing("See <|ref|>the title<|/ref|><|det|>[[0, 0, 999, 333], [0, 333, 333, 666]]<|/det|> above.")
    boxes = (Box(0.0, 0.0, 1.0, 333 / 999), Box(0.0, 333 / 999, 333 / 999, 666 / 999))
    assert found == Pointing("See the title above.", (Pointed("the title", boxes, None),))


def test_unlimited_ocr_points_with_a_kind_of_region_and_pages() -> None:
    answer = "<PAGE><|det|>title [0, 0, 999, 999]<|/det|>Report\n<PAGE><|det|>text [0, 0, 999, 999]<|/det|>It rose."
    found = read_pointing(answer)
    assert found.text == "Report\nIt rose."
    assert found.pointed == (Pointed("title", (WHOLE,), 0), Pointed("text", (WHOLE,), 1))


@pytest.mark.parametrize("written", ["(250,0),(500,1000)", "[[250, 0, 500, 1000]]", " ( 250.0 , 0 ) , ( 500 , 1000 ) "])
def test_ref_and_box(written: str) -> None:
    found = read_pointing(f"<ref>a cat</ref><box>{written}</box> sleeps")
    assert found == Pointing("a cat sleeps", (Pointed("a cat", (Box(0.25, 0.0, 0.5, 1.0),), None),))


@pytest.mark.parametrize("fence", ["```json\n{}\n```", "```\n{}\n```", "{}"])
def test_qwen_points_in_json(fence: str) -> None:
    objects = [{"bbox_2d": [0, 0, 500, 1000], "label": "total"}, {"bbox_2d": [500, 0, 1000, 1000], "label": "tax"}]
    found = read_pointing("Here:\n" + fence.format(json.dumps(objects, indent=1)))
    boxes = Box(0.0, 0.0, 0.5, 1.0), Box(0.5, 0.0, 1.0, 1.0)
    assert found.pointed == (Pointed("total", (boxes[0],), None), Pointed("tax", (boxes[1],), None))
    assert found.text == "Here:\ntotal\ntax"


def test_a_list_that_was_cut_off_gives_what_is_whole() -> None:
    found = read_pointing('[{"bbox_2d": [0, 0, 1000, 1000], "label": "total"}, {"bbox_2d": [0, 0, 10')
    assert [pointed.label for pointed in found.pointed] == ["total"]


@pytest.mark.parametrize(
    "corners",
    [
        "[0, 0, 1000, 10]",  # beyond the page
        "[-1, 0, 10, 10]",
        "[10, 0, 10, 10]",  # without area
        "[0, 20, 10, 10]",  # upside down
        "[0, 0, 10]",
        "[0, 0, 10, 10, 10]",
        "[a, b, c, d]",
        "[0, 0, 1e3, 10]",
        "[0, 0, nan, 10]",
        "[]",
        "",
    ],
)
def test_a_box_that_is_not_sound_is_dropped_and_its_label_stays(corners: str) -> None:
    answer = f"<|ref|>this<|/ref|><|det|>[{corners}]<|/det|> and <|ref|>that<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>"
    assert read_pointing(answer) == Pointing("this and that", (Pointed("that", (WHOLE,), None),))


@pytest.mark.parametrize(
    "corners",
    ["[0, 0, 10]", '["0", 0, 10, 10]', "[true, 0, 10, 10]", "[0, 0, NaN, 10]", "[0, 0, 1e999, 1]", "7", "null"],
)
def test_a_box_in_json_that_is_not_sound_is_dropped(corners: str) -> None:
    sound = '{"bbox_2d": [0, 0, 1000, 1000], "label": "b"}'
    found = read_pointing(f'[{{"bbox_2d": {corners}, "label": "a"}}, {sound}]')
    assert found.pointed == (Pointed("b", (WHOLE,), None),)


def test_one_bad_box_among_several_takes_none_of_them_along() -> None:
    found = read_pointing("<|ref|>x<|/ref|><|det|>[[0, 0, 999, 999], [5, 5, 5, 5], [0, 0, 999, 999]]<|/det|>")
    assert found.pointed == (Pointed("x", (WHOLE,), None),)


def test_marks_that_were_cut_off_do_not_show() -> None:
    assert read_pointing("It is <|ref|>here<|/ref|><|det|>[[1, 2").text == "It is here"
    assert read_pointing("It is <|ref|>here").text == "It is here"


@given(st.text(alphabet="ab {}[]<>|`\n0123,.\"'"))
@settings(max_examples=200, deadline=None)
def test_text_without_marks_stays_as_it_is(text: str) -> None:
    assert read_pointing(text) == Pointing(text, ())


PIECES = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<box>", "</box>", "<ref>", "</ref>", "<PAGE>", "```json", "x"]
PIECES += ["[[0, 0, 9, 9]]", "[1,", '{"bbox_2d": ', "[0, 0, 9, 9]", "}", "(1,2),(3,4)", ', "label": "l"']


@given(st.lists(st.sampled_from(PIECES), max_size=30))
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_writes_boxes_lie_on_the_page(pieces: list[str]) -> None:
    found = read_pointing("".join(pieces))
    for pointed in found.pointed:
        assert pointed.boxes
        assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in pointed.boxes)
    assert not any(mark in found.text for mark in ("<|det|>", "<|ref|>", "<box>", "<PAGE>"))


@pytest.mark.parametrize(
    "piece", ["<|det|>", "<|ref|>a", "{", '{"bbox_2d"', "[[", "<box>(", '{"bbox_2d": [1,', "```json"]
)
def test_a_runaway_answer_does_not_hold_up_the_rest(piece: str) -> None:
    """A quarter of a second; with work that grows as the square of the length it would not end in time."""
    read_pointing(piece * 200_000)


@pytest.mark.parametrize(
    "written",
    [
        '{"kind": "bbox_2d"}',  # the name stands where a value does
        '{"bbox_2d": [0, 0, 1' + "0" * 400 + ", 1000]}",  # a number beyond any float
        '{"of": ' + "[" * 990 + '"bbox_2d"' + "]" * 990 + "}",  # deeper than a parser goes
    ],
)
def test_an_object_that_only_looks_like_a_box_is_none(written: str) -> None:
    assert read_pointing(f"See {written} there.").pointed == ()
