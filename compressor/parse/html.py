"""Owns HTML: headings, paragraphs, lists, tables and code in document order. EPUB and Markdown use it too."""

import re
from collections import deque
from collections.abc import Iterator

from lxml import etree
from lxml import html as lxml_html

from compressor.errors import EmptyDocument
from compressor.parse.decode import decode, html_charset
from compressor.parse.source import SourceFile, clean, line_block, one_line, styled_row
from compressor.parse.styled import Styled
from compressor.styles import Style
from compressor.types import Block, BlockKind, ParsedDocument

_SKIP = frozenset(
    {"script", "style", "noscript", "template", "head", "nav", "svg", "iframe", "object", "select", "datalist"}
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCK = frozenset(
    {
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "caption",
    }
)
_STYLES = {
    **dict.fromkeys(("b", "strong"), Style.BOLD),
    **dict.fromkeys(("i", "em"), Style.ITALIC),
    **dict.fromkeys(("code", "kbd", "samp", "tt", "pre"), Style.CODE),
}
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_Piece = tuple[BlockKind, Styled, int, etree._Element]  # kind, text, heading level, where it was found

_MAX_SPAN = 1000  # of a cell, as browsers have it
_MAX_DEPTH = 400  # of nested elements; deeper ones are taken as running text


def parse_html(source: SourceFile) -> ParsedDocument:
    """Scripts, styles and navigation are left out; white space of running text is collapsed, of code kept."""
    data = source.path.read_bytes()
    decoded = decode(data, label=source.label, declared=html_charset(data))
    root = html_root(decoded.text)
    if root is None:
        raise EmptyDocument(f"{source.label} has no text.")
    title = root.findtext(".//title")
    total = decoded.text.rstrip("\n").count("\n") + 1
    blocks = tuple(html_blocks(root, total=total))
    return ParsedDocument(source.media_type, one_line(title) if title else None, 1, blocks, decoded.warnings)


def html_root(text: str) -> etree._Element | None:
    """The parsed tree, None where there is nothing to parse. Never touches the network or other files."""
    parser = lxml_html.HTMLParser(no_network=True, remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        return lxml_html.document_fromstring(_XML_DECLARATION.sub("", text), parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None


def html_blocks(root: etree._Element, *, total: int, page: int = 1, first_line: int = 1) -> list[Block]:
    """Blocks of a tree whose source has `total` lines and begins at `first_line`."""
    blocks: list[Block] = []
    last = first_line
    for kind, text, level, element in _pieces(root, 0, Style.PLAIN):
        text = text.strip("\n") if kind is BlockKind.CODE else text
        if not text.strip():
            continue
        start = max((element.sourceline or 1) + first_line - 1, 1)
        # libxml2 stops counting at line 65,535; then the last known line is the best there is
        start = min(start if element.sourceline != 65_535 else last, total)
        last = start if _holds_blocks(element) and kind is not BlockKind.TABLE else _last_line(element) + first_line - 1
        end = min(max(start, last), total)
        last = end
        blocks.append(line_block(kind, text, first=start, last=end, total=total, level=level, page=page))
    return blocks


def _pieces(element: etree._Element, depth: int, around: Style) -> Iterator[_Piece]:
    """Depth first; inline content between block elements is gathered into paragraphs of its own.

    `around` is how elements around this one make its text look.
    """
    tag = _tag(element)
    if tag in _SKIP or element.get("hidden") is not None:
        return
    if tag in _HEADINGS:
        yield BlockKind.HEADING, one_line(_inline(element)).also(around), _HEADINGS[tag], element
    elif tag == "pre":
        code = clean("".join(str(t) for t in element.itertext())).rstrip()
        yield BlockKind.CODE, Styled.of(code), 0, element
    elif tag == "table" and not element.xpath(".//table"):
        yield from _table(element, around)
    elif depth > _MAX_DEPTH or not _holds_blocks(element):
        kind = BlockKind.LIST if tag in ("li", "dd", "dt") else BlockKind.TEXT
        text = one_line(_inline(element)).also(around)
        yield kind, Styled.of("- ") + text if text and tag == "li" else text, 0, element
    else:
        yield from _mixed(element, depth, around | _style(element))


def _mixed(element: etree._Element, depth: int, around: Style) -> Iterator[_Piece]:
    tag = _tag(element)
    kind = BlockKind.LIST if tag == "li" else BlockKind.TEXT
    mark = Styled.of("- " if tag == "li" else "")
    running = [Styled.of(element.text or "")]
    near = element  # whose line is nearest to the running text
    for child in element:
        if isinstance(child.tag, str) and (_tag(child) in _BLOCK or _holds_blocks(child)):
            text = one_line(Styled.join("", running))
            if text:
                yield kind, mark + text.also(around), 0, near
                mark = Styled.of("")
            running = []
            near = child
            yield from _pieces(child, depth + 1, around)
        elif isinstance(child.tag, str):
            running.append(_inline(child))
        running.append(Styled.of(child.tail or ""))
    text = one_line(Styled.join("", running))
    if text:
        yield kind, mark + text.also(around), 0, near


def _table(table: etree._Element, around: Style) -> Iterator[_Piece]:
    caption = table.find(".//caption")
    if caption is not None:
        yield BlockKind.TEXT, one_line(_inline(caption)).also(around), 0, caption
    below: dict[int, int] = {}  # column -> rows that a cell above still covers
    rows = [row for row in (styled_row(_cells(tr, below)) for tr in table.iter("tr")) if row]
    if rows:
        yield BlockKind.TABLE, Styled.join("\n", rows), 0, table


def _cells(row: etree._Element, below: dict[int, int]) -> Iterator[Styled]:
    """One text a column; columns that a spanning cell covers are empty, so that columns stay in line."""
    column = 0
    for cell in row:
        if _tag(cell) not in ("td", "th"):
            continue
        while below.get(column, 0):
            below[column] -= 1
            column += 1
            yield Styled.of("")
        yield _inline(cell)
        width = _span(cell, "colspan")
        for _ in range(width - 1):
            yield Styled.of("")
        for covered in range(column, column + width):
            below[covered] = _span(cell, "rowspan") - 1
        column += width
    for covered in [covered for covered, rows in below.items() if covered >= column and rows]:
        below[covered] -= 1


def _span(cell: etree._Element, name: str) -> int:
    value = (cell.get(name) or "").strip()
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() else 1


def _inline(element: etree._Element) -> Styled:
    """The text inside an element; breaks and inner blocks become spaces, images their alternative text."""
    tag = _tag(element)
    if tag in _SKIP or element.get("hidden") is not None:
        return Styled.of("")
    if tag == "img":
        return Styled.of(element.get("alt") or "")
    space = Styled.of(" ")
    parts = [Styled.of(element.text or "")]
    for child in element:
        if isinstance(child.tag, str):
            child_tag = _tag(child)
            inner = space if child_tag == "br" else _inline(child)
            parts += (space, inner, space) if child_tag in _BLOCK else (inner,)
        parts.append(Styled.of(child.tail or ""))
    return Styled.join("", parts).also(_style(element))


def _style(element: etree._Element) -> Style:
    """How an element makes the text inside it look."""
    tag = _tag(element)
    if tag == "a" and element.get("href") is not None:
        return Style.LINK
    return _STYLES.get(tag, Style.PLAIN)


def _holds_blocks(element: etree._Element) -> bool:
    return any(isinstance(e.tag, str) and _tag(e) in _BLOCK for e in element.iterdescendants())


def _last_line(element: etree._Element) -> int:
    """The line of the last descendant, plus the line feeds inside its text."""
    last = deque(element.iter(), maxlen=1)[0]
    line = last.sourceline or 1
    return line + (last.text or "").rstrip().count("\n") if isinstance(last.tag, str) else line


def _tag(element: etree._Element) -> str:
    """The local name: XHTML elements carry a namespace."""
    return etree.QName(element).localname.lower() if isinstance(element.tag, str) else ""
