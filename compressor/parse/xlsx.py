"""Owns XLSX: every sheet is a source page, every row a table line."""

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from typing import IO

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from compressor.errors import DamagedDocument, DocumentTooLarge
from compressor.parse.source import LINES_PER_BLOCK, SourceFile, clean, line_block, row_text
from compressor.types import Block, BlockKind, ParsedDocument

# what openpyxl raises on files that break the format's rules; its XML errors are SyntaxErrors
_DAMAGE = (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, TypeError, SyntaxError, EOFError)


def parse_xlsx(source: SourceFile) -> ParsedDocument:
    """Values as last calculated by the program that saved the file; `lines` are row numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells about styles and extensions that carry no text
        try:
            with source.path.open("rb") as stream:  # a path must end in .xlsx, and blobs have no names
                return _parse(source, stream)
        except _DAMAGE as error:
            raise DamagedDocument(f"{source.label} is a damaged spreadsheet: {error}. Save it again.") from error


def _parse(source: SourceFile, stream: IO[bytes]) -> ParsedDocument:
    book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
    try:
        sheets = book.worksheets
        if len(sheets) > source.limits.pages:
            raise DocumentTooLarge(
                f"{source.label} has {len(sheets):,} sheets, the limit is {source.limits.pages:,} pages."
            )
        blocks: list[Block] = []
        budget = source.limits.characters
        for page, sheet in enumerate(sheets, 1):
            rows: list[tuple[int, str]] = []
            sheet.reset_dimensions()  # else rows are filled up with empty cells: 17 billion where one stands far away
            for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
                text = row_text(cell_text(cell) for cell in cells)
                budget -= len(text)
                if budget < 0:
                    raise DocumentTooLarge(
                        f"{source.label} holds more than {source.limits.characters:,} characters. Split the file."
                    )
                if text:
                    rows.append((number, text))
            blocks.extend(_blocks(clean(sheet.title), rows, page=page))
        title = book.properties.title
        return ParsedDocument(source.media_type, title or None, len(sheets), tuple(blocks))
    finally:
        book.close()


def cell_text(value: object) -> str:
    """A cell as a reader would write it: no ".0" on whole numbers, dates as ISO 8601."""
    match value:
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case datetime.datetime() if value.time() == datetime.time():
            return value.date().isoformat()
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case _:
            return str(value)


def _blocks(name: str, rows: list[tuple[int, str]], *, page: int) -> Iterator[Block]:
    if not rows:
        return
    total = rows[-1][0]
    yield line_block(BlockKind.HEADING, name, first=1, last=1, total=total, level=1, page=page)
    for start in range(0, len(rows), LINES_PER_BLOCK):
        part = rows[start : start + LINES_PER_BLOCK]
        text = "\n".join(row for _, row in part)
        yield line_block(BlockKind.TABLE, text, first=part[0][0], last=part[-1][0], total=total, page=page)
