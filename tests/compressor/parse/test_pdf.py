"""PDF pages become blocks in reading order, with boxes on the page as viewers show it."""

import shutil

import pymupdf
import pytest

from compressor.limits import Limits
from compressor.parse import parse
from compressor.parse.layout import joined
from compressor.parse.styled import Styled
from compressor.types import BlockKind

WORDS = "The quick brown duck crosses the wide lake while the other ducks look on"


def parsed(tmp_path, document: pymupdf.Document):
    path = tmp_path / "blob"
    document.save(path)
    return parse(path, name="paper.pdf", limits=Limits())


def column(page, x: float, y: float, lines: list[str], size: float = 8) -> None:
    for i, line in enumerate(lines):
        page.insert_text((x, y + 11 * i), line, fontsize=size)


def test_two_columns_are_read_one_after_the_other_below_a_title_that_spans_them(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    page.insert_text((72, 60), "On the behaviour of ducks in cold water and other places", fontsize=16)
    column(page, 50, 100, [f"left {i} {WORDS[:46]}" for i in range(20)])
    column(page, 310, 100, [f"right {i} {WORDS[:46]}" for i in range(20)])
    result = parsed(tmp_path, document)
    assert [block.text.split()[0] for block in result.blocks] == ["On", "left", "right"]
    assert result.blocks[0].kind is BlockKind.HEADING
    assert result.blocks[1].box.x1 < 0.5 < result.blocks[2].box.x0


def test_wrapped_lines_become_one_paragraph_and_a_gap_begins_another(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    column(page, 72, 100, [WORDS, "and they go on.", "", "", "Next paragraph."])
    assert [block.text for block in parsed(tmp_path, document).blocks] == [
        f"{WORDS} and they go on.",
        "Next paragraph.",
    ]


def test_hyphens_at_line_ends_go_only_where_the_documents_words_allow_it():
    def text(lines: list[str], words: frozenset[str]) -> str:
        return joined([Styled.of(line) for line in lines], words).text

    assert text(["the conver-", "sion of"], frozenset({"conversion"})) == "the conversion of"
    assert text(["a long-", "term plan"], frozenset({"long", "term"})) == "a long-term plan"
    assert text(["COVID-", "19 and", "id A-", "B"], frozenset()) == "COVID-19 and id A-B"


def test_a_ruled_table_becomes_rows_with_exact_numbers(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    rows = [["Id", "Item", "EUR"], ["4711", "Duck", "0.965"], ["4712", "Goose", "12.50"]]
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            page.draw_rect((72 + 100 * c, 100 + 20 * r, 172 + 100 * c, 120 + 20 * r))
            page.insert_text((76 + 100 * c, 114 + 20 * r), cell, fontsize=9)
    page.insert_text((72, 300), WORDS, fontsize=9)
    table, text = parsed(tmp_path, document).blocks
    assert (table.kind, table.text) == (BlockKind.TABLE, "Id | Item | EUR\n4711 | Duck | 0.965\n4712 | Goose | 12.50")
    assert text.text == WORDS


def test_a_table_without_rules_becomes_rows(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    for r, row in enumerate([["Year", "Ducks"], ["2023", "160"], ["2024", "180"]]):
        for c, cell in enumerate(row):
            page.insert_text((72 + 120 * c, 100 + 12 * r), cell, fontsize=9)
    (table,) = parsed(tmp_path, document).blocks
    assert (table.kind, table.text) == (BlockKind.TABLE, "Year | Ducks\n2023 | 160\n2024 | 180")


def test_headings_take_their_level_from_the_outline(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    page.insert_text((72, 72), "Payment terms", fontsize=9)
    column(page, 72, 120, [WORDS, WORDS])
    document.set_toc([[1, "Contract", 1], [2, "Payment terms", 1]])
    first = parsed(tmp_path, document).blocks[0]
    assert (first.kind, first.level, first.text) == (BlockKind.HEADING, 2, "Payment terms")


def test_running_headers_are_kept_once(tmp_path):
    document = pymupdf.open()
    for number in range(1, 6):
        page = document.new_page()
        page.insert_text((72, 30), f"Annual report, page {number}", fontsize=8)
        column(page, 72, 120, [f"Body of page {number}. {WORDS}"])
    texts = [block.text for block in parsed(tmp_path, document).blocks]
    assert [text for text in texts if text.startswith("Annual")] == ["Annual report, page 1"]
    assert len(texts) == 6


def test_lines_in_the_margin_that_differ_by_more_than_the_page_number_are_all_kept(tmp_path):
    document = pymupdf.open()
    for total in (110, 370, 85, 2400):
        document.new_page().insert_text((72, 60), f"Invoice {1000 + total} over {total} EUR")
    texts = [block.text for block in parsed(tmp_path, document).blocks]
    assert texts == [f"Invoice {1000 + total} over {total} EUR" for total in (110, 370, 85, 2400)]


def test_page_numbers_that_begin_anew_are_kept_where_they_begin(tmp_path):
    document = pymupdf.open()
    for chapter, number in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]:
        document.new_page().insert_text((72, 30), f"Manual {chapter}-{number} of 40")
    assert [block.text for block in parsed(tmp_path, document).blocks] == ["Manual 1-1 of 40", "Manual 2-1 of 40"]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_boxes_are_where_viewers_show_the_text_on_rotated_pages(tmp_path, rotation):
    document = pymupdf.open()
    page = document.new_page(width=600, height=800)
    page.insert_text((60, 100), "corner one two", fontsize=12)  # near the top left of the unrotated page
    page.insert_text((60, 120), "second line here", fontsize=12)
    page.set_rotation(rotation)
    (block,) = parsed(tmp_path, document).blocks
    assert block.text == "corner one two second line here"
    x, y = (block.box.x0 + block.box.x1) / 2, (block.box.y0 + block.box.y1) / 2
    assert (x < 0.5, y < 0.5) == {0: (True, True), 90: (False, True), 180: (False, False), 270: (True, False)}[rotation]


def scan(turn: int = 0) -> pymupdf.Document:
    original = pymupdf.open()
    page = original.new_page(width=500, height=500)
    lines = [
        "Duck number 4711 swims across the lake.",
        "It is a cold morning in the month of May.",
        "Nobody else is here.",
    ]
    for i, line in enumerate(lines * 3):
        page.insert_text((50, 80 + 40 * i), line, fontsize=18)
    page.set_rotation(turn)
    picture = page.get_pixmap(dpi=100, colorspace=pymupdf.csGRAY)
    document = pymupdf.open()
    document.new_page(width=500, height=500).insert_image((0, 0, 500, 500), pixmap=picture)
    return document


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="Tesseract is not installed")
@pytest.mark.parametrize("turn", [0, 90])
def test_a_scan_is_read_by_tesseract_whichever_way_up_it_lies(tmp_path, turn):
    result = parsed(tmp_path, scan(turn))
    assert "Duck number 4711 swims across the lake." in result.blocks[0].text
    assert result.warnings == ()


def test_a_scan_is_named_where_no_ocr_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    document = scan()
    document.new_page().insert_text((72, 72), "A page with text.")
    result = parsed(tmp_path, document)
    assert [block.page for block in result.blocks] == [2]
    assert result.warnings == (
        "page 1 of paper.pdf has no text layer and was not read: no OCR is installed (install tesseract-ocr).",
    )


def test_a_blank_page_is_no_reason_for_a_warning(tmp_path):
    document = pymupdf.open()
    document.new_page()
    document.new_page().insert_text((72, 72), "words")
    assert parsed(tmp_path, document).warnings == ()
