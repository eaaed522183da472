"""Owns what a question is answered with, as programs are told of it; the fields of `percel ask --json`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from compressor.types import Box

NOTHING_FOUND = "Nothing in these documents answers this."
CHUNKS = 8  # that are loaded for a question unless it says how many
Mode = Literal["quotes", "full", "block", "text", "images"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which collection, and how much is to be loaded for it."""

    text: str
    tenant: str
    collection: str | None = None  # None: as the settings say
    k: int = CHUNKS
    whole: bool = False  # the whole collection instead, as far as `where` leaves it
    where: Mapping[str, object] | None = None  # a filter over metadata
    decoder: str | None = None  # None: as the settings say
    # Vision tokens at most: of pages, for a decoder that reads pages, or of a context file. None: as the settings say.
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class CitationReport:
    """Where a quote stands in its source."""

    document_id: str
    title: str
    page: int  # from 1
    boxes: tuple[Box, ...]  # on that page, normalised, origin top left
    quote: str  # verbatim; "" where a model names a page, or a place on it that has no text
    lines: tuple[int, int] | None  # in formats without pages
    chunk: int | None = None  # that it was read out of, from 0; None where a model names a page of a PDF


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What was loaded for an answer."""

    chunks: int
    vision_tokens: int
    text_tokens: int  # of the same chunks, as the reference tokenizer counts them
    pages: int = 0  # page caches or images, where a model reads them
    smaller: int = 0  # of the pages, those that are not in their full size
    left_out: int = 0  # pages of the chosen chunks that did not fit the model's context or this machine's memory
    prefilled: int = 0  # positions that the model read for this question; fewer where it had read the pages before
    planned_bytes: int = 0  # of weights, page caches, keys and values and working space, planned before loading


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What a question is answered with; the fields of `percel ask --json`."""

    answer: str
    abstained: bool
    citations: tuple[CitationReport, ...]
    decoder: str
    # "quotes": verbatim; a model's own words over pages that it read with "full" or "block" attention; a remote model's
    # over the exact "text" of chunks, or over "images" of their pages.
    mode: Mode
    confidence: float | None  # 0..1; None where the decoder does not say
    context: ContextReport
    timings: dict[str, float]  # seconds by step
    cut_off: bool = False  # whether a model had more to say than PERCEL_ANSWER_TOKENS let it


def written_answer(
    text: str,
    citations: tuple[CitationReport, ...],
    *,
    decoder: str,
    mode: Mode,
    context: ContextReport,
    timings: dict[str, float],
    cut_off: bool = False,
) -> AnswerReport:
    """What a model wrote; where it wrote nothing, or was given nothing, it abstains."""
    return AnswerReport(text or NOTHING_FOUND, not text, citations, decoder, mode, None, context, timings, cut_off)


Step = ContextReport | str | AnswerReport  # of an answer as it is made: what was loaded, its pieces, the whole of it


def pieces_of(answer: str) -> Iterator[str]:
    """A ready answer in the pieces that are streamed: its lines, which together are the answer to the letter."""
    yield from answer.splitlines(keepends=True)
