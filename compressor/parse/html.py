"""Owns HTML: headings, paragraphs, lists, tables and code in document order. EPUB and Markdown use it too."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

from lxml import etree
from lxml import html as lxml_html

from compressor.errors import EmptyDocument
from compressor.parse.decode import decode, html_charset
from compressor.parse.formula import formula
from compressor.parse.numerals import numeral
from compressor.parse.source import SourceFile, clean, in_columns, line_block, one_line, styled_row
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
_NUMBERS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_RAISED = str.maketrans("0123456789+-−=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED = str.maketrans("0123456789+-−=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_SMALL_FIGURE = re.compile(r"[+\-−]?\d+")
_BREAK = "\x0b"  # a line break that is meant, until the white space around it has gone; no clean text holds it
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_Piece = tuple[BlockKind, Styled, int, etree._Element]  # kind, text, heading level, where it was found

_WHOLE = re.compile(r"-?\d{1,9}", re.A)
_AROUND_BLOCKS = re.compile(f"\\n?(?:{_BREAK}+\\n?)+")
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


def _pieces(element: etree._Element, depth: int, around: Style, mark: str = "") -> Iterator[_Piece]:
    """Depth first; inline content between block elements is gathered into paragraphs of its own.

    `around` is how elements around this one make its text look, `mark` goes before the first text of a list item.
    """
    tag = _tag(element)
    if tag in _SKIP or element.get("hidden") is not None:
        return
    if tag in _HEADINGS:
        number = Styled.of(mark if mark != "- " else "")
        yield BlockKind.HEADING, number + one_line(_inline(element)).also(around), _HEADINGS[tag], element
    elif tag == "pre":
        yield BlockKind.CODE, Styled.of(clean(_verbatim(element)).rstrip()), 0, element
    elif tag == "table" and not _is_layout(element):
        yield from _table(element, around)
    elif depth > _MAX_DEPTH or not _holds_blocks(element):
        kind = BlockKind.LIST if mark or tag in ("li", "dd", "dt") else BlockKind.TEXT
        text = _lines(_inline(element)).also(around)
        yield kind, Styled.of(mark) + text if text else text, 0, element
    else:
        yield from _mixed(element, depth, around | _style(element), mark)


def _mixed(element: etree._Element, depth: int, around: Style, mark: str) -> Iterator[_Piece]:
    kind = BlockKind.LIST if _tag(element) == "li" else BlockKind.TEXT
    marks = _marks(element)
    running = [Styled.of(element.text or "")]
    near = element  # whose line is nearest to the running text
    for child in element:
        if isinstance(child.tag, str) and (_tag(child) in _BLOCK or _holds_blocks(child)):
            text = _lines(Styled.join("", running))
            if text:
                yield kind, Styled.of(mark) + text.also(around), 0, near
                mark = ""
            running = []
            near = child
            item = marks.get(child)
            for piece in _pieces(child, depth + 1, around, mark if item is None else item):
                yield piece
                mark = mark if item is not None or not piece[1] else ""
        elif isinstance(child.tag, str):
            running.append(_inline(child))
        running.append(Styled.of(child.tail or ""))
    text = _lines(Styled.join("", running))
    if text:
        yield kind, Styled.of(mark) + text.also(around), 0, near


def _marks(parent: etree._Element) -> dict[etree._Element, str]:
    """What goes before each item of a list: "- ", or its number."""
    items = [child for child in parent if _tag(child) == "li"]
    if _tag(parent) != "ol":
        return dict.fromkeys(items, "- ")
    backwards = parent.get("reversed") is not None
    number = _whole(parent, "start", len(items) if backwards else 1)
    marks = {}
    for item in items:
        number = _whole(item, "value", number)
        form = _NUMBERS.get(item.get("type") or parent.get("type") or "", "decimal")
        marks[item] = f"{numeral(number, form)}. "
        number += -1 if backwards else 1
    return marks


def _is_layout(table: etree._Element) -> bool:
    """Whether cells hold what cannot stand in a row: tables, or code of several lines."""
    return table.find(".//{*}table") is not None or any("\n" in _verbatim(pre).strip() for pre in table.iter("{*}pre"))


def _table(table: etree._Element, around: Style) -> Iterator[_Piece]:
    caption = table.find(".//{*}caption")
    if caption is not None:
        yield BlockKind.TEXT, one_line(_inline(caption)).also(around), 0, caption
    below: dict[int, int] = {}
    rows = [row for row in (styled_row(in_columns(_cells(tr), below)) for tr in table.iter("{*}tr")) if row]
    if rows:
        yield BlockKind.TABLE, Styled.join("\n", rows), 0, table


def _cells(row: etree._Element) -> Iterator[tuple[Styled, int, int]]:
    """Each with its columns and rows."""
    for cell in row:
        if _tag(cell) in ("td", "th"):
            columns, rows = (min(max(_whole(cell, name, 1), 1), _MAX_SPAN) for name in ("colspan", "rowspan"))
            yield _inline(cell), columns, rows


def _whole(element: etree._Element, name: str, default: int) -> int:
    value = (element.get(name) or "").strip()
    return int(value) if _WHOLE.fullmatch(value) else default


def _verbatim(element: etree._Element) -> str:
    """The text of code with its white space; a break ends a line, and so does what is set as a block."""
    return _AROUND_BLOCKS.sub("\n", "".join(_verbatim_parts(element)))


def _verbatim_parts(element: etree._Element) -> Iterator[str]:
    """Without a call for each level: in pages that programs write elements stay open by the thousand."""
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, part in walk:
        tag, inside = _tag(part), part is not element
        hidden = inside and (tag in _SKIP or part.get("hidden") is not None)
        around = _BREAK if inside and not hidden and tag in _BLOCK else ""
        if event == "end":
            yield around + (part.tail or "" if inside else "")
        elif hidden:
            walk.skip_subtree()
        else:
            yield "\n" if tag == "br" else around + (part.text or "")


def _lines(text: Styled) -> Styled:
    """Running text with no other line breaks than those that are meant."""
    if _BREAK not in text.text:
        return one_line(text)
    cuts = [-1, *(found.start() for found in re.finditer(_BREAK, text.text)), len(text)]
    return Styled.join("\n", filter(None, (one_line(text[a + 1 : b]) for a, b in pairwise(cuts))))


def _inline(element: etree._Element) -> Styled:
    """The text inside an element; inner blocks are set apart by spaces, an image is its alternative text."""
    tag = _tag(element)
    if tag in _SKIP or element.get("hidden") is not None:
        return Styled.of("")
    if tag in _READ_WHOLE:
        return Styled.of(_READ_WHOLE[tag](element))
    space = Styled.of(" ")
    parts = [Styled.of(element.text or "")]
    # A formula comes with a picture of itself, hidden from those to whom the formula is read.
    twice = any(child.get("aria-hidden") == "true" for child in element) and element.find(".//{*}math") is not None
    for child in element:
        child_tag = _tag(child)
        if child_tag and not (twice and child.get("aria-hidden") == "true"):
            inner = _inline(child)
            parts += (space, inner, space) if child_tag in _BLOCK else (inner,)
        parts.append(Styled.of(child.tail or ""))
    return _small(tag, Styled.join("", parts)).also(_style(element))


def _small(tag: str, text: Styled) -> Styled:
    """Raised and lowered figures as such signs, so that they do not become one number with what they follow."""
    signs = {"sup": _RAISED, "sub": _LOWERED}.get(tag)
    return Styled(text.text.translate(signs), text.looks) if signs and _SMALL_FIGURE.fullmatch(text.text) else text


def _reading(element: etree._Element) -> str:
    """How the signs before are pronounced: in brackets, where the page has none for readers without ruby."""
    text = "".join(map(str, element.itertext()))
    around = element.getparent()
    return text if around is None or around.find("{*}rp") is not None else f"({text})"


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


# Elements that are no sum of their parts.
_READ_WHOLE: dict[str, Callable[[etree._Element], str]] = {
    "br": lambda _: _BREAK,
    "img": lambda image: image.get("alt") or "",
    "math": formula,
    "rt": _reading,
}
