"""Each format's text arrives verbatim, in order, as the right kind of block, and knows where it stands."""

import io
import json
import zipfile

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from compressor.errors import DamagedDocument, EncryptedDocument
from compressor.limits import Limits
from compressor.parse import parse
from compressor.types import BlockKind, Box


def parsed(tmp_path, data: bytes | str, name: str):
    path = tmp_path / "blob"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return parse(path, name=name, limits=Limits())


def outline(document):
    return [(block.kind.value, block.text) for block in document.blocks]


def saved(thing) -> bytes:
    data = io.BytesIO()
    thing.save(data)
    return data.getvalue()


def test_word_keeps_the_order_of_paragraphs_tables_and_headings(tmp_path):
    document = docx.Document()
    document.core_properties.title = "Offer"
    document.add_heading("Prices", 2)
    document.add_paragraph("Valid until 2024-05-31.")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ["Item", "EUR", "Duck", "12,50"], strict=True):
        cell.text = text
    document.add_paragraph("One", style="List Bullet")
    document.sections[0].header.paragraphs[0].text = "Draft 7"
    result = parsed(tmp_path, saved(document), "offer.docx")
    assert outline(result) == [
        ("text", "Draft 7"),
        ("heading", "Prices"),
        ("text", "Valid until 2024-05-31."),
        ("table", "Item | EUR\nDuck | 12,50"),
        ("list", "- One"),
    ]
    assert result.title == "Offer"
    assert result.blocks[1].level == 2
    assert result.blocks[0].box == Box(0.0, 0.0, 1.0, 0.2)


def test_word_text_boxes_are_read_once_and_deleted_text_is_not(tmp_path):
    document = docx.Document()
    paragraph = document.add_paragraph("Around ")
    names = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    box = "<w:txbxContent><w:p><w:r><w:t>In the box</w:t></w:r></w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    paragraph._p.append(
        parse_xml(
            f"<w:r {names} {mc}><mc:AlternateContent><mc:Choice Requires='wps'>{box}</mc:Choice>"
            f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>"
        )
    )
    paragraph._p.append(parse_xml(f"<w:del {names}><w:r><w:delText>gone</w:delText></w:r></w:del>"))
    assert outline(parsed(tmp_path, saved(document), "box.docx")) == [("text", "Around"), ("text", "In the box")]


def test_slides_are_source_pages_with_boxes_tables_charts_and_notes(tmp_path):
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[5])
    first.shapes.title.text = "Results"
    table = first.shapes.add_table(1, 2, Inches(1), Inches(3), Inches(5), Inches(1.5)).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Q1", "4.7 %"
    first.notes_slide.notes_text_frame.text = "Say hello"
    second = deck.slides.add_slide(deck.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["2023", "2024"]
    data.add_series("Ducks", (12, 15.5))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(4), Inches(3), data)
    result = parsed(tmp_path, saved(deck), "deck.pptx")
    assert [(block.page, block.text) for block in result.blocks] == [
        (1, "Results"),
        (1, "Q1 | 4.7 %"),
        (1, "Notes: Say hello"),
        (2, " | Ducks\n2023 | 12\n2024 | 15.5"),
    ]
    assert result.blocks[0].kind is BlockKind.HEADING
    assert (round(result.blocks[1].box.x0, 3), round(result.blocks[1].box.y0, 3)) == (0.1, 0.4)
    assert result.source_pages == 2


def test_sheets_are_source_pages_and_rows_keep_their_numbers(tmp_path):
    import datetime

    book = openpyxl.Workbook()
    book.active.title = "Costs"
    book.active.append(["Id", "Due", "EUR", "Paid"])
    book.active.append([4711, datetime.datetime(2024, 5, 31), 12.5, True])
    book.active["A5"] = 3.0
    book.create_sheet("Empty")
    result = parsed(tmp_path, saved(book), "costs.xlsx")
    assert outline(result) == [
        ("heading", "Costs"),
        ("table", "Id | Due | EUR | Paid\n4711 | 2024-05-31 | 12.5 | TRUE\n3"),
    ]
    assert result.blocks[1].lines == (1, 5)
    assert result.source_pages == 2


def epub(extra: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            '<dc:title>Poems</dc:title></metadata><manifest><item id="b" href="two%20b.xhtml"/>'
            '<item id="a" href="one.xhtml"/></manifest><spine><itemref idref="a"/>'
            '<itemref idref="b"/></spine></package>',
        )
        archive.writestr("OPS/two b.xhtml", "<html><body><p>Second.</p></body></html>")
        archive.writestr(
            "OPS/one.xhtml", "<?xml version='1.0' encoding='utf-8'?><html><body><h1>First</h1></body></html>"
        )
        for name, text in (extra or {}).items():
            archive.writestr(name, text)
    return data.getvalue()


