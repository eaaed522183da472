"""Owns reStructuredText: docutils reads the structure, nothing is included, executed or fetched."""

from collections.abc import Iterable, Iterator, Sequence

import docutils.core
from docutils import nodes

from compressor.parse.decode import read_text
from compressor.parse.directives import make_known
from compressor.parse.numerals import numeral
from compressor.parse.source import SourceFile, in_columns, line_block, one_line, styled_row
from compressor.parse.styled import Styled
from compressor.styles import Style
from compressor.types import Block, BlockKind, ParsedDocument

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 6,
    "warning_stream": False,
    "smart_quotes": False,
    "doctitle_xform": False,
    "docinfo_xform": False,
    "line_length_limit": 1_000_000,
    "traceback": True,
}

_STYLES: dict[type[nodes.Node], Style] = {
    nodes.strong: Style.BOLD,
    nodes.emphasis: Style.ITALIC,
    nodes.literal: Style.CODE,
    nodes.reference: Style.LINK,
}
_Piece = tuple[BlockKind, Styled, int, str]  # kind, text, heading level, source text

_SILENT = (nodes.comment, nodes.substitution_definition, nodes.target)
_NUMBERS = {
    "loweralpha": "lowerLetter",
    "upperalpha": "upperLetter",
    "lowerroman": "lowerRoman",
    "upperroman": "upperRoman",
}
_ERROR = 3  # from this level on docutils leaves out what a message is about


def parse_rst(source: SourceFile) -> ParsedDocument:
    """Paragraphs keep their line breaks. Broken markup is shown as its source text."""
    decoded = read_text(source)
    make_known(decoded.text)
    tree = docutils.core.publish_doctree(decoded.text, settings_overrides=_SETTINGS)
    lines = decoded.text.rstrip("\n").split("\n")
    stripped = [one_line(line) for line in lines]
    blocks: list[Block] = []
    cursor = 0
    for kind, text, level, raw in _pieces(tree, 0):
        if not text.strip():
            continue
        first = _find(stripped, raw, cursor)
        height = raw.strip("\n").count("\n")
        last = min(first + height, len(lines) - 1)
        cursor = first if kind is BlockKind.TABLE else min(last, first + 1)
        blocks.append(line_block(kind, text, first=first + 1, last=last + 1, total=len(lines), level=level))
    title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), None)
    return ParsedDocument(source.media_type, title, 1, tuple(blocks), decoded.warnings)


def _pieces(node: nodes.Node, depth: int) -> Iterator[_Piece]:
    """Kind, text, heading level, source text; depth is the number of sections around the node."""
    for child in node.children:
        if isinstance(child, nodes.section):
            yield from _pieces(child, depth + 1)
        elif isinstance(child, nodes.title):
            yield BlockKind.HEADING, one_line(_styled(child)), min(max(depth, 1), 6), child.rawsource
        elif isinstance(child, nodes.list_item):
            yield from _item(child, depth)
        elif (own := _own(child)) is not None:
            yield from own
        elif not isinstance(child, _SILENT):
            if isinstance(child, nodes.Admonition) and not isinstance(child, nodes.admonition):  # that has a title
                name = child.tagname
                yield BlockKind.TEXT, Styled.of(f"{name.capitalize()}:", Style.BOLD), 0, f"{name}::"
            yield from _pieces(child, depth)


def _own(node: nodes.Node) -> Iterable[_Piece] | None:
    """The pieces of a node that is read as a whole, None of others."""
    match node:
        case nodes.literal_block() | nodes.doctest_block() | nodes.math_block():
            return [(BlockKind.CODE, Styled.of(node.astext().rstrip()), 0, node.astext())]
        case nodes.system_message():
            lost = node.findall(nodes.literal_block) if node["level"] >= _ERROR else ()
            return [(BlockKind.CODE, Styled.of(source.astext().rstrip()), 0, source.astext()) for source in lost]
        case nodes.field() | nodes.option_list_item():
            text = Styled.join(": ", (one_line(_styled(part)) for part in node.children))
            return [(BlockKind.LIST, text, 0, node.rawsource or text.text)]
        case nodes.image():
            return [(BlockKind.TEXT, Styled.of(node.get("alt", "")), 0, node.get("alt", ""))]
        case nodes.table():
            return _table(node)
        case nodes.paragraph() | nodes.term() | nodes.line() | nodes.rubric() | nodes.caption() | nodes.attribution():
            kind = BlockKind.LIST if isinstance(node, nodes.term) else BlockKind.TEXT
            return [(kind, _styled(node), 0, node.rawsource or node.astext())]
        case nodes.Text():
            return [(BlockKind.TEXT, _styled(node), 0, node.astext())]
    return None


def _item(item: nodes.list_item, depth: int) -> Iterator[_Piece]:
    parent = item.parent
    mark = "- "
    if isinstance(parent, nodes.enumerated_list):
        number = int(parent.get("start", 1)) + parent.index(item)
        mark = f"{parent['prefix']}{numeral(number, _NUMBERS.get(parent['enumtype'], 'decimal'))}{parent['suffix']} "
    for kind, text, level, raw in _pieces(item, depth):
        yield (BlockKind.LIST if kind is BlockKind.TEXT else kind), Styled.of(mark) + text, level, raw
        mark = ""


def _table(table: nodes.table) -> Iterator[_Piece]:
    for title in table.findall(nodes.title):
        yield BlockKind.TEXT, one_line(_styled(title)), 0, title.rawsource
    rows: list[Styled] = []
    for group in table.findall(
        lambda node: isinstance(node, nodes.thead | nodes.tbody) and node.parent.parent is table
    ):
        below: dict[int, int] = {}
        rows += filter(None, (styled_row(in_columns(_cells(row), below)) for row in group.children))
    if rows:
        yield BlockKind.TABLE, Styled.join("\n", rows), 0, rows[0].text.partition(" | ")[0] + "\n" * len(rows)


def _cells(row: nodes.Node) -> Iterator[tuple[Styled, int, int]]:
    """Each with its columns and rows."""
    for entry in row.children:
        yield _styled(entry), entry.get("morecols", 0) + 1, entry.get("morerows", 0) + 1


def _styled(node: nodes.Node) -> Styled:
    """A node's text with its inline markup; plain where docutils puts the text together in a way of its own."""
    style = _STYLES.get(type(node), Style.PLAIN)
    text = node.astext()
    if not isinstance(node, nodes.Element) or not node.children:
        return Styled.of(text, style)
    joined = Styled.join(node.child_text_separator, (_styled(child) for child in node.children))
    return (joined if joined.text == text else Styled.of(text)).also(style)


def _find(stripped: Sequence[str], raw: str, cursor: int) -> int:
    """The first source line at or after `cursor` that holds the first line of `raw`; `cursor` when none does.

    docutils numbers the lines of some nodes from their end, so the text is looked up instead.
    """
    wanted = next((one_line(line) for line in raw.split("\n") if line.strip()), "")
    if wanted:
        for i in range(cursor, len(stripped)):
            if wanted in stripped[i]:
                return i
    return min(cursor, len(stripped) - 1)
