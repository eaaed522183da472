"""Owns PPTX: every slide is a source page, every shape a block with its box.

The speaker's notes are read, marked as notes. Hidden slides are read like others, as they keep their place among the
pages and are often kept for questions; a warning names them. Comments are words about the slides: they are left out,
and a warning says so.
"""

import zipfile
from collections.abc import Iterator
from itertools import zip_longest

import pptx
from lxml import etree
from pptx.chart.chart import Chart
from pptx.exc import PackageNotFoundError
from pptx.oxml.ns import qn
from pptx.oxml.xmlchemy import BaseOxmlElement
from pptx.shapes.autoshape import Shape
from pptx.shapes.base import BaseShape
from pptx.shapes.graphfrm import GraphicFrame
from pptx.shapes.group import GroupShape
from pptx.slide import Slide
from pptx.table import _Cell
from pptx.text.text import TextFrame, _Paragraph

from compressor.errors import DamagedDocument, DocumentTooLarge
from compressor.parse.pptxnumbers import numbers
from compressor.parse.source import SourceFile, clean, listed, one_line, row_text, styled_block, styled_row
from compressor.parse.styled import Styled, is_monospaced
from compressor.styles import Style
from compressor.types import WHOLE_PAGE, Block, BlockKind, Box, ParsedDocument

_OFF = ("0", "false")
_ON = ("1", "true")  # of an XML attribute that is a switch
_MAX_POINTS = 10_000  # of one series that are read
_DAMAGE = (  # what python-pptx raises on files that break the format's rules
    PackageNotFoundError,
    zipfile.BadZipFile,
    LookupError,
    ValueError,
    AttributeError,
    NotImplementedError,
    etree.XMLSyntaxError,
)


def parse_pptx(source: SourceFile) -> ParsedDocument:
    """Title first, then shapes from top to bottom, then the speaker's notes."""
    try:
        deck = pptx.Presentation(str(source.path))
        slides = list(deck.slides)
        warnings = list(_warnings(source.label, slides))
    except _DAMAGE as error:
        raise DamagedDocument(f"{source.label} is a damaged presentation: {error}. Save it again.") from error
    if len(slides) > source.limits.pages:
        raise DocumentTooLarge(
            f"{source.label} has {len(slides):,} slides, the limit is {source.limits.pages:,} pages."
        )
    width, height = deck.slide_width or 9_144_000, deck.slide_height or 6_858_000  # 10 x 7.5 inches is the default
    blocks: list[Block] = []
    for page, slide in enumerate(slides, 1):
        try:
            blocks.extend(_slide(slide, page, size=(width, height)))
        except _DAMAGE as error:
            warnings.append(f"slide {page} of {source.label} was read in part: {error}")
    return ParsedDocument(
        source.media_type, deck.core_properties.title or None, len(slides), tuple(blocks), tuple(warnings)
    )


def _warnings(label: str, slides: list[Slide]) -> Iterator[str]:
    hidden = [str(page) for page, slide in enumerate(slides, 1) if slide._element.get("show") in _OFF]
    if hidden:
        yield f"{label} has hidden slides, which were read too: {listed(hidden)}."
    if any(relation.reltype.endswith("/comments") for slide in slides for relation in slide.part.rels.values()):
        yield f"{label} has comments, which were left out."


def _slide(slide: Slide, page: int, *, size: tuple[int, int]) -> Iterator[Block]:
    title = slide.shapes.title
    title_id = title.shape_id if title is not None else None
    shapes = sorted(
        _flat(slide.shapes), key=lambda shape: (shape.shape_id != title_id, shape.top or 0, shape.left or 0)
    )
    for shape in shapes:
        yield from _shape(shape, page, box=_box(shape, size), is_title=shape.shape_id == title_id)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = _text(slide.notes_slide.notes_text_frame).strip()
        if notes:
            yield styled_block(BlockKind.TEXT, Styled.of("Notes: ") + notes, page, WHOLE_PAGE)


def _flat(shapes: object) -> Iterator[BaseShape]:
    """The shapes of a group stand in the group's place."""
    for shape in shapes:  # type: ignore[attr-defined]  # python-pptx has no common base of its shape trees
        if isinstance(shape, GroupShape):
            yield from _flat(shape.shapes)
        else:
            yield shape


