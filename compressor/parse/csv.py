"""Owns CSV and TSV: rows as table lines, whatever the delimiter."""

import csv
import io

from compressor.parse.decode import read_text
from compressor.parse.plain import parse_plain
from compressor.parse.source import LINES_PER_BLOCK, SourceFile, line_block, row_text
from compressor.types import BlockKind, ParsedDocument

_DELIMITERS = ",;\t|"
_SAMPLE = 4_000  # characters; the time that the standard library's sniffer takes grows with their square, or worse


def parse_csv(source: SourceFile) -> ParsedDocument:
    """Blocks of LINES_PER_BLOCK rows. A file that is no CSV after all is read as plain text, with a warning."""
    decoded = read_text(source)
    total = decoded.text.rstrip("\n").count("\n") + 1
    delimiter, spaced = _delimiter(decoded.text[:_SAMPLE])
    reader = csv.reader(io.StringIO(decoded.text), delimiter=delimiter, skipinitialspace=spaced)
    blocks = []
    rows: list[str] = []
    first = 1
    try:
        for cells in reader:
            row = row_text(cells)
            if row:
                rows.append(row)
            if len(rows) >= LINES_PER_BLOCK:
                blocks.append(
                    line_block(BlockKind.TABLE, "\n".join(rows), first=first, last=reader.line_num, total=total)
                )
                rows, first = [], reader.line_num + 1
    except csv.Error as error:
        plain = parse_plain(source)
        warning = f"{source.label} is not valid CSV (line {reader.line_num}: {error}); it was read as plain text."
        return ParsedDocument(source.media_type, None, 1, plain.blocks, (warning, *plain.warnings))
    if rows:
        last = max(min(reader.line_num, total), first)
        blocks.append(line_block(BlockKind.TABLE, "\n".join(rows), first=first, last=last, total=total))
    return ParsedDocument(source.media_type, None, 1, tuple(blocks), decoded.warnings)


def _delimiter(sample: str) -> tuple[str, bool]:
    """And whether a space follows it, before quotes too."""
    try:
        found = csv.Sniffer().sniff(sample, delimiters=_DELIMITERS)
        return found.delimiter, bool(found.skipinitialspace)
    except csv.Error:
        first = sample.partition("\n")[0]
        return max(_DELIMITERS, key=first.count), False
