"""Owns DOCX: paragraphs, tables, text boxes and notes in document order."""

import re
import zipfile
from collections.abc import Iterator, Mapping

import docx
from docx.document import Document
from docx.opc.exceptions import PackageNotFoundError
from docx.oxml.ns import qn
from docx.styles.style import ParagraphStyle
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree

from compressor.errors import DamagedDocument
from compressor.parse.source import SourceFile, clean, one_line, stacked, styled_row
from compressor.parse.styled import Styled, is_monospaced
from compressor.styles import Style
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

Piece = tuple[BlockKind, Styled, int]
Looks = Mapping[Style, bool]  # what is switched on or off
Sheet = Mapping[str, Looks]  # of the document's character styles, by their ids


def parse_docx(source: SourceFile) -> ParsedDocument:
    """Word stores no pages: everything is on page 1, boxes are slices in document order."""
    try:
        document = docx.Document(str(source.path))
        sheet = _sheet(document)
        pieces = [
            *_frame(document, "header", sheet),
            *_body(document, sheet),
            *_notes(document, sheet),
            *_frame(document, "footer", sheet),
        ]
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


def _body(document: Document, sheet: Sheet) -> Iterator[Piece]:
    for item in document.iter_inner_content():
        yield from _table(item, sheet) if isinstance(item, Table) else _paragraph(item, sheet)


def _paragraph(paragraph: Paragraph, sheet: Sheet) -> Iterator[Piece]:
    element = paragraph._p
    text = clean(_text_of(element, sheet)).strip("\n")
    if text.strip():
        yield _kind(paragraph, text)
    for box in element.iter(_BOX):
        if not any(ancestor.tag == _FALLBACK for ancestor in box.iterancestors()):
            for inner in box.iterchildren(qn("w:p")):
                inner_text = clean(_text_of(inner, sheet)).strip()
                if inner_text:
                    yield BlockKind.TEXT, inner_text, 0
            for table in box.iterchildren(qn("w:tbl")):
                yield from _table(Table(table, paragraph), sheet)


def _kind(paragraph: Paragraph, text: Styled) -> Piece:
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
        return BlockKind.LIST, Styled.of("- ") + text.strip(), 0
    return BlockKind.TEXT, text.rstrip(), 0


def _table(table: Table, sheet: Sheet) -> Iterator[Piece]:
    """Merged cells once, empty where they go on; a table inside a cell is read into the cell."""
    rows = []
    for row in table._tbl.tr_lst:
        rows.append(styled_row(Styled.of("") if _continues(cell) else _cell(cell, sheet) for cell in row.tc_lst))
    text = Styled.join("\n", filter(None, rows))
    if text:
        yield BlockKind.TABLE, text, 0


def _cell(cell: etree._Element, sheet: Sheet) -> Styled:
    return Styled.join(" ", (_text_of(paragraph, sheet) for paragraph in cell.iter(qn("w:p"))))


def _continues(cell: etree._Element) -> bool:
    """Whether a cell only continues the vertically merged one above it."""
    merge = cell.find(f"{qn('w:tcPr')}/{qn('w:vMerge')}")
    return merge is not None and merge.get(qn("w:val")) != "restart"


def _text_of(element: etree._Element, sheet: Sheet, style: Style = Style.PLAIN) -> Styled:
    """Runs, links, insertions and formulas of one paragraph; deleted text and text boxes are not part of it."""
    parts: list[Styled] = []
    for child in element:
        if child.tag in _TEXT:
            parts.append(Styled.of(child.text or "", style))
        elif child.tag in _BREAKS:
            parts.append(Styled.of(_BREAKS[child.tag], style))
        elif child.tag not in _SKIP and child.tag != qn("w:tabs"):
            parts.append(_text_of(child, sheet, style | _style(child, sheet)))
    return Styled.join("", parts)


def _style(element: etree._Element, sheet: Sheet) -> Style:
    """What a run or a link adds to the look of the text inside it."""
    if element.tag == qn("w:hyperlink"):
        return Style.LINK
    properties = element.find(qn("w:rPr")) if element.tag == qn("w:r") else None
    if properties is None:
        return Style.PLAIN
    named = properties.find(qn("w:rStyle"))
    looks = {**(sheet.get(named.get(qn("w:val")), {}) if named is not None else {}), **_looks(properties)}
    return Style(sum(style for style, on in looks.items() if on))


def _looks(properties: etree._Element) -> Looks:
    """What run properties themselves say."""
    looks: dict[Style, bool] = {}
    for tag, style in (("w:b", Style.BOLD), ("w:i", Style.ITALIC)):
        switch = properties.find(qn(tag))
        if switch is not None:
            looks[style] = switch.get(qn("w:val")) not in ("0", "false", "off")
    fonts = properties.find(qn("w:rFonts"))
    font = None if fonts is None else fonts.get(qn("w:ascii")) or fonts.get(qn("w:hAnsi"))
    if font is not None:
        looks[Style.CODE] = is_monospaced(font)
    return looks


def _sheet(document: Document) -> Sheet:
    """Character styles with what they take over from the styles that they are based on."""
    elements: dict[str, etree._Element] = {
        style.get(qn("w:styleId"), ""): style
        for style in document.styles.element.iterchildren(qn("w:style"))
        if style.get(qn("w:type")) == "character"
    }

    def looks(name: str, seen: frozenset[str]) -> Looks:
        if name not in elements or name in seen:
            return {}
        based = elements[name].find(qn("w:basedOn"))
        properties = elements[name].find(qn("w:rPr"))
        own = {} if properties is None else _looks(properties)
        link = {Style.LINK: True} if name.endswith("Hyperlink") else {}  # of fields, which hold no w:hyperlink
        taken = {} if based is None else looks(based.get(qn("w:val"), ""), seen | {name})
        return {**taken, **own, **link}

    return {name: looks(name, frozenset()) for name in elements}


def _notes(document: Document, sheet: Sheet) -> Iterator[Piece]:
    """Footnotes and endnotes, after the body."""
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        root = etree.fromstring(relation.target_part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
        for note in root:
            if note.get(qn("w:type")) is None:  # separators have a type
                text = one_line(Styled.join(" ", (_text_of(p, sheet) for p in note.iter(qn("w:p")))))
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
            lines = (one_line(_text_of(p, sheet)) for p in frame._element.iter(qn("w:p")))
            text = Styled.join("\n", filter(None, lines))
            if any(c.isalpha() for c in text.text) and text.text not in seen:
                seen.add(text.text)
                yield BlockKind.TEXT, text, 0
