"""Owns source code and configuration files: blocks begin where a top-level definition begins."""

import re
from collections.abc import Sequence
from itertools import pairwise

from compressor.parse.decode import read_text
from compressor.parse.source import LINES_PER_BLOCK, SourceFile, line_block
from compressor.types import Block, BlockKind, ParsedDocument

_CLOSING = re.compile(r"[\s)\]}>]|end\b|else\b|elif\b|except\b|finally\b|catch\b")


def parse_code(source: SourceFile) -> ParsedDocument:
    """Verbatim, indentation and inner blank lines included."""
    decoded = read_text(source)
    return ParsedDocument(source.media_type, None, 1, tuple(code_blocks(decoded.text)), decoded.warnings)


def code_blocks(text: str) -> list[Block]:
    """Cut before an unindented line that follows a blank one; a longer stretch at any blank line, then anywhere."""
    lines = text.split("\n")
    blocks = []
    for start, end in _pieces(lines):
        while start < end and not lines[start].strip():
            start += 1
        while end > start and not lines[end - 1].strip():
            end -= 1
        if start < end:
            piece = "\n".join(lines[start:end])
            blocks.append(line_block(BlockKind.CODE, piece, first=start + 1, last=end, total=len(lines)))
    return blocks


def _pieces(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Ranges that cover all lines; at most 2 * LINES_PER_BLOCK lines each."""
    cuts = [0]
    blank = 0  # the last place after a blank line since the last cut
    for i in range(1, len(lines)):
        if not lines[i - 1].strip():
            blank = i
            if lines[i].strip() and not _CLOSING.match(lines[i]):
                cuts.append(i)
        if i - cuts[-1] >= 2 * LINES_PER_BLOCK:
            cuts.append(blank if blank > cuts[-1] + LINES_PER_BLOCK // 2 else i)
    cuts.append(len(lines))
    return list(pairwise(cuts))
