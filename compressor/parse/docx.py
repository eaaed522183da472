"""Owns DOCX: paragraphs, tables, text boxes and notes in document order."""

import re
import zipfile
from collections.abc import Iterator

import docx
from docx.document import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from docx.styles.style import ParagraphStyle
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree

from compressor.errors import DamagedDocument
from compressor.parse.source import SourceFile, clean, one_line, row_text, stacked
from compressor.types import BlockKind, ParsedDocument

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|заголовок|标题)\s*(\d)", re.I)
_CODE = re.compile(r"code|preformatted|listing|macro|source", re.I)
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_TEXT = frozenset({qn("w:t"), "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"})
_BOX = qn("w:txbxContent")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # the same content again
_SKIP = frozenset({_FALLBACK, _BOX, qn("w:del"), qn("w:moveFrom"), qn("w:instrText"), qn("w:pPr"), qn("w:rPr")})

# what python-docx raises on files that break the format's rules
_DAMAGE = (PackageNotFoundError, zipfile.BadZipFile, LookupError, ValueError, AttributeError, etree.XMLSyntaxError)

Piece = tuple[BlockKind, str, int]


def parse_docx(source: SourceFile) -> ParsedDocument:
    """Word stores no pages: everything is on page 1, boxes are slices in document order."""
    try:
        document = docx.Document(str(source.path))
        pieces = [*_frame(document, "header"), *_body(document), *_notes(document), *_frame(document, "footer")]
    except (
        PackageNotFoundError,
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        AttributeError,
        etree.XMLSyntaxError,
    ) as error:
        raise DamagedDocument(f"{source.label} is a damaged Word document: {error}. Save it again.") from error
    title = document.core_properties.title
    return ParsedDocument(source.media_type, title or None, 1, tuple(stacked(pieces, 1)))


def _body(document: Document) -> Iterator[Piece]:
    for item in document.iter_inner_content():
        yield from _table(item) if isinstance(item, Table) else _paragraph(item)


def _paragraph(paragraph: Paragraph) -> Iterator[Piece]:
    element = paragraph._p
    text = clean(_text_of(element)).strip("\n")
    if text.strip():
        yield _kind(paragraph, text)
    for box in element.iter(_BOX):
        if not any(ancestor.tag == _FALLBACK for ancestor in box.iterancestors()):
            for inner in box.iterchildren(qn("w:p")):
                inner_text = clean(_text_of(inner)).strip()
                if inner_text:
                    yield BlockKind.TEXT, inner_text, 0
            for table in box.iterchildren(qn("w:tbl")):
                yield from _table(Table(table, paragraph))


def _kind(paragraph: Paragraph, text: str) -> Piece:
    style: ParagraphStyle | None = paragraph.style
    name = (style.name or "") if style is not None else ""
    heading = _HEADING.match(name)
    if heading:
        return BlockKind.HEADING, one_line(text), min(max(int(heading.group(1)), 1), 6)
    if name in ("Title", "Subtitle"):
        return BlockKind.HEADING, one_line(text), 1
    if _CODE.search(name):
        return BlockKind.CODE, text, 0
    numbered = paragraph._p.pPr is not None and paragraph._p.pPr.numPr is not None
    if numbered or name.startswith("List"):
        return BlockKind.LIST, "- " + text.strip(), 0
    return BlockKind.TEXT, text.rstrip(), 0


def _table(table: Table) -> Iterator[Piece]:
    """Merged cells once, empty where they go on; a table inside a cell is read into the cell."""
    rows = []
    for row in table._tbl.tr_lst:
        rows.append(row_text("" if _continues(cell) else _cell(cell) for cell in row.tc_lst))
    text = "\n".join(row for row in rows if row)
    if text:
        yield BlockKind.TABLE, text, 0


def _cell(cell: etree._Element) -> str:
    return " ".join(_text_of(paragraph) for paragraph in cell.iter(qn("w:p")))


def _continues(cell: etree._Element) -> bool:
    """Whether a cell only continues the vertically merged one above it."""
    merge = cell.find(f"{qn('w:tcPr')}/{qn('w:vMerge')}")
    return merge is not None and merge.get(qn("w:val")) != "restart"


def _text_of(element: etree._Element) -> str:
    """Runs, links, insertions and formulas of one paragraph; deleted text and text boxes are not part of it."""
    parts: list[str] = []
    for child in element:
        if child.tag in _TEXT:
            parts.append(child.text or "")
        elif child.tag in _BREAKS:
            parts.append(_BREAKS[child.tag])
        elif child.tag not in _SKIP and child.tag != qn("w:tabs"):
            parts.append(_text_of(child))
    return "".join(parts)


def _notes(document: Document) -> Iterator[Piece]:
    """Footnotes and endnotes, after the body."""
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        root = etree.fromstring(relation.target_part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
        for note in root:
            if note.get(qn("w:type")) is None:  # separators have a type
                text = one_line(" ".join(_text_of(p) for p in note.iter(qn("w:p"))))
                if text:
                    yield BlockKind.TEXT, text, 0


def _frame(document: Document, where: str) -> Iterator[Piece]:
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
            text = "\n".join(filter(None, (one_line(_text_of(p)) for p in frame._element.iter(qn("w:p")))))
            if any(c.isalpha() for c in text) and text not in seen:
                seen.add(text)
                yield BlockKind.TEXT, text, 0
