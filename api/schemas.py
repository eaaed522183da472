"""Owns the shapes that HTTP speaks: requests are validated here, answers are built from reports and rows."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from api.library import DocumentReport
from api.plain import MOST, plain
from api.reports import AnswerReport, ContextReport
from api.search import Hit
from compressor.types import Box
from store.models import Document


def reachable(name: str) -> str:
    """The name itself. Raises ValueError where clients would make another address of it."""
    if name in (".", ".."):
        raise ValueError("must not be . or ..: addresses with these mean others")
    return name


Name = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f/]+$"),
    AfterValidator(reachable),
    AfterValidator(plain),
]
Where = Annotated[
    dict[str, object],
    Field(
        description="Metadata that must fit: a value, a list of values, or gt, gte, lt, lte, ne, in, exists.",
        examples=[{"year": {"gte": 2020}, "kind": ["memo", "letter"]}],
    ),
    AfterValidator(plain),
]


def worded(text: str) -> str:
    """The text itself. Raises ValueError for blanks alone, which every passage fits as well as any other."""
    if not text.strip():
        raise ValueError("is empty")
    return text


LONGEST = 10_000  # characters of a question
Words = Annotated[str, Field(min_length=1, max_length=LONGEST), AfterValidator(worded)]
About = Annotated[dict[str, object], AfterValidator(plain)]  # metadata
Title = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(plain)]
ExternalId = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(plain)]


class Shape(BaseModel):
    """Unknown fields are refused: a caller learns of a misspelt one at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as ISO 8601 shows them."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class DocumentOut(Shape):
    """A document, its state and its figures."""

    id: str
    external_id: str | None
    collection: str
    title: str
    state: str
    version: int
    media_type: str | None
    size: int
    sha256: str
    metadata: dict[str, object]
    source_pages: int | None
    chunks: int | None
    chunks_ready: int
    text_tokens: int | None
    vision_tokens: int | None
    compression: float | None = Field(description="text tokens per vision token")
    raw_char_accuracy: float | None
    exact: bool
    cache_bytes: int | None
    seconds: float | None
    error: str | None
    warnings: list[str]
    codecs: list[str]
    rates: dict[str, int] = Field(description="codec name -> chunks that were given that rate")
    created_at: datetime | None

    @classmethod
    def of(cls, document: Document, report: DocumentReport, *, collection: str, chunks_ready: int) -> Self:
        """From a row, its figures and its progress."""
        return cls(
            id=document.id,
            external_id=document.external_id,
            collection=collection,
            title=document.title,
            state=document.state.value,
            version=document.version,
            media_type=document.media_type,
            size=document.size,
            sha256=document.sha256,
            metadata=document.document_metadata,
            source_pages=document.source_pages,
            chunks=document.chunk_count,
            chunks_ready=chunks_ready,
            text_tokens=document.text_tokens,
            vision_tokens=report.vision_tokens,
            compression=report.compression,
            raw_char_accuracy=report.raw_char_accuracy,
            exact=report.exact,
            cache_bytes=report.cache_bytes,
            seconds=report.seconds,
            error=document.error,
            warnings=list(document.warnings),
            codecs=list(report.codecs),
            rates=dict(report.rates),
            created_at=moment(document.created_at),
        )


class DocumentPage(Shape):
    """Documents in the order of their arrival."""

    items: list[DocumentOut]
    next: str | None = Field(description="the cursor of the next page; null on the last")


class TextIn(Shape):
    """A text to ingest as a document."""

    collection: Name
    title: Title
    text: Annotated[str, Field(min_length=1)]
    external_id: ExternalId | None = None
    metadata: About | None = None


class UrlIn(Shape):
    """A URL to ingest what is there."""

    collection: Name
    url: Annotated[str, Field(min_length=1, max_length=4000)]
    title: Title | None = None
    external_id: ExternalId | None = None
    metadata: About | None = None


class BatchItem(Shape):
    """What became of one file of a batch: a document, or a problem."""

    title: str
    status: int
    document: DocumentOut | None = None
    problem: dict[str, object] | None = None


class BatchOut(Shape):
    """What became of every file, in the order they came."""

    items: list[BatchItem]


class ChunkText(Shape):
    """The text of one chunk, read out of its cache."""

    chunk: int
    text: str


class DocumentText(Shape):
    """A document's text, read out of its caches."""

    id: str
    chunks: list[ChunkText]


class Deleted(Shape):
    """How many documents went."""

    deleted: int