def test_an_epub_is_read_along_its_spine(tmp_path):
    result = parsed(tmp_path, epub(), "poems.epub")
    assert [(block.page, block.text) for block in result.blocks] == [(1, "First"), (2, "Second.")]
    assert result.title == "Poems"


def test_parts_that_an_epub_lacks_are_named_and_none_is_read_twice(tmp_path):
    parts = '<item id="a" href="one.xhtml#start"/><item id="b" href="gone.xhtml"/>'
    spine = '<itemref idref="a"/><itemref idref="b"/><itemref idref="a"/>'
    book = f'<package xmlns="http://www.idpf.org/2007/opf"><manifest>{parts}</manifest><spine>{spine}</spine></package>'
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = epub({"OPS/book.opf": book})
    result = parsed(tmp_path, data, "poems.epub")
    assert [(block.page, block.text) for block in result.blocks] == [(1, "First")]
    assert result.warnings == ("poems.epub lacks OPS/gone.xhtml.",)


def test_an_epub_under_drm_is_refused(tmp_path):
    drm = '<encryption><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></encryption>'
    with pytest.raises(EncryptedDocument, match=r"^locked\.epub is protected by DRM"):
        parsed(tmp_path, epub({"META-INF/encryption.xml": drm}), "locked.epub")


def test_html_leaves_out_scripts_and_keeps_code_tables_and_lines(tmp_path):
    page = (
        "<!doctype html><title>T &amp; C</title>\n<script>no()</script><nav>menu</nav>\n<h2>Prices</h2>\n"
        "<div>Loose <b>text</b>\n<ul><li>one<li>two <i>b</i></ul></div>\n"
        "<pre>def f():\n    return 1</pre>\n<table><tr><th>a<th>b<tr><td>1<td>2</table>"
    )
    result = parsed(tmp_path, page, "page.html")
    assert outline(result) == [
        ("heading", "Prices"),
        ("text", "Loose text"),
        ("list", "- one"),
        ("list", "- two b"),
        ("code", "def f():\n    return 1"),
        ("table", "a | b\n1 | 2"),
    ]
    assert result.title == "T & C"
    assert result.blocks[0].lines == (3, 3)
    assert result.blocks[4].lines == (6, 7)


def test_spanning_cells_leave_their_columns_in_line(tmp_path):
    page = "<table><tr><th>Y<th colspan=2>EUR<tr><td rowspan=2>2024<td>1<td>2<tr><td>3<td>4<tr><td>2025<td>5</table>"
    assert outline(parsed(tmp_path, page, "t.html")) == [("table", "Y | EUR\n2024 | 1 | 2\n | 3 | 4\n2025 | 5")]


def test_word_cells_merged_downwards_leave_their_columns_in_line(tmp_path):
    document = docx.Document()
    table = document.add_table(2, 2)
    table.cell(0, 0).merge(table.cell(1, 0)).text = "2024"
    table.cell(0, 1).text, table.cell(1, 1).text = "1", "2"
    assert outline(parsed(tmp_path, saved(document), "t.docx")) == [("table", "2024 | 1\n | 2")]


def test_html_in_a_declared_encoding(tmp_path):
    page = '<html><meta charset="iso-8859-2"><p>Łódź</p></html>'.encode("iso-8859-2")
    assert outline(parsed(tmp_path, page, "page.html")) == [("text", "Łódź")]


def test_markdown_is_read_as_its_reader_sees_it(tmp_path):
    text = "---\nid: 7\n---\n# A *b*\n\nSee [this](http://x.y) `a_b`.\n\n2. two\n3. three\n\n```py\nif x:\n    y\n```\n"
    result = parsed(tmp_path, text + "\n| a | b |\n|---|---|\n| 1 | |\n", "notes.md")
    assert outline(result) == [
        ("code", "id: 7"),
        ("heading", "A b"),
        ("text", "See this a_b."),
        ("list", "2. two"),
        ("list", "3. three"),
        ("code", "if x:\n    y"),
        ("table", "a | b\n1"),
    ]
    assert [block.lines for block in result.blocks[1:4]] == [(4, 4), (6, 6), (8, 8)]


def test_restructured_text_is_read_without_including_anything(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read me")
    text = (
        f"Title\n=====\n\nA paragraph\nof *two* lines.\n\nSub\n---\n\n::\n\n    x = 1\n\n- item\n\n"
        f".. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n\n= =\na b\n= =\n1 2\n= =\n"
    )
    result = parsed(tmp_path, text, "page.rst")
    assert outline(result) == [
        ("heading", "Title"),
        ("text", "A paragraph\nof two lines."),
        ("heading", "Sub"),
        ("code", "x = 1"),
        ("list", "- item"),
        ("table", "a | b\n1 | 2"),
    ]
    assert [block.level for block in result.blocks if block.level] == [1, 2]
    assert result.blocks[1].lines == (4, 5)
    assert result.blocks[3].lines == (12, 12)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1251", "gb18030"]
)
def test_plain_text_in_any_common_encoding(tmp_path, encoding):
    text = {
        "cp1251": "Утка номер 4711 плывёт по озеру. Она очень довольна погодой сегодня утром.",
        "gb18030": "今天天气很好，鸭子在湖里游泳。编号是四七一一。大家都很高兴。",
    }.get(encoding, "Straße 4711, naïve café: the duck swims.\r\n\r\nSecond.")
    result = parsed(tmp_path, text.encode(encoding), "notes.txt")
    assert [block.text for block in result.blocks] == text.split("\r\n\r\n")


