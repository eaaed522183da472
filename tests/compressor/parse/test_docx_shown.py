"""What Word shows is read, once; what it does not show is left out, and a warning says so."""

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml

from tests.compressor.parse.office import parsed_as

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def parsed(tmp_path, document):
    return parsed_as("offer.docx", tmp_path, document)


def texts(result) -> list[str]:
    return [block.text for block in result.blocks]


def run(text: str, properties: str = "") -> str:
    return f"<w:r><w:rPr>{properties}</w:rPr><w:t>{text}</w:t></w:r>"


def xml(tag: str, inner: str):
    return parse_xml(f"<{tag} {WORD}>{inner}</{tag}>")


def add(document, *elements) -> None:
    for element in elements:
        document.element.body.sectPr.addprevious(element)


def test_hidden_text_is_left_out_with_a_warning(tmp_path):
    document = docx.Document()
    hidden = document.styles.add_style("Secret", WD_STYLE_TYPE.CHARACTER)
    hidden.font.hidden = True
    derived = document.styles.add_style("Secret Too", WD_STYLE_TYPE.CHARACTER)
    derived.base_style = hidden
    note = document.styles.add_style("Margin", WD_STYLE_TYPE.PARAGRAPH)
    note.font.hidden = True
    paragraph = document.add_paragraph("Price ")
    paragraph.add_run("12 EUR")
    paragraph.add_run(", bought for 3").font.hidden = True
    paragraph.add_run(", margin 9", style="Secret Too")
    paragraph.add_run(".", style="Secret").font.hidden = False
    document.add_paragraph("Never below 5.", style="Margin")
    document.add_table(1, 1).cell(0, 0).paragraphs[0].add_run("hidden cell").font.hidden = True
    result = parsed(tmp_path, document)
    assert texts(result) == ["Price 12 EUR."]
    assert result.warnings == ("offer.docx has hidden text, which was left out.",)


def test_text_that_a_style_could_hide_and_does_not_is_read_without_a_warning(tmp_path):
    document = docx.Document()
    document.styles.add_style("Secret", WD_STYLE_TYPE.CHARACTER).font.hidden = True
    document.add_paragraph("Price").add_run("").font.hidden = True
    result = parsed(tmp_path, document)
    assert (texts(result), result.warnings) == (["Price"], ())


def test_comments_are_left_out_with_a_warning(tmp_path):
    document = docx.Document()
    paragraph = document.add_paragraph("Price")
    document.add_comment(paragraph.runs, text="Too low!", author="Jo")
    result = parsed(tmp_path, document)
    assert texts(result) == ["Price"]
    assert result.warnings == ("offer.docx has comments, which were left out.",)


def test_tracked_changes_are_read_as_accepted(tmp_path):
    document = docx.Document()
    change = 'w:id="1" w:author="Jo"'
    inner = (
        f"{run('Price ')}<w:ins {change}>{run('12')}</w:ins><w:del {change}><w:r><w:delText>9</w:delText></w:r></w:del>"
        f"<w:moveFrom {change}>{run(' USD')}</w:moveFrom><w:moveTo {change}>{run(' EUR')}</w:moveTo>"
    )
    add(document, xml("w:p", inner))
    table = document.add_table(2, 1)
    for row, text in zip(table.rows, ("kept", "deleted"), strict=True):
        row.cells[0].text = text
    table.rows[1]._tr.get_or_add_trPr().append(xml("w:del", ""))
    result = parsed(tmp_path, document)
    assert texts(result) == ["Price 12 EUR", "kept"]
    assert result.warnings == ("offer.docx has tracked changes; it was read as if they were accepted.",)


def control(inner: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{inner}</w:sdtContent></w:sdt>"


def test_content_controls_around_paragraphs_tables_rows_and_cells_are_read(tmp_path):
    document = docx.Document()
    cell = f"<w:tc><w:p>{run('{}')}</w:p></w:tc>"
    cells = cell.format("name") + control(cell.format("value"))
    rows = f"<w:tr>{cells}</w:tr>{control(f'<w:tr>{cells}</w:tr>')}"
    inner = control(f"<w:p>{run('Between A and B')}</w:p>") + f"<w:tbl>{rows}</w:tbl>"
    add(document, xml("w:sdt", f"<w:sdtPr/><w:sdtContent>{inner}</w:sdtContent>"))
    assert texts(parsed(tmp_path, document)) == ["Between A and B", "name | value\nname | value"]


def test_a_table_of_contents_is_left_to_its_headings(tmp_path):
    document = docx.Document()
    gallery = '<w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>'
    line = f"<w:p>{run('Scope 3')}</w:p>"
    add(document, xml("w:sdt", f"<w:sdtPr>{gallery}</w:sdtPr><w:sdtContent>{line}</w:sdtContent>"))
    document.add_heading("Scope")
    assert texts(parsed(tmp_path, document)) == ["Scope"]


@pytest.mark.parametrize("place", ["cell", "header"])
def test_a_text_box_in_a_cell_or_a_header_is_read_once(tmp_path, place):
    document = docx.Document()
    document.add_paragraph("Body")
    box = f"<w:txbxContent><w:p>{run('In the box')}</w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    drawn = (
        f"<w:r {WORD} {mc}><mc:AlternateContent><mc:Choice Requires='wps'>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>"
    )
    section = document.sections[0]
    where = document.add_table(1, 1).cell(0, 0) if place == "cell" else section.header
    where.paragraphs[0]._p.append(parse_xml(drawn))
    assert sorted(texts(parsed(tmp_path, document))) == ["Body", "In the box"]
