"""Owns plain text: paragraphs are what stands between blank lines."""

from compressor.parse.decode import read_text
from compressor.parse.source import SourceFile, line_block, line_groups
from compressor.types import BlockKind, ParsedDocument


def parse_plain(source: SourceFile) -> ParsedDocument:
    """Lines stay as they are; a paragraph longer than LINES_PER_BLOCK becomes several blocks."""
    decoded = read_text(source)
    lines = decoded.text.split("\n")
    blocks = tuple(
        line_block(BlockKind.TEXT, "\n".join(lines[a:b]), first=a + 1, last=b, total=len(lines))
        for a, b in line_groups(lines)
    )
    return ParsedDocument(source.media_type, None, 1, blocks, decoded.warnings)
