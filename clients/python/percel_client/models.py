"""Owns the nouns that Percel answers with. Fields that a newer server adds are ignored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")

READY = "ready"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Document:
    """One ingested file. Figures are 0 or None until they are known."""

    id: str
    collection: str
    title: str
    state: str  # queued, parsing, encoding, ready or failed
    external_id: str | None = None
    version: int = 1
    media_type: str | None = None
    size: int = 0  # bytes
    sha256: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)
    source_pages: int = 0
    chunks: int = 0
    chunks_ready: int = 0
    text_tokens: int = 0
    vision_tokens: int = 0
    compression: float | None = None  # text tokens per vision token
    raw_char_accuracy: float | None = None  # before the residual that makes the caches exact
    exact: bool | None = None
    cache_bytes: int = 0
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    rates: Mapping[str, int] = field(default_factory=dict)  # "native-40" -> chunks that were given that rate
    created_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in (READY, FAILED)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one file of a batch was not accepted."""

    status: int
    title: str
    detail: str = ""
    type: str = "about:blank"
    errors: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What became of one file of a batch: a document or a problem."""

    title: str
    status: int
    document: Document | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many documents a filter deleted."""

    deleted: int


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A chunk's text, read out of its cache."""

    chunk: int  # from 0
    text: str


@dataclass(frozen=True, slots=True)
class DocumentText:
    """A document's text, read out of its caches."""

    id: str
    chunks: tuple[ChunkText, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """A named knowledge base."""

    name: str
    documents: int = 0
    ready: int = 0
    text_tokens: int = 0
    vision_tokens: int = 0
    cache_bytes: int = 0
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on a source page, normalised to 0..1, origin top left."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that fits a query, with its best passage."""

    document_id: str
    title: str
    chunk: int  # from 0
    page: int  # source page, from 1
    text: str  # the passage
    score: float  # comparable within one search only
    heading: str = ""
    boxes: tuple[Box, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)  # the document's


@dataclass(frozen=True, slots=True)
class Citation:
    """A verbatim quote and where it stands in its source; empty where a model read the page's image."""

    document_id: str
    title: str
    page: int  # from 1
    quote: str
    boxes: tuple[Box, ...] = ()
    lines: tuple[int, int] | None = None  # in formats without pages
    chunk: int | None = None  # that it was read out of, from 0; None where a model names a page of a PDF


@dataclass(frozen=True, slots=True)
class Context:
    """What was loaded for an answer."""

    chunks: int
    vision_tokens: int
    text_tokens: int
    pages: int = 0  # that a model read
    smaller: int = 0  # of these, not in their full size
    left_out: int = 0  # pages that did not fit
    prefilled: int = 0  # positions read for this question
    planned_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question is answered with."""

    answer: str
    abstained: bool
    citations: tuple[Citation, ...]
    decoder: str
    context: Context
    mode: str = "quotes"  # or "full", "block", "text", "images": a model's own words, and what it was given
    confidence: float | None = None  # 0..1
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds by step
    cut_off: bool = False  # the model had more to say than the service let it


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """The next piece of an answer that is streamed."""

    text: str


@dataclass(frozen=True, slots=True)
class JobCount:
    """How many jobs of a kind are in a state."""

    kind: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Jobs:
    """What work is due and what became of the rest."""

    due: Mapping[str, int]  # by kind
    states: tuple[JobCount, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job whose attempts are used up."""

    id: int
    kind: str
    document_id: str
    title: str = ""
    attempts: int = 0
    error: str | None = None  # of the last attempt
    died_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told when documents end."""

    id: str
    url: str
    collection: str | None = None
    created_at: datetime | None = None
    secret: str | None = field(default=None, repr=False)  # only in the answer that made it


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A webhook whose signature holds."""

    event: str
    delivery: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key; the key itself is known only to who made it."""

    id: str
    name: str
    scopes: tuple[str, ...]  # read, ingest, admin
    prefix: str = ""
    collections: tuple[str, ...] | None = None  # None: all
    requests_per_minute: int | None = None
    bytes_per_day: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    key: str | None = field(default=None, repr=False)  # only in the answer that made it


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A piece of a list, and where it goes on."""

    items: tuple[T, ...]
    next: str | None
