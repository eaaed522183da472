"""Owns the tables.

Times are seconds since 1970 in UTC (float). There are no relationships: every join is written in the catalog.
A document's rows go with it by ON DELETE CASCADE, its full-text rows by the catalog, its blobs by the discard table.
"""

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DEFAULT_TENANT = "default"
PAGE_CODEC = "hf:"  # begins the codec of page caches, which are read by a model and do not give the text back


class DocumentState(StrEnum):
    """Where a document is on its way. Readers see `ready` ones only."""

    QUEUED = "queued"  # accepted, a parse job is due
    PARSING = "parsing"
    ENCODING = "encoding"  # chunks are known; some are published, none is visible yet
    READY = "ready"
    FAILED = "failed"  # `error` says why


class ChunkState(StrEnum):
    PENDING = "pending"  # has no cache yet
    READY = "ready"


class JobKind(StrEnum):
    PARSE = "parse"
    ENCODE = "encode"
    FINISH = "finish"
    PAGES = "pages"  # page caches of a ready document


class JobState(StrEnum):
    """Live jobs are queued or running; the others are history."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # permanent: trying again is useless
    DEAD = "dead"  # attempts used up; can be requeued by hand


_ID = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's integers have 64 bits, and only they count up there


def _state(states: type[StrEnum]) -> Enum:
    return Enum(
        states,
        native_enum=False,
        length=16,
        values_callable=lambda members: [state.value for state in members],
        validate_strings=True,  # a row of a forged backup would be one that no query can load
    )


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Collection(Base):
    """A named knowledge base of one tenant."""

    __tablename__ = "collection"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # uuid4 hex
    tenant: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float]
    served_at: Mapped[float] = mapped_column(default=0.0)  # when a worker last took a job of it: claims go round


class Document(Base):
    """One ingested file. Versions of one external_id count up; the highest ready one stays, the others go."""

    __tablename__ = "document"
    __table_args__ = (
        UniqueConstraint("collection_id", "external_id", "version"),
        Index(
            "uq_document_anonymous",
            "collection_id",
            "sha256",
            unique=True,
            sqlite_where=text("external_id IS NULL"),
            postgresql_where=text("external_id IS NULL"),
        ),
        Index(None, "collection_id", "sha256"),
        Index(None, "collection_id", "created_at", "id"),
        Index(None, "collection_id", "state", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)  # uuid4 hex
    tenant: Mapped[str] = mapped_column(String(63))  # its collection's: whose blobs its bytes are among
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"))
    external_id: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int]  # from 1, within the external_id
    title: Mapped[str] = mapped_column(Text)  # the file name as the caller gave it; never a path on disk
    sha256: Mapped[str] = mapped_column(String(64))  # of the source bytes
    size: Mapped[int] = mapped_column(BigInteger)  # bytes
    media_type: Mapped[str | None] = mapped_column(String(200))  # known after parsing
    blob: Mapped[str] = mapped_column(String(200), index=True)  # the source bytes
    pending_blob: Mapped[str | None] = mapped_column(String(200), index=True)  # chunk texts, from parse to ready
    state: Mapped[DocumentState] = mapped_column(_state(DocumentState))
    error: Mapped[str | None] = mapped_column(Text)
    warnings: Mapped[list[str]] = mapped_column(JSON)
    document_metadata: Mapped[dict[str, object]] = mapped_column("metadata", JSON)
    source_pages: Mapped[int | None]
    chunk_count: Mapped[int | None]
    text_tokens: Mapped[int | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]  # when parsing began, the last time
    finished_at: Mapped[float | None]  # when it became ready or failed
    seconds: Mapped[float | None]  # finished_at - started_at


class Chunk(Base):
    """A contiguous piece of a document that fills one image."""

    __tablename__ = "chunk"
    __table_args__ = (
        UniqueConstraint("document_id", "ordinal"),
        Index(None, "document_id", "state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)  # never reused
    document_id: Mapped[str] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"))
    ordinal: Mapped[int]  # from 0
    heading: Mapped[str] = mapped_column(Text)
    characters: Mapped[int]
    text_tokens: Mapped[int]
    text_sha256: Mapped[str] = mapped_column(String(64))  # of the text in UTF-8
    layout: Mapped[list[list[float | None]]] = mapped_column(JSON)  # [start, end, page, x0, y0, x1, y1, line0, line1]
    passages: Mapped[list[list[int]]] = mapped_column(JSON)  # [start, end] in characters
    state: Mapped[ChunkState] = mapped_column(_state(ChunkState))


class Cache(Base):
    """The stored tokens of one chunk under one codec: an entry in a cache file.

    Under a page codec it stands for the pages that begin in the chunk, `<entry>.0`, `<entry>.1` ... in a page file.
    """

    __tablename__ = "cache"
    __table_args__ = (UniqueConstraint("chunk_id", "codec"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    chunk_id: Mapped[int] = mapped_column(_ID, ForeignKey("chunk.id", ondelete="CASCADE"))
    codec: Mapped[str] = mapped_column(String(200))  # fingerprint
    blob: Mapped[str] = mapped_column(String(200), index=True)  # the cache file
    entry: Mapped[str] = mapped_column(String(200))  # the chunk's name inside it
    vision_tokens: Mapped[int]
    raw_char_accuracy: Mapped[float]  # 0..1, before the residual; 0 for page caches, which are not read back
    residual_bytes: Mapped[int]
    cache_bytes: Mapped[int]  # this chunk's share of the file


class Vector(Base):
    """A passage's retrieval embedding. `id` only grows: it is the sequence that index generations count by."""

    __tablename__ = "vector"
    __table_args__ = (
        UniqueConstraint("chunk_id", "embedder", "start"),
        Index(None, "collection_id", "embedder", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)  # never reused
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"))
    document_id: Mapped[str] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"), index=True)
    chunk_id: Mapped[int] = mapped_column(_ID, ForeignKey("chunk.id", ondelete="CASCADE"))
    embedder: Mapped[str] = mapped_column(String(200))  # fingerprint
    start: Mapped[int]  # of the passage, in the chunk's characters
    end: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)  # (d,) float16 little-endian, length 1


