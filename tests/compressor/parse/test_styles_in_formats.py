"""Bold, italic, code and links of every format are told as exact ranges of the blocks' text."""

import io
import zipfile

import docx
import openpyxl
import pptx
import pymupdf
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from pptx.util import Inches

from compressor.limits import Limits
from compressor.parse import parse
from compressor.parse.child import ParserProcess
from compressor.styles import Style
from compressor.types import BlockKind
from tests.compressor.parse.office import saved

BOLD, ITALIC, CODE, LINK = Style.BOLD, Style.ITALIC, Style.CODE, Style.LINK
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def parsed(tmp_path, data: bytes | str, name: str):
    path = tmp_path / "blob"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return parse(path, name=name, limits=Limits()).blocks


def shown(block):
    """A block's styled pieces of text."""
    return [(block.text[run.start : run.end], run.style) for run in block.styles]


def test_markdown(tmp_path):
    source = (
        "# Read **this**\n\nA **bold *and slanted*\nline**, `code`, [a *link*](http://a.b) and <http://c.d>.\n\n"
        "- **item**: 2\n\n| a | b |\n|---|---|\n| *x* | `y` |\n\n```\nx = **2**\n```\n"
    )
    heading, text, item, table, code = parsed(tmp_path, source, "a.md")
    assert (heading.kind, shown(heading)) == (BlockKind.HEADING, [("this", BOLD)])
    assert text.text == "A bold and slanted\nline, code, a link and http://c.d."
    assert shown(text) == [
        ("bold ", BOLD),
        ("and slanted", BOLD | ITALIC),
        ("\nline", BOLD),
        ("code", CODE),
        ("a ", LINK),
        ("link", LINK | ITALIC),
        ("http://c.d", LINK),
    ]
    assert (item.text, shown(item)) == ("- item: 2", [("item", BOLD)])
    assert (table.text, shown(table)) == ("a | b\nx | y", [("x", ITALIC), ("y", CODE)])
    assert (code.kind, shown(code)) == (BlockKind.CODE, [])


HTML = """<h1>Read <i>this</i></h1>
<p>One <b>bold  <em>and
slanted</em> </b> word, <kbd>^C</kbd> <a href="x">a <code>link</code></a>, <a name="y">an anchor</a>.</p>
<ul><li><strong>item</strong>: 2</li></ul>
<strong><p>All of it</p> and more</strong>
<table><tr><td><b>x</b></td><td><tt>y</tt></td></tr></table>
<pre>x = <b>2</b></pre>"""
IN_HTML = [
    ("Read this", [("this", ITALIC)]),
    (
        "One bold and slanted word, ^C a link, an anchor.",
        [("bold ", BOLD), ("and slanted", BOLD | ITALIC), ("^C", CODE), ("a ", LINK), ("link", LINK | CODE)],
    ),
    ("- item: 2", [("item", BOLD)]),
    ("All of it", [("All of it", BOLD)]),
    ("and more", [("and more", BOLD)]),
    ("x | y", [("x", BOLD), ("y", CODE)]),
    ("x = 2", []),
]


def test_html(tmp_path):
    blocks = parsed(tmp_path, f"<html><body>{HTML}</body></html>", "a.html")
    assert [(block.text, shown(block)) for block in blocks] == IN_HTML


