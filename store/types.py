"""Owns the nouns that go into and come out of the catalog and are not rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from store.models import PAGE_CODEC, DeliveryState, DocumentState, JobKind, JobState


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk as the parse step found it. Its text waits in the document's pending blob."""

    ordinal: int
    heading: str
    characters: int
    text_tokens: int
    text_sha256: str  # of the text in UTF-8
    layout: list[list[float | None]]  # [start, end, page, x0, y0, x1, y1, line0, line1]
    passages: list[list[int]]  # [start, end]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the parse step found in a document."""

    media_type: str
    title: str | None  # from inside the file; the file name stays the title where there is none
    source_pages: int
    warnings: tuple[str, ...]
    pending_blob: str  # key of the chunk texts
    chunks: tuple[NewChunk, ...]  # at least one, ordinals 0, 1, 2 ...


@dataclass(frozen=True, slots=True)
class NewCache:
    """A cache whose file is already in the blob store."""

    codec: str  # fingerprint
    blob: str
    entry: str
    vision_tokens: int
    raw_char_accuracy: float
    residual_bytes: int
    cache_bytes: int


@dataclass(frozen=True, slots=True)
class NewVector:
    """A passage's embedding, and its text."""

    embedder: str  # fingerprint
    start: int
    end: int
    data: bytes  # (d,) float16 little-endian, length 1
    text: str  # the passage's characters
    known_as: str  # what the full-text index has of it: the text under its heading


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """Everything that makes one chunk ready."""

    chunk_id: int
    caches: tuple[NewCache, ...]
    vectors: tuple[NewVector, ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication changed."""

    ready: tuple[str, ...]  # documents that became ready with it
    skipped: tuple[int, ...]  # chunk ids whose document is gone or was parsed anew: their work was dropped


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """The caches of one document (or collection) under one codec, added up."""

    codec: str
    chunks: int
    text_tokens: int
    vision_tokens: int
    raw_char_accuracy: float  # mean, weighted by characters
    residual_bytes: int
    cache_bytes: int

    @property
    def exact(self) -> bool:
        """Whether these caches read back to their text; page caches do not."""
        return not self.codec.startswith(PAGE_CODEC)


class LivePassage(NamedTuple):
    """A passage of a ready document, as a search finds it: a hundred at a time, so it is a tuple, as rows are."""

    vector_id: int
    document_id: str
    title: str  # of the document
    chunk_id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LiveChunk:
    """A chunk of a ready document, as an answer shows it."""

    id: int
    document_id: str
    title: str  # of the document
    metadata: Mapping[str, object]  # of the document
    ordinal: int
    heading: str
    layout: list[list[float | None]]  # as the row holds it


@dataclass(frozen=True, slots=True)
class ChunkCache:
    """Where to read one chunk from."""

    document_id: str
    chunk_id: int
    ordinal: int
    characters: int
    text_tokens: int
    text_sha256: str
    codec: str  # fingerprint
    blob: str
    entry: str
    vision_tokens: int

    @property
    def expected(self) -> tuple[str, int]:
        """What its entry is to be of: the sha256 of its text, and its tokens."""
        return self.text_sha256, self.vision_tokens


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What is there and what is due."""

    documents: dict[DocumentState, int]
    vectors: int
    jobs: dict[tuple[JobKind, JobState], int]


@dataclass(frozen=True, slots=True)
class Place:
    """A document's place in the order of arrival; holds when the document itself is gone."""

    created_at: float
    id: str


@dataclass(frozen=True, slots=True)
class CollectionFigures:
    """What a collection holds."""

    documents: int
    ready: int
    text_tokens: int
    vision_tokens: int
    cache_bytes: int


@dataclass(frozen=True, slots=True)
class ReadyDocuments:
    """What a collection's ready documents are known by: equal ones are the same documents."""

    count: int
    last_at: float | None  # when the last of them became ready


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job whose attempts are used up."""

    id: int
    kind: JobKind
    document_id: str
    title: str
    attempts: int
    last_error: str | None
    died_at: float


@dataclass(frozen=True, slots=True)
class PassageWords:
    """A passage as SQLite's full text stores it."""

    id: int  # of its vector
    body: str


@dataclass(frozen=True, slots=True)
class IndexState:
    """What an index must hold to be current."""

    max_seq: int  # the highest id of its rows, 0 where there are none
    number: int  # of the newest generation on the node, 0 where there is none


@dataclass(frozen=True, slots=True)
class VectorRow:
    """A row of the vector index."""

    id: int
    data: bytes  # (d,) float16 little-endian


@dataclass(frozen=True, slots=True)
class UnwordedPassage:
    """A passage that has a vector and is not in the full text."""

    vector_id: int
    collection_id: str
    ordinal: int  # of its chunk
    heading: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DueWork:
    """What waits, over all tenants."""

    jobs: dict[tuple[JobKind, JobState], int]
    deliveries: dict[DeliveryState, int]
    oldest_seconds: float  # that the oldest job which could run has been waiting; 0 where none waits
    stalled_seconds: float  # that jobs which could run have been waiting with no worker at work; 0 where none waits


@dataclass(frozen=True, slots=True)
class DocumentTotals:
    """Documents of one tenant in one state."""

    tenant: str
    state: DocumentState
    documents: int
    chunks: int
    text_tokens: int


@dataclass(frozen=True, slots=True)
class CacheTotals:
    """Caches of one tenant under one codec."""

    tenant: str
    codec: str
    text_tokens: int  # of the chunks that they hold
    vision_tokens: int
    cache_bytes: int