def test_plain_paragraphs_know_their_lines(tmp_path):
    result = parsed(tmp_path, "one\ntwo\n\n\nthree\n", "a.txt")
    assert [(block.text, block.lines) for block in result.blocks] == [("one\ntwo", (1, 2)), ("three", (5, 5))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_any_delimiter(tmp_path, delimiter):
    text = "\n".join(delimiter.join(row) for row in (["id", "name", "eur"], ["007", '"a, b"', "1.50"], ["8", "c", "2"]))
    assert outline(parsed(tmp_path, text, "t.csv")) == [("table", "id | name | eur\n007 | a, b | 1.50\n8 | c | 2")]


def test_long_csv_becomes_blocks_that_know_their_lines(tmp_path):
    text = "".join(f"{i},{i * i}\n" for i in range(1, 101))
    assert [block.lines for block in parsed(tmp_path, text, "t.csv").blocks] == [(1, 40), (41, 80), (81, 100)]


def test_json_written_for_machines_is_broken_into_lines_but_never_rewritten(tmp_path):
    text = '{"id":1.10,"big":12345678901234567890,"s":"a, {b} \\n","list":[1e5,true]}' + " " * 600
    (block,) = parsed(tmp_path, text, "t.json").blocks
    assert block.text == (
        '{\n "id": 1.10,\n "big": 12345678901234567890,\n "s": "a, {b} \\n",\n "list": [\n  1e5,\n  true\n ]\n}'
    )


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_letters_of_json_are_written_as_letters(tmp_path, name):
    value = {"город": "東京 😀", "kept": "\u2028 \\u00e9 \n \u007f é"}
    text = json.dumps(value)
    assert text.isascii()
    (block,) = parsed(tmp_path, text, name).blocks
    assert block.text == r'{"город": "東京 😀", "kept": "\u2028 \\u00e9 \n \u007f é"}'
    assert json.loads(block.text) == value
    lone = r'{"half": "\ud83d", "other": "\ude00\u00e9"}'
    assert parsed(tmp_path, lone, name).blocks[0].text == lone.replace(r"\u00e9", "é")


def test_json_that_is_not_json_is_taken_as_text_with_a_warning(tmp_path):
    result = parsed(tmp_path, '{"a": 1,}', "t.json")
    assert result.blocks[0].text == '{"a": 1,}'
    assert result.warnings[0].startswith("t.json is not valid JSON (")


def test_json_lines_are_records(tmp_path):
    assert parsed(tmp_path, '{"a":1}\n{"a":2}\n', "t.jsonl").blocks[0].text == '{"a":1}\n{"a":2}'


def test_code_is_verbatim_and_cut_at_definitions(tmp_path):
    text = "import os\n\n\ndef a():\n    x = 1\n\n    return x\n\n\nclass B:\n    pass\n"
    result = parsed(tmp_path, text, "m.py")
    assert [(block.text, block.lines) for block in result.blocks] == [
        ("import os", (1, 1)),
        ("def a():\n    x = 1\n\n    return x", (4, 7)),
        ("class B:\n    pass", (10, 11)),
    ]


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        ("a.docx", b"wordprocessingml.document.main+xml", "is a damaged Word document"),
        ("a.pptx", b"presentationml.presentation.main+xml", "is a damaged presentation"),
        ("a.xlsx", b"spreadsheetml.sheet.main+xml", "is a damaged spreadsheet"),
    ],
)
def test_an_office_file_without_its_parts_is_damaged(tmp_path, name, part, message):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("[Content_Types].xml", b"<!-- " + part + b" -->")
    with pytest.raises(DamagedDocument, match=message):
        parsed(tmp_path, data.getvalue(), name)


def test_text_of_an_unknown_kind_is_plain_text(tmp_path):
    assert parsed(tmp_path, "hello", "README").media_type == "text/plain"
    assert parsed(tmp_path, "<!DOCTYPE html><p>x", "page").media_type == "text/html"


def test_controls_are_dropped_and_nothing_else(tmp_path):
    (block,) = parsed(tmp_path, "a\x00b\u0301 e\u0301 ﬁ ID\u00a07\r\nc", "t.txt").blocks
    assert block.text == "ab\u0301 e\u0301 ﬁ ID\u00a07\nc"