def test_epub(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", '<container><rootfile full-path="a.opf"/></container>')
        manifest = '<manifest><item id="1" href="1.html"/></manifest><spine><itemref idref="1"/></spine>'
        archive.writestr("a.opf", f"<package>{manifest}</package>")
        archive.writestr("1.html", f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{HTML}</body></html>')
    blocks = parsed(tmp_path, data.getvalue(), "a.epub")
    assert [(block.text, shown(block)) for block in blocks] == IN_HTML


def test_word(tmp_path):
    document = docx.Document()
    document.add_heading("Prices", 2)
    paragraph = document.add_paragraph("One ")
    paragraph.add_run("bold ").bold = True
    both = paragraph.add_run("and slanted")
    both.bold = both.italic = True
    paragraph.add_run(" ")
    paragraph.add_run("strong", style="Strong")
    paragraph.add_run("not", style="Strong").bold = False
    paragraph.add_run("code").font.name = "Courier New"
    run = "<w:r><w:rPr><w:i/></w:rPr><w:t>a link</w:t></w:r>"
    paragraph._p.append(parse_xml(f'<w:hyperlink {WORD} w:anchor="x">{run}</w:hyperlink>'))
    verbatim = document.styles.add_style("Verbatim", WD_STYLE_TYPE.CHARACTER)
    verbatim.font.name = "Consolas"
    derived = document.styles.add_style("Verbatim Two", WD_STYLE_TYPE.CHARACTER)
    derived.base_style = verbatim
    item = document.add_paragraph("", style="List Bullet")
    item.add_run(" item", style="Verbatim Two")
    document.add_table(1, 2).cell(0, 1).paragraphs[0].add_run("cell").bold = True
    blocks = parsed(tmp_path, saved(document), "a.docx")
    assert [(block.text, shown(block)) for block in blocks] == [
        ("Prices", []),
        (
            "One bold and slanted strongnotcodea link",
            [
                ("bold ", BOLD),
                ("and slanted", BOLD | ITALIC),
                ("strong", BOLD),
                ("code", CODE),
                ("a link", LINK | ITALIC),
            ],
        ),
        ("- item", [("item", CODE)]),
        (" | cell", [("cell", BOLD)]),
    ]
    assert blocks[0].kind is BlockKind.HEADING


def test_links_of_word_fields_are_known_by_their_style(tmp_path):
    document = docx.Document()
    document.styles.add_style("Hyperlink", WD_STYLE_TYPE.CHARACTER)
    paragraph = document.add_paragraph("See ")
    paragraph.add_run("here", style="Hyperlink")
    (block,) = parsed(tmp_path, saved(document), "a.docx")
    assert shown(block) == [("here", LINK)]


def test_slides(tmp_path):
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text_frame.paragraphs[0].add_run().text = "Results"
    frame = slide.shapes.add_textbox(Inches(1), Inches(3), Inches(5), Inches(1)).text_frame
    for words, settings in (("One ", {}), ("bold ", {"bold": True}), ("slanted", {"bold": True, "italic": True})):
        run = frame.paragraphs[0].add_run()
        run.text = words
        for name, value in settings.items():
            setattr(run.font, name, value)
    line = frame.add_paragraph()
    line.add_run().text = "a link"
    line.runs[0].hyperlink.address = "http://a.b"
    line.add_run().text = "code"
    line.runs[1].font.name = "Consolas"
    table = slide.shapes.add_table(1, 2, Inches(1), Inches(5), Inches(5), Inches(1)).table
    table.cell(0, 0).text = "x"
    cell = table.cell(0, 1).text_frame.paragraphs[0].add_run()
    cell.text, cell.font.italic = "y", True
    notes = slide.notes_slide.notes_text_frame.paragraphs[0].add_run()
    notes.text, notes.font.bold = "Loudly", True
    blocks = parsed(tmp_path, saved(deck), "a.pptx")
    assert [(block.text, shown(block)) for block in blocks] == [
        ("Results", []),
        (
            "One bold slanted\na linkcode",
            [("bold ", BOLD), ("slanted", BOLD | ITALIC), ("a link", LINK), ("code", CODE)],
        ),
        ("x | y", [("y", ITALIC)]),
        ("Notes: Loudly", [("Loudly", BOLD)]),
    ]


def written(page: pymupdf.Page, y: float, *pieces: tuple[str, str]) -> pymupdf.Rect:
    """Pieces of one line, each in its font; -> where the last one stands."""
    x = 72.0
    for text, font in pieces:
        width = pymupdf.get_text_length(text, font, 10)
        page.insert_text((x, y), text, fontname=font, fontsize=10)
        x += width
    return pymupdf.Rect(x - width, y - 10, x, y + 2)


@pytest.mark.parametrize("rotation", [0, 90])
def test_pdf(tmp_path, rotation):
    document = pymupdf.open()
    page = document.new_page()
    page.insert_text((72, 60), "Read this", fontname="hebo", fontsize=16)
    written(page, 100, ("The plain line is long enough and then comes a ", "helv"), ("bold", "hebo"))
    written(
        page, 112, ("pair", "hebo"), (" of words, ", "helv"), ("slanted", "hebi"), (" and ", "helv"), ("x=2", "cour")
    )
    link = written(page, 124, ("with ", "helv"), ("a link", "heit"))
    page.insert_link({"kind": pymupdf.LINK_URI, "from": link, "uri": "http://a.b"})
    page.set_rotation(rotation)
    heading, text = parsed(tmp_path, document.tobytes(), "a.pdf")
    assert (heading.kind, shown(heading)) == (BlockKind.HEADING, [("Read this", BOLD)])
    assert text.text == (
        "The plain line is long enough and then comes a bold pair of words, slanted and x=2 with a link"
    )
    assert shown(text) == [
        ("bold pair", BOLD),
        ("slanted", BOLD | ITALIC),
        ("x=2", CODE),
        ("a link", LINK | ITALIC),
    ]


def test_a_pdf_link_over_a_part_of_a_span_is_left_out(tmp_path):
    document = pymupdf.open()
    page = document.new_page()
    box = written(page, 100, ("words of which one is linked", "helv"))
    page.insert_link(
        {"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(box.x0 + 60, box.y0, box.x1, box.y1), "uri": "http://a.b"}
    )
    (block,) = parsed(tmp_path, document.tobytes(), "a.pdf")
    assert shown(block) == []


def test_restructured_text(tmp_path):
    source = (
        "Read *this*\n===========\n\nOne **bold** word, *slanted*, ``code`` and\n`a link <http://a.b>`_.\n\n"
        "- **item**: 2\n\n:Field: *value*\n\n=====  =====\n**x**  ``y``\n=====  =====\n\n::\n\n    x = **2**\n"
    )
    blocks = parsed(tmp_path, source, "a.rst")
    assert [(block.text, shown(block)) for block in blocks] == [
        ("Read this", [("this", ITALIC)]),
        (
            "One bold word, slanted, code and\na link.",
            [("bold", BOLD), ("slanted", ITALIC), ("code", CODE), ("a link", LINK)],
        ),
        ("- item: 2", [("item", BOLD)]),
        ("Field: value", [("value", ITALIC)]),
        ("x | y", [("x", BOLD), ("y", CODE)]),
        ("x = **2**", []),
    ]


@pytest.mark.parametrize(("name", "data"), [("a.py", "x = '*'\n"), ("a.json", '{"a": "**b**"}'), ("a.csv", "a,*b*\n")])
def test_files_without_styles_have_none(tmp_path, name, data):
    assert [block.styles for block in parsed(tmp_path, data, name)] == [()]


def test_sheets_have_none(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["a", "b"])
    book.active["A1"].font = openpyxl.styles.Font(bold=True)
    assert [block.styles for block in parsed(tmp_path, saved(book), "a.xlsx")] == [(), ()]


def test_styles_come_out_of_the_child_process_as_they_are(tmp_path):
    path = tmp_path / "blob"
    path.write_text("# Read *this*\n\nand **that**\n")
    with ParserProcess() as process:
        found = process.parse(path, name="a.md", limits=Limits())
    assert found == parse(path, name="a.md", limits=Limits())
    assert [shown(block) for block in found.blocks] == [[("this", ITALIC)], [("that", BOLD)]]
