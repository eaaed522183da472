"""Owns DOCX: paragraphs, tables, text boxes and notes in document order, with the numbers that Word counts.

What Word does not show as the document's text is left out, and a warning says so: comments, which are words about the
document, and hidden text. Tracked changes are read as if all of them were accepted.
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import docx
from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from docx.styles.style import ParagraphStyle
from docx.text.paragraph import Paragraph
from lxml import etree

from compressor.errors import DamagedDocument
from compressor.parse.docxnumbers import BULLET, Lists, Numbers, read_lists
from compressor.parse.docxtext import (
    BOX,
    Sheet,
    hides_text,
    is_end_deleted,
    is_end_hidden,
    paragraphs_in,
    read_sheet,
    text_of,
)
from compressor.parse.source import SourceFile, clean, one_line, stacked, styled_row
from compressor.parse.styled import Styled
from compressor.types import BlockKind, ParsedDocument

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|заголовок|标题)\s*(\d)", re.I)
_CODE = re.compile(r"code|preformatted|listing|macro|source", re.I)
_ITEM = re.compile(r"List (?:Bullet|Number)")
_PARAGRAPH, _TABLE, _ROW, _CELL = qn("w:p"), qn("w:tbl"), qn("w:tr"), qn("w:tc")
_AROUND = frozenset({qn("w:sdt"), qn("w:sdtContent"), qn("w:customXml")})  # content controls: what is in them is text
_GALLERY = "/".join(qn(tag) for tag in ("w:sdtPr", "w:docPartObj", "w:docPartGallery"))
_CHANGES = tuple(qn(tag) for tag in ("w:ins", "w:del", "w:moveFrom", "w:moveTo"))

# what python-docx raises on files that break the format's rules
_DAMAGE = (PackageNotFoundError, zipfile.BadZipFile, LookupError, ValueError, AttributeError, etree.XMLSyntaxError)

Piece = tuple[BlockKind, Styled, int]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What paragraphs are read with. Numbers go on counting from paragraph to paragraph; text boxes have their own."""

    document: Document
    sheet: Sheet
    lists: Lists
    numbers: Numbers
    boxed: Numbers


def parse_docx(source: SourceFile) -> ParsedDocument:
    """Word stores no pages: everything is on page 1, boxes are slices in document order."""
    try:
        document = docx.Document(str(source.path))
        styles = document.styles.element
        sheet = read_sheet(styles)
        lists = read_lists(_part(document, RELATIONSHIP_TYPE.NUMBERING), styles, usual=sheet.usual)
        reading = _Reading(document, sheet, lists, Numbers(lists), Numbers(lists))
        pieces = [
            *_frame(document, "header", reading.sheet),
            *_body(document.element.body, reading),
            *_notes(document, reading.sheet),
            *_frame(document, "footer", reading.sheet),
        ]
        warnings = tuple(_warnings(source.label, reading))
        title = document.core_properties.title
    except _DAMAGE as error:
        raise DamagedDocument(f"{source.label} is a damaged Word document: {error}. Save it again.") from error
    return ParsedDocument(source.media_type, title or None, 1, tuple(stacked(pieces, 1)), warnings)


def _warnings(label: str, reading: _Reading) -> Iterator[str]:
    body, sheet = reading.document.element.body, reading.sheet
    may_hide = sheet.hides or next(body.iter(qn("w:vanish")), None) is not None
    if may_hide and any(hides_text(paragraph, sheet) for paragraph in paragraphs_in(body)):
        yield f"{label} has hidden text, which was left out."
    comments = _part(reading.document, RELATIONSHIP_TYPE.COMMENTS)
    if comments is not None and next(comments.iter(qn("w:t")), None) is not None:
        yield f"{label} has comments, which were left out."
    if next(body.iter(*_CHANGES), None) is not None:
        yield f"{label} has tracked changes; it was read as if they were accepted."


def _part(document: Document, kind: str) -> etree._Element | None:
    """The root of the part that the document has of a kind, None where it has none."""
    for relation in document.part.rels.values():
        if relation.reltype == kind and not relation.is_external:
            return etree.fromstring(relation.target_part.blob, _parser())
    return None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True)


def _items(container: etree._Element, tags: tuple[str, ...]) -> Iterator[etree._Element]:
    """The elements of these tags in a body, table or row, in order; those in content controls too.

    But not those of a table of contents: each of its lines is a heading again, with a page that is not known here.
    """
    for child in container:
        if child.tag in tags:
            yield child
        elif child.tag in _AROUND:
            gallery = child.find(_GALLERY)
            if gallery is None or gallery.get(qn("w:val")) != "Table of Contents":
                yield from _items(child, tags)


def _body(body: etree._Element, reading: _Reading) -> Iterator[Piece]:
    begun = Styled.of("")  # text of paragraphs whose ends are deleted: the next one goes on with it
    for item in _items(body, (_PARAGRAPH, _TABLE)):
        if item.tag == _TABLE:
            yield from _table(item, reading)
            continue
        text = begun + text_of(item, reading.sheet)
        begun = text if is_end_deleted(item) else Styled.of("")
        if not begun:
            yield from _paragraph(item, text, reading)
        yield from _boxes(item, reading)
    if begun.strip():
        yield BlockKind.TEXT, clean(begun).strip(), 0


