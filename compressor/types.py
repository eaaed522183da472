"""Owns the nouns that pass between modules: boxes, blocks, chunks, passages."""

from dataclasses import dataclass
from enum import StrEnum

from compressor.styles import StyleRun


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a source page, normalised to 0..1, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float


WHOLE_PAGE = Box(0.0, 0.0, 1.0, 1.0)


class BlockKind(StrEnum):
    """What a block is; decides how blocks are joined and where a chunk may end."""

    HEADING = "heading"
    TEXT = "text"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document's text that stands in one place: a paragraph, a heading, a table row group."""

    kind: BlockKind
    text: str  # no trailing line feed; table rows one a line, cells between " | "
    page: int  # source page, from 1
    box: Box
    level: int = 0  # of a heading, 1 is the highest
    lines: tuple[int, int] | None = None  # first and last line, from 1, in formats without pages
    styles: tuple[StyleRun, ...] = ()  # of ranges of the text; what the kind says already is not repeated


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser found in a file."""

    media_type: str
    title: str | None
    source_pages: int
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...] = ()  # for people: "page 3 has no text layer and no OCR is installed"


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a chunk's characters, and where on a source page it stands."""

    start: int
    end: int
    page: int
    box: Box
    lines: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A range of a chunk's characters, about 150 text tokens: the unit that is embedded and ranked."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous piece of a document that fills one image."""

    ordinal: int  # from 0 within the document
    text: str
    heading: str  # the headings above its start, "Chapter > Section"; "" where there are none
    text_tokens: int
    spans: tuple[Span, ...]  # in order, not overlapping; together they cover every character but separators
    passages: tuple[Passage, ...]
    styles: tuple[StyleRun, ...] = ()  # of ranges of the text, in order, not overlapping
