"""Owns what every decoder is given and what it returns. Knows nothing of where chunks are kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from compressor.types import Box, Span


class ScoredPassage(NamedTuple):
    """A passage that search found in a chunk. A tuple is made in a third of the time, and each search makes dozens."""

    start: int
    end: int
    score: float  # as `fuse` gives it, higher is better


@dataclass(frozen=True, slots=True)
class Evidence:
    """A chunk whose cache is loaded, and the passages of it that bear on the question."""

    document_id: str
    title: str
    chunk_id: int
    heading: str
    spans: tuple[Span, ...]
    passages: tuple[ScoredPassage, ...]
    read: Callable[[int, int], str]  # characters start..end, verbatim, out of the chunk's cache


@dataclass(frozen=True, slots=True)
class Citation:
    """A verbatim quote and the place in the source that it was taken from."""

    document_id: str
    title: str
    chunk_id: int
    page: int  # source page the quote begins on, from 1
    boxes: tuple[Box, ...]  # on that page, in reading order
    quote: str
    start: int  # the quote's range in the chunk
    end: int
    score: float  # comparable within one answer only
    lines: tuple[int, int] | None = None  # in formats without pages


@dataclass(frozen=True, slots=True)
class Answer:
    """What a decoder says. An abstained answer has a text that says so and no citations."""

    text: str
    abstained: bool
    citations: tuple[Citation, ...]  # best first
    confidence: float  # 0..1; below the decoder's threshold it abstains


class Decoder(Protocol):
    """Turns a question and loaded chunks into an answer."""

    @property
    def name(self) -> str:
        """As it is chosen by and reported under."""

    @property
    def passages(self) -> int:
        """The most passages it reads, best first; a caller may read them ahead in one batch."""

    def answer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """The evidence in any order; the passages' scores say what search thought of it."""


def cite(evidence: Evidence, start: int, end: int, *, quote: str, score: float) -> Citation:
    """The citation of a range of the chunk's characters; a range over several spans has several boxes."""
    touched = [span for span in evidence.spans if span.start < end and start < span.end]
    page = touched[0].page if touched else 1
    on_page = [span for span in touched if span.page == page]
    ranges = [span.lines for span in on_page if span.lines is not None]
    return Citation(
        document_id=evidence.document_id,
        title=evidence.title,
        chunk_id=evidence.chunk_id,
        page=page,
        boxes=tuple(dict.fromkeys(span.box for span in on_page)),
        quote=quote,
        start=start,
        end=end,
        score=score,
        lines=(min(first for first, _ in ranges), max(last for _, last in ranges)) if ranges else None,
    )
