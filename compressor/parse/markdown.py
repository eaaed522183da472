"""Owns Markdown (CommonMark with tables): the rendered text, with source lines."""

import re
from html import unescape

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, reference
from markdown_it.tree import SyntaxTreeNode

from compressor.parse.decode import read_text
from compressor.parse.html import html_blocks, html_root
from compressor.parse.source import SourceFile, line_block, styled_row
from compressor.parse.styled import Styled
from compressor.styles import Style
from compressor.types import Block, BlockKind, ParsedDocument

_STYLES = {"strong": Style.BOLD, "em": Style.ITALIC, "code_inline": Style.CODE, "link": Style.LINK}
_MAX_NESTING = 200  # a list in a list takes two; more than that is deeper than any reader goes
_BREAK = re.compile(r"<br\b", re.I)
_PICTURE = re.compile(r"""<img\b[^>]*?\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.I)
_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)(?:---|\.\.\.)\n", re.S)


def parse_markdown(source: SourceFile) -> ParsedDocument:
    """Marks become styles, link targets go, text stays; code blocks are verbatim; list items keep "- " or "1. "."""
    decoded = read_text(source)
    text = decoded.text
    blocks: list[Block] = []
    front = _FRONT_MATTER.match(text)
    if front:
        last, total = front.group().count("\n"), text.rstrip("\n").count("\n") + 1
        blocks.append(line_block(BlockKind.CODE, front.group(1).rstrip(), first=1, last=last, total=total))
        text = "\n" * last + text[front.end() :]
    blocks += markdown_blocks(text)
    title = next((block.text for block in blocks if block.kind is BlockKind.HEADING), None)
    return ParsedDocument(source.media_type, title, 1, tuple(blocks), decoded.warnings)


def markdown_blocks(text: str) -> list[Block]:
    """The blocks of a Markdown text without front matter: in a cell of a notebook a first line is no more than that."""
    total = text.rstrip("\n").count("\n") + 1
    return [block for node in SyntaxTreeNode(_reader().parse(text)).children for block in _blocks(node, total=total)]


def _reader() -> MarkdownIt:
    """Lists and quotes deeper than the preset's 20 levels are read too; a footnote is no link, whatever it holds."""
    reader = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    reader.block.ruler.at("reference", _reference, {"alt": []})
    return reader


def _reference(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return not state.src.startswith("[^", state.bMarks[start] + state.tShift[start]) and reference(
        state, start, end, silent
    )


def _blocks(node: SyntaxTreeNode, *, total: int, mark: str = "", in_list: bool = False) -> list[Block]:
    """`mark` goes before the first text of a list item."""
    first, last = _lines(node)
    if node.type == "heading":
        return [line_block(BlockKind.HEADING, _text(node), first=first, last=last, total=total, level=int(node.tag[1]))]
    if node.type == "paragraph":
        kind = BlockKind.LIST if in_list else BlockKind.TEXT
        text = Styled.of(mark) + _text(node)
        return [line_block(kind, text, first=first, last=last, total=total)] if text.strip() else []
    if node.type in ("fence", "code_block"):
        return [line_block(BlockKind.CODE, node.content.rstrip("\n"), first=first, last=last, total=total)]
    if node.type == "table":
        rows = [styled_row(_text(cell) for cell in row.children) for part in node.children for row in part.children]
        text = Styled.join("\n", filter(None, rows))
        return [line_block(BlockKind.TABLE, text, first=first, last=last, total=total)]
    if node.type == "html_block":
        root = html_root(node.content)
        return [] if root is None else html_blocks(root, total=total, first_line=first)
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    blocks: list[Block] = []
    for i, child in enumerate(node.children):
        if child.type == "list_item":
            mark = "- " if number is None else f"{number + i}. "
        inside = in_list or node.type == "list_item"
        blocks.extend(_blocks(child, total=total, mark=mark, in_list=inside))
        mark = ""
    return blocks


def _lines(node: SyntaxTreeNode) -> tuple[int, int]:
    first, after = node.map or (0, 1)
    return first + 1, max(after, first + 1)


def _text(node: SyntaxTreeNode) -> Styled:
    """What a reader sees of inline content; a soft line break stays a line break."""
    if node.type in ("softbreak", "hardbreak"):
        return Styled.of("\n")
    if node.type == "html_inline":
        picture = _PICTURE.match(node.content)
        return Styled.of(
            "\n" if _BREAK.match(node.content) else unescape(picture[1] or picture[2] or "") if picture else ""
        )
    style = _STYLES.get(node.type, Style.PLAIN)
    if node.type in ("text", "code_inline", "image"):  # an image's content is its alternative text
        return Styled.of(node.content, style)
    return Styled.join("", (_text(child) for child in node.children)).also(style)
