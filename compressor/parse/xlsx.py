"""Owns XLSX: every sheet is a source page, every row a table line.

Columns that are empty in all of a sheet are left out, wherever they stand, and rows that are empty are too. What is
left stands in line: a cell has as many separators before it as columns with values stand before it.

Hidden sheets, rows and columns are read like others: a filter hides rows that are data all the same, what others refer
to often stands on hidden sheets, and hiding keeps nothing from whoever has the file. A warning names the hidden sheets.
Comments are words about the sheet and not its values: they are left out, and a warning says so.
"""

import datetime
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from compressor.errors import DamagedDocument, DocumentTooLarge
from compressor.parse.source import LINES_PER_BLOCK, SourceFile, clean, line_block, listed, one_line, row_text
from compressor.types import Block, BlockKind, ParsedDocument

# what openpyxl raises on files that break the format's rules; its XML errors are SyntaxErrors
_DAMAGE = (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, TypeError, SyntaxError, EOFError)

_COMMENTS = re.compile(r"xl/(?:threaded)?comments", re.I)  # Excel's files, and folders that others make


def parse_xlsx(source: SourceFile) -> ParsedDocument:
    """Values as last calculated by the program that saved the file; `lines` are row numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # openpyxl tells about styles and extensions that carry no text
        try:
            with source.path.open("rb") as stream:  # a path must end in .xlsx, and blobs have no names
                return _parse(source, stream)
        except _DAMAGE as error:
            raise DamagedDocument(f"{source.label} is a damaged spreadsheet: {error}. Save it again.") from error


@dataclass(frozen=True, slots=True)
class _Row:
    """What has a value in a row; both from 1, cells by their columns in order."""

    number: int
    cells: dict[int, str]


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
            lines = _lines(source, sheet, budget)
            budget -= sum(len(text) for _, text in lines)
            blocks.extend(_blocks(clean(sheet.title), lines, page=page))
        title = book.properties.title
        warnings = tuple(_warnings(source.label, sheets, stream))
        return ParsedDocument(source.media_type, title or None, len(sheets), tuple(blocks), warnings)
    finally:
        book.close()


def _warnings(label: str, sheets: list[ReadOnlyWorksheet], stream: IO[bytes]) -> Iterator[str]:
    hidden = [one_line(clean(sheet.title)) for sheet in sheets if sheet.sheet_state != "visible"]
    if hidden:
        yield f"{label} has hidden sheets, which were read too: {listed(hidden)}."
    with zipfile.ZipFile(stream) as archive:
        if any(_COMMENTS.match(name) for name in archive.namelist()):
            yield f"{label} has comments, which were left out."


def _lines(source: SourceFile, sheet: ReadOnlyWorksheet, budget: int) -> list[tuple[int, str]]:
    """Numbers and texts of a sheet's rows, at most `budget` characters of them."""
    rows: list[_Row] = []
    used: set[int] = set()
    least = 0  # characters: values and what stands between them
    sheet.reset_dimensions()  # else rows are filled up with empty cells: 17 billion where one stands far away
    for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
        cells = dict(_cells(values))
        if cells:
            least += sum(map(len, cells.values())) + 3 * (len(cells) - 1)
            _check(source, budget - least)
            rows.append(_Row(number, cells))
            used.update(cells)
    columns = sorted(used)
    lines: list[tuple[int, str]] = []
    for row in rows:
        text = row_text(row.cells.get(column, "") for column in columns)
        budget -= len(text)
        _check(source, budget)
        lines.append((row.number, text))
    return lines


def _check(source: SourceFile, budget: int) -> None:
    if budget < 0:
        raise DocumentTooLarge(
            f"{source.label} holds more than {source.limits.characters:,} characters. Split the file."
        )


def _cells(values: Sequence[object]) -> Iterator[tuple[int, str]]:
    """Columns, from 1, and texts of what is not empty."""
    for column, value in enumerate(values, 1):
        if value is not None:
            text = one_line(cell_text(value))
            if text:
                yield column, text


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