class Passage(Base):
    """The text of a passage: a view, as its cache reads back to the same. A hit is shown from here, without a codec."""

    __tablename__ = "passage"

    id: Mapped[int] = mapped_column(
        _ID, ForeignKey("vector.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    data: Mapped[bytes] = mapped_column(LargeBinary)  # UTF-8 in a zstd frame


_LIVE = text("state IN ('queued', 'running')")


class Job(Base):
    """What work is due. The row is the truth, a queue message is only a wake-up."""

    __tablename__ = "job"
    __table_args__ = (
        Index("uq_job_live", "document_id", "kind", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index(None, "state", "kind", "id"),
        Index(None, "collection_id", "state", "kind", "id"),
        Index(None, "document_id"),
        Index(None, "last_progress"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    kind: Mapped[JobKind] = mapped_column(_state(JobKind))
    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"))
    document_id: Mapped[str] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"))
    state: Mapped[JobState] = mapped_column(_state(JobState))
    attempts: Mapped[int]  # counted before the work starts
    not_before: Mapped[float]  # a retry waits until then
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[float | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    last_progress: Mapped[float | None]  # when its worker last said that it lives
    created_at: Mapped[float]
    updated_at: Mapped[float]


class ApiKey(Base):
    """A caller's key. The key itself is shown once and never stored."""

    __tablename__ = "api_key"
    __table_args__ = (UniqueConstraint("sha256"), Index(None, "tenant"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(200))  # for people
    prefix: Mapped[str] = mapped_column(String(16))  # the beginning of the key, to tell keys apart
    sha256: Mapped[str] = mapped_column(String(64))  # of the key
    scopes: Mapped[list[str]] = mapped_column(JSON)
    collections: Mapped[list[str] | None] = mapped_column(JSON)  # names it may touch; None: all of its tenant's
    requests_per_minute: Mapped[int | None]  # None: as the settings say
    bytes_per_day: Mapped[int | None] = mapped_column(BigInteger)  # of uploads; None: as the settings say
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]  # to the minute


class IdempotentReply(Base):
    """What a request with an Idempotency-Key was answered with; the same key again gets the same answer."""

    __tablename__ = "idempotent_reply"

    tenant: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))  # another request under the same key is refused
    status: Mapped[int]
    body: Mapped[dict[str, object]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(index=True)


class Webhook(Base):
    """An address that is told when documents become ready or fail."""

    __tablename__ = "webhook"
    __table_args__ = (Index(None, "tenant"), Index(None, "collection_id"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(63))
    collection_id: Mapped[str | None] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"))  # None: all
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(200))  # signs what is sent: HMAC needs it in clear
    created_at: Mapped[float]


class DeliveryState(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    DEAD = "dead"  # given up


class Delivery(Base):
    """One message to one webhook, sent at least once."""

    __tablename__ = "delivery"
    __table_args__ = (Index(None, "state", "not_before"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(_ID, primary_key=True, autoincrement=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(50))  # document.ready, document.failed
    body: Mapped[dict[str, object]] = mapped_column(JSON)
    state: Mapped[DeliveryState] = mapped_column(_state(DeliveryState))
    attempts: Mapped[int]
    not_before: Mapped[float]  # the next attempt; while one is made, when it counts as lost
    last_error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float]


class Generation(Base):
    """The manifest of one index file on one node, of vectors or of words: a view of the vector rows up to max_seq."""

    __tablename__ = "generation"

    collection_id: Mapped[str] = mapped_column(ForeignKey("collection.id", ondelete="CASCADE"), primary_key=True)
    embedder: Mapped[str] = mapped_column(String(200), primary_key=True)  # of a word index its format and the embedder
    node: Mapped[str] = mapped_column(String(32), primary_key=True)  # whose disk the file is on
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    max_seq: Mapped[int] = mapped_column(_ID)  # the highest Vector.id in it
    vectors: Mapped[int] = mapped_column(_ID)
    sha256: Mapped[str] = mapped_column(String(64))
    faiss_version: Mapped[str] = mapped_column(String(50))  # of a word index its format
    file: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float]


class Discard(Base):
    """A blob that lost a reference: it is deleted after commit, unless another row still names it."""

    __tablename__ = "discard"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    created_at: Mapped[float]
