"""Owns what every parser starts from and ends with: the file to read, clean text, blocks that know their lines."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from compressor.limits import Limits
from compressor.parse.styled import Styled
from compressor.types import Block, BlockKind, Box

T = TypeVar("T", str, Styled)

LINES_PER_BLOCK = 40  # of tables and run-on text: short enough to cite, long enough to read
_LINE_END = re.compile(r"\r\n|[\r\x0b\x0c\x85]")  # the last is NEL, of mainframes
_COLOUR = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))"  # and the like, whole: of terminals
_CONTROL = re.compile(_COLOUR + "|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s{2,}|[^\S ]")  # what is not one space yet


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on its way into a parser. `name` is what the caller called it: metadata, never a path to open."""

    path: Path
    name: str
    media_type: str
    limits: Limits

    @property
    def label(self) -> str:
        """The name as messages show it: one line, no controls, no direction overrides, at most 120 characters."""
        return display_name(self.name)


def display_name(name: str) -> str:
    """A file name that is safe to print: controls and direction overrides become "?", the middle of a long one "…"."""
    shown = "".join("?" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in name)
    if len(shown) > 120:
        shown = shown[:80] + "…" + shown[-39:]
    return shown or "unnamed file"


def listed(names: Sequence[str]) -> str:
    """Names as a message lists them, not more than people read."""
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(display_name(name) for name in names[:10]) + more


def clean(text: T) -> T:
    """Line ends become line feeds; NUL, other controls, a terminal's colours and lone surrogates go; the rest stays."""
    return _sub(_CONTROL, "", _sub(_LINE_END, "\n", text))


def one_line(text: T) -> T:
    """Text with every run of white space as one space: titles, table cells, wrapped prose."""
    return _sub(_SPACE, " ", _sub(_CONTROL, "", text)).strip()


def _sub(pattern: re.Pattern[str], replacement: str, text: T) -> T:
    return text.sub(pattern, replacement) if isinstance(text, Styled) else pattern.sub(replacement, text)


def row_text(cells: Iterable[str]) -> str:
    """A table row on one line; "" when every cell is empty. Empty cells at the end are left out."""
    return " | ".join(_up_to_last(cells))


def styled_row(cells: Iterable[Styled]) -> Styled:
    """The same of styled cells."""
    return Styled.join(" | ", _up_to_last(cells))


def in_columns(cells: Iterable[tuple[T, int, int]], below: dict[int, int]) -> Iterator[T]:
    """A row's cells, each with its columns and rows -> one a column, so that columns stay in line.

    `below` says how many rows a cell above still covers of each column, and is kept up to date; what is covered is "".
    """
    column = 0
    for cell, width, height in cells:
        while below.get(column, 0):
            below[column] -= 1
            column += 1
            yield cell[:0]
        yield cell
        for covered in range(column, column + width):
            below[covered] = height - 1
            if covered > column:
                yield cell[:0]
        column += width
    for covered in [covered for covered, rows in below.items() if covered >= column and rows]:
        below[covered] -= 1


def _up_to_last(cells: Iterable[T]) -> list[T]:
    """Cells on one line each, without the empty ones at the end."""
    texts = [one_line(cell) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def styled_block(kind: BlockKind, text: Styled, page: int, box: Box, level: int = 0) -> Block:
    """A block of styled text."""
    return Block(kind, text.text, page, box, level, styles=text.runs)


def line_block(
    kind: BlockKind, text: str | Styled, *, first: int, last: int, total: int, level: int = 0, page: int = 1
) -> Block:
    """A block of a format without pages; `first` and `last` are source lines from 1, `total` the file's lines."""
    total = max(total, last, 1)
    box = Box(0.0, (first - 1) / total, 1.0, last / total)
    styled = text if isinstance(text, Styled) else Styled.of(text)
    return Block(kind, styled.text, page, box, level, (first, last), styled.runs)


def stacked(kinds_texts_levels: Sequence[tuple[BlockKind, Styled, int]], page: int) -> list[Block]:
    """Blocks of a format with neither lines nor positions, one under the other in equal slices of the page."""
    count = max(len(kinds_texts_levels), 1)
    return [
        styled_block(kind, text, page, Box(0.0, i / count, 1.0, (i + 1) / count), level)
        for i, (kind, text, level) in enumerate(kinds_texts_levels)
    ]


def line_groups(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Ranges (start, end) of lines between blank ones, each at most LINES_PER_BLOCK long."""
    groups: list[tuple[int, int]] = []
    start: int | None = None
    for i, line in enumerate([*lines, ""]):
        blank = not line.strip()
        if start is not None and (blank or i - start >= LINES_PER_BLOCK):
            groups.append((start, i))
            start = None
        if start is None and not blank:
            start = i
    return groups
