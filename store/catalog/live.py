"""Owns the queries behind answers. They see ready documents only, so a delete counts from its commit on.

A chunk has one exact cache, which reads back to its text, and a page cache for every vision-language model that the
collection keeps. Queries give the exact ones unless they are asked for those of a page codec.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence

from sqlalchemy import ColumnElement, bindparam, exists, func, select
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.models import PAGE_CODEC, Cache, Chunk, Document, DocumentState, Vector
from store.types import ChunkCache, LiveChunk, LivePassage

_BATCH = 500  # ids in one statement
EXACT = Cache.codec.not_like(f"{PAGE_CODEC}%")


# Asked for every search, so the statement is made once, and of columns: no objects come of it. What only the chunk's
# row knows is asked for the few that are shown (`live_chunks`).
_PASSAGES = (
    select(
        Vector.__table__.c.id,
        Vector.__table__.c.document_id,
        Document.__table__.c.title,
        Vector.__table__.c.chunk_id,
        Vector.__table__.c.start,
        Vector.__table__.c.end,
        Vector.__table__.c.collection_id,
    )
    .join(Document.__table__, Document.__table__.c.id == Vector.__table__.c.document_id)
    .where(
        Vector.__table__.c.id.in_(bindparam("ids", expanding=True)),
        Document.__table__.c.state == DocumentState.READY,
    )
)
_SHOWN = (
    select(
        Chunk.__table__.c.id,
        Document.__table__.c.id,
        Document.__table__.c.title,
        Document.__table__.c.metadata,
        Chunk.__table__.c.ordinal,
        Chunk.__table__.c.heading,
        Chunk.__table__.c.layout,
    )
    .join(Document.__table__, Document.__table__.c.id == Chunk.__table__.c.document_id)
    .where(
        Chunk.__table__.c.id.in_(bindparam("ids", expanding=True)),
        Document.__table__.c.state == DocumentState.READY,
    )
)
_CHUNKS = (
    select(Chunk)
    .join(Document, Document.id == Chunk.document_id)
    .where(Chunk.id.in_(bindparam("ids", expanding=True)), Document.state == DocumentState.READY)
)


def passages_by_vector_ids(
    session: Session,
    collection_id: str,
    vector_ids: Sequence[int],
    *,
    document_ids: AbstractCollection[str] | None = None,
) -> list[LivePassage]:
    """The passages behind search hits, in the order of the hits; what is not live (or not asked for) is left out."""
    found: dict[int, LivePassage] = {}
    for first in range(0, len(vector_ids), _BATCH):
        # The collection is compared here: as a condition it makes SQLite walk all its vectors, not just these.
        for row in session.connection().execute(_PASSAGES, {"ids": vector_ids[first : first + _BATCH]}).all():
            live, home = LivePassage._make(row[:-1]), row[-1]
            if home == collection_id and (document_ids is None or live.document_id in document_ids):
                found[live.vector_id] = live
    return [found[vector_id] for vector_id in vector_ids if vector_id in found]


def list_chunks(session: Session, document_id: str) -> list[Chunk]:
    """A document's chunks in order, whatever its state."""
    return list(session.scalars(select(Chunk).where(Chunk.document_id == document_id).order_by(Chunk.ordinal)))


def find_chunk(session: Session, document_id: str, ordinal: int) -> Chunk:
    """One chunk of a document. Raises: NotFound."""
    found = session.scalar(select(Chunk).where(Chunk.document_id == document_id, Chunk.ordinal == ordinal))
    if found is None:
        raise NotFound("chunk", f"{document_id}/{ordinal}", "Chunks of a document are numbered from 0.")
    return found


def chunks_by_ids(session: Session, chunk_ids: Sequence[int]) -> dict[int, Chunk]:
    """The chunks of ready documents by id."""
    found: dict[int, Chunk] = {}
    for first in range(0, len(chunk_ids), _BATCH):
        ready = session.scalars(_CHUNKS, {"ids": chunk_ids[first : first + _BATCH]})
        found |= {chunk.id: chunk for chunk in ready}
    return found


def live_chunks(session: Session, chunk_ids: Sequence[int]) -> dict[int, LiveChunk]:
    """What answers show of the chunks of ready documents, by id."""
    found: dict[int, LiveChunk] = {}
    for first in range(0, len(chunk_ids), _BATCH):
        rows = session.connection().execute(_SHOWN, {"ids": chunk_ids[first : first + _BATCH]}).all()
        found |= {row[0]: LiveChunk(*row) for row in rows}
    return found


def context_tokens(session: Session, collection_id: str, *, document_ids: AbstractCollection[str] | None = None) -> int:
    """Vision tokens of the caches of a collection's ready documents; with document_ids only of those."""
    query = select(Chunk.document_id, func.sum(Cache.vision_tokens)).join(Chunk, Chunk.id == Cache.chunk_id)
    query = query.join(Document, Document.id == Chunk.document_id)
    query = query.where(Document.collection_id == collection_id, Document.state == DocumentState.READY, EXACT)
    tokens = dict(session.execute(query.group_by(Chunk.document_id)).all())
    return sum(count for key, count in tokens.items() if document_ids is None or key in document_ids)