def _shape(shape: BaseShape, page: int, *, box: Box, is_title: bool) -> Iterator[Block]:
    if isinstance(shape, GraphicFrame) and shape.has_table:
        rows = [styled_row(_cell(cell) for cell in row.cells) for row in shape.table.rows]
        yield styled_block(BlockKind.TABLE, Styled.join("\n", filter(None, rows)), page, box)
    elif isinstance(shape, GraphicFrame) and shape.has_chart:
        yield from (Block(kind, text, page, box) for kind, text in _chart(shape.chart))
    elif isinstance(shape, Shape) and shape.has_text_frame:
        text = Styled.join("\n", filter(None, (line.strip() for line in _lines(shape.text_frame))))
        if is_title and text:
            yield styled_block(BlockKind.HEADING, one_line(text), page, box, 1)
        elif text:
            yield styled_block(BlockKind.LIST if "\n" in text.text else BlockKind.TEXT, text, page, box)


def _cell(cell: _Cell) -> Styled:
    return Styled.of("") if cell.is_spanned else _text(cell.text_frame)


def _text(frame: TextFrame) -> Styled:
    return Styled.join("\n", _lines(frame))


def _lines(frame: TextFrame) -> Iterator[Styled]:
    """Paragraphs, with the numbers that are shown before them."""
    paragraphs = frame.paragraphs
    shown = numbers([paragraph._p for paragraph in paragraphs], frame._txBody.find(qn("a:lstStyle")))
    for paragraph, number in zip(paragraphs, shown, strict=True):
        yield Styled.of(f"{number} " if number else "") + _line(paragraph)


def _line(paragraph: _Paragraph) -> Styled:
    """A paragraph's runs, fields and breaks."""
    return clean(Styled.join("", (Styled.of(part.text, _style(part)) for part in paragraph._p.content_children)))


def _style(run: BaseOxmlElement) -> Style:
    """What a run itself says; what it takes over from its layout is the same for all of a shape's text."""
    style = Style.PLAIN
    properties = run.find(qn("a:rPr"))
    if properties is None:
        return style
    style |= Style.BOLD if properties.get("b") in _ON else Style.PLAIN
    style |= Style.ITALIC if properties.get("i") in _ON else Style.PLAIN
    style |= Style.LINK if properties.find(qn("a:hlinkClick")) is not None else Style.PLAIN
    font = properties.find(qn("a:latin"))
    return style | (Style.CODE if font is not None and is_monospaced(font.get("typeface", "")) else Style.PLAIN)


def _chart(chart: Chart) -> Iterator[tuple[BlockKind, str]]:
    """A chart as its title and a table: categories down, series across.

    Read from the chart's XML, because python-pptx knows no 3D plots.
    """
    if chart.has_title and chart.chart_title.has_text_frame:
        yield BlockKind.TEXT, clean(chart.chart_title.text_frame.text).strip()
    columns = [["", *_points(series, "c:cat"), *_points(series, "c:xVal")] for series in _series(chart)[:1]]
    for series in _series(chart):
        name = " ".join(value.text or "" for value in series.xpath("./c:tx//c:v"))
        columns.append([name, *_points(series, "c:val"), *_points(series, "c:yVal")])
    rows = [row_text(cells) for cells in zip_longest(*columns, fillvalue="")]
    text = "\n".join(row for row in rows if row)
    if text:
        yield BlockKind.TABLE, text


def _series(chart: Chart) -> list[BaseOxmlElement]:
    return list(chart._chartSpace.xpath(".//c:ser"))


def _points(series: BaseOxmlElement, part: str) -> list[str]:
    """Cached values of a series by their index, "" where one is missing."""
    points = {int(point.get("idx")): point.xpath("string(./c:v)") for point in series.xpath(f"./{part}//c:pt")}
    return [points.get(i, "") for i in range(min(max(points, default=-1) + 1, _MAX_POINTS))]


def _box(shape: BaseShape, size: tuple[int, int]) -> Box:
    """Normalised and clipped to the slide; shapes may hang over its edge."""
    if shape.left is None or shape.top is None or shape.width is None or shape.height is None:
        return WHOLE_PAGE
    x0, y0 = shape.left / size[0], shape.top / size[1]
    x1, y1 = x0 + shape.width / size[0], y0 + shape.height / size[1]
    return Box(_unit(x0), _unit(y0), _unit(x1), _unit(y1))


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