def _paragraph(element: etree._Element, text: Styled, reading: _Reading) -> Iterator[Piece]:
    text = clean(text).strip("\n")
    number = _number(element, text, reading)
    if text.strip():
        yield _kind(Paragraph(element, reading.document), text, number)


def _number(element: etree._Element, text: Styled, reading: _Reading, *, boxed: bool = False) -> str | None:
    """What Word shows before a paragraph, which counts even where it is empty; None where nothing is said of it."""
    if not text.strip() and (is_end_deleted(element) or is_end_hidden(element, reading.sheet)):
        return None
    return (reading.boxed if boxed else reading.numbers).next(element.find(qn("w:pPr")))


def _boxes(element: etree._Element, reading: _Reading) -> Iterator[Piece]:
    """The text boxes that are anchored in a paragraph, after it."""
    for box in element.iter(BOX):
        for paragraph in paragraphs_in(box):
            if paragraph.getparent() is box:
                text = clean(text_of(paragraph, reading.sheet)).strip()
                number = _number(paragraph, text, reading, boxed=True)
                if text:
                    yield BlockKind.LIST if number else BlockKind.TEXT, Styled.of(number or "") + text, 0
        if next(paragraphs_in(box), None) is not None:  # not the same box again
            for table in box.iterchildren(_TABLE):
                yield from _table(table, reading)


def _kind(paragraph: Paragraph, text: Styled, number: str | None) -> Piece:
    style: ParagraphStyle | None = paragraph.style
    name = (style.name or "") if style is not None else ""
    shown = Styled.of(number or "")
    heading = _HEADING.match(name)
    if heading:
        shown = Styled.of("") if number == BULLET else shown
        return BlockKind.HEADING, one_line(shown + text.strip()), min(max(int(heading.group(1)), 1), 6)
    if name in ("Title", "Subtitle"):
        return BlockKind.HEADING, one_line(shown + text.strip()), 1
    if _CODE.search(name):
        return BlockKind.CODE, text, 0
    if number is None and _ITEM.match(name):  # a writer that did without lists
        shown = Styled.of(BULLET)
    if shown:
        return BlockKind.LIST, shown + text.strip(), 0
    return BlockKind.TEXT, text.rstrip(), 0


def _table(table: etree._Element, reading: _Reading) -> Iterator[Piece]:
    """Merged cells once, empty where they go on; a table inside a cell is read into the cell."""
    rows = []
    for row in _items(table, (_ROW,)):
        if row.find(f"{qn('w:trPr')}/{qn('w:del')}") is None:
            cells = _items(row, (_CELL,))
            rows.append(styled_row(Styled.of("") if _continues(cell) else _cell(cell, reading) for cell in cells))
    text = Styled.join("\n", filter(None, rows))
    if text:
        yield BlockKind.TABLE, text, 0


def _cell(cell: etree._Element, reading: _Reading) -> Styled:
    """Paragraphs on one line; a number alone is text too, as in a column of running numbers."""
    parts: list[Styled] = []
    for paragraph in paragraphs_in(cell):
        text = text_of(paragraph, reading.sheet)
        number = _number(paragraph, clean(text), reading)
        parts.append(text if number in (None, BULLET) else Styled.of(number or "") + text)
    return Styled.join(" ", parts)


def _continues(cell: etree._Element) -> bool:
    """Whether a cell only continues the vertically merged one above it."""
    merge = cell.find(f"{qn('w:tcPr')}/{qn('w:vMerge')}")
    return merge is not None and merge.get(qn("w:val")) != "restart"


def _notes(document: Document, sheet: Sheet) -> Iterator[Piece]:
    """Footnotes and endnotes, after the body."""
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        root = etree.fromstring(relation.target_part.blob, _parser())
        for note in root:
            if note.get(qn("w:type")) is None:  # separators have a type
                text = one_line(Styled.join(" ", (text_of(p, sheet) for p in paragraphs_in(note))))
                if text:
                    yield BlockKind.TEXT, text, 0


def _frame(document: Document, where: str, sheet: Sheet) -> Iterator[Piece]:
    """Distinct headers, before the body, or footers, after it."""
    seen: set[str] = set()
    for section in document.sections:
        frames = (
            (section.first_page_header, section.header, section.even_page_header)
            if where == "header"
            else (section.first_page_footer, section.footer, section.even_page_footer)
        )
        for frame in frames:
            if frame.is_linked_to_previous:
                continue
            lines = (one_line(text_of(p, sheet)) for p in paragraphs_in(frame._element))
            text = Styled.join("\n", filter(None, lines))
            if any(c.isalpha() for c in text.text) and text.text not in seen:
                seen.add(text.text)
                yield BlockKind.TEXT, text, 0