class CollectionIn(Shape):
    """A collection to make."""

    name: Name


class CollectionOut(Shape):
    """A collection and its figures."""

    name: str
    documents: int
    ready: int
    text_tokens: int
    vision_tokens: int
    cache_bytes: int
    created_at: datetime | None


class CollectionList(Shape):
    """The collections that the key reaches."""

    items: list[CollectionOut]


class SearchIn(Shape):
    """What to look for."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"query": "notice period", "collection": "contracts", "k": 5}]}
    )
    query: Words
    collection: Name
    k: Annotated[int, Field(ge=1, le=1000)] = 8
    filter: Where | None = None


class HitOut(Shape):
    """A chunk that fits, with its best passage."""

    document_id: str
    title: str
    chunk: int
    heading: str
    page: int
    boxes: list[Box]
    text: str
    score: float
    metadata: dict[str, object]


class Hits(Shape):
    """Hits, best first."""

    hits: list[HitOut]

    @staticmethod
    def json_of(hits: list[Hit]) -> bytes:
        """As JSON, what a search found: written as it is, since to make each a shape first takes twice as long."""
        return b'{"hits":' + _HITS.dump_json(hits) + b"}"


_HITS: TypeAdapter[list[Hit]] = TypeAdapter(list[Hit])  # of a sequence it would make a list first


class Loading(Shape):
    """A question, and which chunks are loaded for it."""

    question: Words
    collection: Name
    k: Annotated[int, Field(ge=1, le=1000, description="chunks to load; not with `whole`")] = 8
    whole: Annotated[bool, Field(description="load the whole collection instead of searching it")] = False
    filter: Where | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        """Raises ValueError for a number of chunks beside all of them: which one is meant?"""
        if self.whole and "k" in self.model_fields_set:
            raise ValueError("whole loads every chunk: leave out k")
        return self


class AskIn(Loading):
    """A question over a collection."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "How long is the notice period?", "collection": "contracts"}]}
    )
    decoder: Annotated[
        str | None,
        Field(max_length=1000, description="what answers; null: as the service is set"),
        AfterValidator(plain),
    ] = None
    budget: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST,
            description="vision tokens at most, for a decoder that reads pages; null: as the service is set",
        ),
    ] = None
    stream: Annotated[bool, Field(description="answer as server-sent events")] = False


class ContextIn(Loading):
    """A question whose context is wanted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"question": "How long is the notice period?", "collection": "contracts", "k": 8},
                {"question": "What changed in 2024?", "collection": "contracts", "whole": True, "budget": 20_000},
            ]
        }
    )
    budget: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST,
            description="vision tokens at most: the least relevant chunks are merged to higher rates; null: as stored",
        ),
    ] = None


class CitationOut(Shape):
    """Where a quote stands in its source."""

    document_id: str
    title: str
    page: int
    boxes: list[Box]
    quote: str
    lines: list[int] | None
    chunk: int | None = Field(
        description="that the quote was read out of, from 0; null where a model names a page of a PDF"
    )


class ContextOut(Shape):
    """What was loaded for an answer."""

    chunks: int
    vision_tokens: int
    text_tokens: int
    pages: int
    smaller: int
    left_out: int
    prefilled: int
    planned_bytes: int

    @classmethod
    def of(cls, context: ContextReport) -> Self:
        """From a report."""
        return cls(**asdict(context))


class AnswerOut(Shape):
    """An answer: the same object as `percel ask --json` prints."""

    answer: str
    abstained: bool
    citations: list[CitationOut]
    decoder: str
    mode: str
    confidence: float | None
    context: ContextOut
    timings: dict[str, float]
    cut_off: bool

    @classmethod
    def of(cls, report: AnswerReport) -> Self:
        """From a report."""
        return cls(
            answer=report.answer,
            abstained=report.abstained,
            citations=citations_of(report),
            decoder=report.decoder,
            mode=report.mode,
            confidence=report.confidence,
            context=ContextOut.of(report.context),
            timings=report.timings,
            cut_off=report.cut_off,
        )


def citations_of(report: AnswerReport) -> list[CitationOut]:
    """The citations of an answer, in order."""
    return [
        CitationOut(
            document_id=c.document_id,
            title=c.title,
            page=c.page,
            boxes=list(c.boxes),
            quote=c.quote,
            lines=None if c.lines is None else list(c.lines),
            chunk=c.chunk,
        )
        for c in report.citations
    ]