def collection_caches(
    session: Session, collection_id: str, *, document_ids: AbstractCollection[str] | None = None
) -> list[ChunkCache]:
    """The caches of a collection's ready documents: in the order of arrival, then of the chunks.

    With document_ids only of those.
    """
    rows = _caches(session, Document.collection_id == collection_id, Document.state == DocumentState.READY)
    return [row for row in rows if document_ids is None or row.document_id in document_ids]


def chunk_caches(session: Session, chunk_ids: Sequence[int]) -> list[ChunkCache]:
    """The caches of some chunks of ready documents, in the order of the ids."""
    found: list[ChunkCache] = []
    for first in range(0, len(chunk_ids), _BATCH):
        wanted = Chunk.id.in_(chunk_ids[first : first + _BATCH])
        found += _caches(session, wanted, Document.state == DocumentState.READY)
    places = {chunk_id: place for place, chunk_id in enumerate(chunk_ids)}
    return sorted(found, key=lambda cache: places[cache.chunk_id])


def document_caches(session: Session, document_id: str) -> list[ChunkCache]:
    """The caches of one document in the order of its chunks, whatever its state."""
    return _caches(session, Document.id == document_id)


def page_caches(session: Session, document_ids: Sequence[str], codec: str) -> list[ChunkCache]:
    """The page caches of ready documents under one codec: in the order of arrival, then of the chunks."""
    found: list[ChunkCache] = []
    for first in range(0, len(document_ids), _BATCH):
        wanted = Document.id.in_(document_ids[first : first + _BATCH])
        found += _caches(session, wanted, Document.state == DocumentState.READY, codec=codec)
    return found


def chunks_without(session: Session, document_id: str, codec: str) -> list[Chunk]:
    """The chunks of a ready document that have no cache under a codec, in order."""
    has = exists().where(Cache.chunk_id == Chunk.id, Cache.codec == codec)
    query = select(Chunk).join(Document, Document.id == Chunk.document_id)
    query = query.where(Chunk.document_id == document_id, Document.state == DocumentState.READY, ~has)
    return list(session.scalars(query.order_by(Chunk.ordinal)))


def documents_without(session: Session, codec: str, *, collection_id: str | None = None) -> list[str]:
    """The ids of ready documents with chunks that have no cache under a codec, in the order of arrival."""
    has = exists().where(Cache.chunk_id == Chunk.id, Cache.codec == codec)
    lacking = exists().where(Chunk.document_id == Document.id, ~has)
    query = select(Document.id).where(Document.state == DocumentState.READY, lacking)
    if collection_id is not None:
        query = query.where(Document.collection_id == collection_id)
    return list(session.scalars(query.order_by(Document.created_at, Document.id)))


def documents_with_others(
    session: Session, model: str, keep: AbstractCollection[str], *, collection_id: str
) -> list[str]:
    """The ids of a collection's ready documents with page caches of a model under other codecs than those to keep."""
    query = select(Document.id).distinct().join(Chunk, Chunk.document_id == Document.id)
    query = query.join(Cache, Cache.chunk_id == Chunk.id)
    query = query.where(Document.collection_id == collection_id, Document.state == DocumentState.READY)
    return list(
        session.scalars(query.where(Cache.codec.startswith(f"{model}+", autoescape=True), Cache.codec.not_in(keep)))
    )


def live_documents(session: Session, document_ids: Sequence[str]) -> list[Document]:
    """Those of the documents that are ready, in the order of arrival."""
    found: list[Document] = []
    for first in range(0, len(document_ids), _BATCH):
        wanted = Document.id.in_(document_ids[first : first + _BATCH])
        found += session.scalars(select(Document).where(wanted, Document.state == DocumentState.READY))
    return sorted(found, key=lambda document: (document.created_at, document.id))


def live_blobs(session: Session, keys: AbstractCollection[str]) -> set[str]:
    """Those of the cache files that a ready document names."""
    found: set[str] = set()
    listed = sorted(keys)
    for first in range(0, len(listed), _BATCH):
        query = select(Cache.blob).distinct().join(Chunk, Chunk.id == Cache.chunk_id)
        query = query.join(Document, Document.id == Chunk.document_id)
        wanted = Cache.blob.in_(listed[first : first + _BATCH])
        found.update(session.scalars(query.where(wanted, Document.state == DocumentState.READY)))
    return found


def _caches(session: Session, *conditions: ColumnElement[bool], codec: str | None = None) -> list[ChunkCache]:
    query = (
        select(
            Chunk.document_id,
            Chunk.id.label("chunk_id"),
            Chunk.ordinal,
            Chunk.characters,
            Chunk.text_tokens,
            Chunk.text_sha256,
            Cache.codec,
            Cache.blob,
            Cache.entry,
            Cache.vision_tokens,
        )
        .join(Document, Document.id == Chunk.document_id)
        .join(Cache, Cache.chunk_id == Chunk.id)
        .where(EXACT if codec is None else Cache.codec == codec, *conditions)
        .order_by(Document.created_at, Document.id, Chunk.ordinal, Cache.codec)
    )
    return [ChunkCache(**row) for row in session.execute(query).mappings()]
