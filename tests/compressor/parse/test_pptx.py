"""Slides keep the numbers of their lists, and what an audience does not see is read or named."""

import pptx
import pytest
from pptx.opc.package import Part
from pptx.opc.packuri import PackURI
from pptx.oxml import parse_xml
from pptx.util import Inches

from tests.compressor.parse.office import parsed_as

DRAWING = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'


@pytest.fixture
def deck():
    return pptx.Presentation()


def blank(deck):
    return deck.slides.add_slide(deck.slide_layouts[6])


def parsed(tmp_path, deck):
    return parsed_as("deck.pptx", tmp_path, deck)


def write(frame, lines) -> None:
    """Lines of text, level and scheme of numbers; a scheme may have its first number after a colon."""
    for i, (text, level, scheme) in enumerate(lines):
        paragraph = frame.paragraphs[0] if i == 0 else frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
        if scheme:
            kind, _, start = scheme.partition(":")
            first = f' startAt="{start}"' if start else ""
            paragraph._p.get_or_add_pPr().append(parse_xml(f'<a:buAutoNum {DRAWING} type="{kind}"{first}/>'))


def box(slide):
    return slide.shapes.add_textbox(Inches(1), Inches(1), Inches(5), Inches(2)).text_frame


def test_numbered_lines_have_their_numbers(tmp_path, deck):
    period, paren = "arabicPeriod", "alphaLcParenR"
    lines = [
        *[("Open", 0, period), ("the lid", 1, paren), ("the valve", 1, paren), ("", 0, period), ("Close", 0, period)],
        *[("both", 1, paren), ("Note", 0, ""), ("Again", 0, period), ("Late", 0, "romanUcParenBoth:4")],
    ]
    write(box(blank(deck)), lines)
    (block,) = parsed(tmp_path, deck).blocks
    assert block.text.split("\n") == [
        *("1. Open", "a) the lid", "b) the valve", "2. Close", "a) both", "Note", "1. Again", "(IV) Late"),
    ]


def test_a_shape_can_number_all_its_lines_and_a_line_can_have_none(tmp_path, deck):
    frame = box(blank(deck))
    write(frame, [("One", 0, ""), ("Two", 0, ""), ("plain", 0, "")])
    style = f'<a:lstStyle {DRAWING}><a:lvl1pPr><a:buAutoNum type="circleNumDbPlain"/></a:lvl1pPr></a:lstStyle>'
    for old in frame._txBody.findall(f"{{{DRAWING.split(chr(34))[1]}}}lstStyle"):
        frame._txBody.remove(old)
    frame._txBody.insert(1, parse_xml(style))
    frame.paragraphs[2]._p.get_or_add_pPr().append(parse_xml(f"<a:buNone {DRAWING}/>"))
    assert [block.text for block in parsed(tmp_path, deck).blocks] == ["① One\n② Two\nplain"]


def test_notes_and_cells_have_their_numbers_too(tmp_path, deck):
    slide = blank(deck)
    cell = slide.shapes.add_table(1, 1, 0, 0, Inches(2), Inches(1)).table.cell(0, 0)
    write(cell.text_frame, [("a", 0, "arabicPlain"), ("b", 0, "arabicPlain")])
    write(slide.notes_slide.notes_text_frame, [("greet", 0, "arabicPeriod"), ("smile", 0, "arabicPeriod")])
    assert [block.text for block in parsed(tmp_path, deck).blocks] == ["1 a 2 b", "Notes: 1. greet\n2. smile"]


def test_hidden_slides_are_read_and_named(tmp_path, deck):
    for text in ("shown", "kept back"):
        slide = blank(deck)
        write(box(slide), [(text, 0, "")])
    slide._element.set("show", "0")
    result = parsed(tmp_path, deck)
    assert [(block.page, block.text) for block in result.blocks] == [(1, "shown"), (2, "kept back")]
    assert result.warnings == ("deck.pptx has hidden slides, which were read too: 2.",)


def test_comments_are_left_out_with_a_warning(tmp_path, deck):
    slide = blank(deck)
    write(box(slide), [("shown", 0, "")])
    comments = Part(PackURI("/ppt/comments/comment1.xml"), "application/xml", slide.part.package, b"<cmLst/>")
    slide.part.relate_to(comments, "http://schemas.openxmlformats.org/officeDocument/2006/relationships/comments")
    result = parsed(tmp_path, deck)
    assert [block.text for block in result.blocks] == ["shown"]
    assert result.warnings == ("deck.pptx has comments, which were left out.",)
