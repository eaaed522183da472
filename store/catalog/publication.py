"""Owns the queries that bring a document from bytes to ready: record what was parsed, hand out work, publish it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, func, insert, select, union_all, update
from sqlalchemy.orm import Session, aliased

from store import embeddings, lexical
from store.catalog import clock
from store.catalog.documents import delete_document, discard_blobs
from store.catalog.passages import keep_texts
from store.catalog.references import is_blob_in_use
from store.catalog.upsert import insert_new
from store.catalog.webhooks import tell_webhooks
from store.locks import lock, publishing
from store.models import Cache, Chunk, ChunkState, Document, DocumentState, Vector
from store.types import EncodedChunk, NewChunk, NewVector, Parsed, Published

# Made once, as others wait for the write lock while chunks are published: of chunks by id, their documents, ...
_OF_CHUNKS = Chunk.id.in_(bindparam("chunks", expanding=True))
_PARENTS = select(Chunk.id, Chunk.document_id).where(_OF_CHUNKS)
_PARENT_IDS = select(Chunk.document_id).where(_OF_CHUNKS)
# ... these documents' collections, ...
_INVOLVED = select(Document.collection_id).distinct().where(Document.id.in_(_PARENT_IDS))
# ... and the documents with the older versions that they replace, locked.
_OLDER, _NEWER = aliased(Document), aliased(Document)
_VERSIONS = (_OLDER.collection_id == _NEWER.collection_id) & (_OLDER.external_id == _NEWER.external_id)
_REPLACED = (
    select(_OLDER.id).join(_NEWER, _VERSIONS & (_OLDER.version < _NEWER.version)).where(_NEWER.id.in_(_PARENT_IDS))
)
_HELD = (
    select(Document.id, Document.collection_id)
    .where(Document.id.in_(union_all(_PARENT_IDS, _REPLACED)))
    .order_by(Document.id)
    .with_for_update()
)


def record_parsed(session: Session, document_id: str, parsed: Parsed) -> bool:
    """Stores what the parse step found; the document's chunks are pending now. False once it is deleted or ready.

    Safe to run twice: chunks that are there already (most of a long document's are, see `add_chunks`) stay as they are,
    published ones included; any difference replaces them all. A worker that publishes chunks which are gone is told so
    by `publish`. Nothing of the document may be locked yet in this transaction.
    """
    home = session.scalar(select(Document.collection_id).where(Document.id == document_id))
    if home is None:
        return False
    lock(session, [publishing(home)])  # before any document, as a publication does: older versions may go here as well
    document = session.get(Document, document_id, with_for_update=True)
    if document is None or document.state is DocumentState.READY:
        return False
    assert parsed.chunks
    assert [chunk.ordinal for chunk in parsed.chunks] == list(range(len(parsed.chunks)))
    if document.pending_blob is not None and document.pending_blob != parsed.pending_blob:
        discard_blobs(session, [document.pending_blob])
    document.media_type = parsed.media_type
    document.title = parsed.title or document.title
    document.source_pages = parsed.source_pages
    document.warnings = list(parsed.warnings)
    document.pending_blob = parsed.pending_blob
    document.chunk_count = len(parsed.chunks)
    document.text_tokens = sum(chunk.text_tokens for chunk in parsed.chunks)
    document.state = DocumentState.ENCODING
    session.flush()
    add_chunks(session, document_id, parsed.chunks[keep_chunks(session, document_id, parsed.chunks) :])
    _finish(session, document_id)  # a document that failed after its last chunk has nothing left to encode
    return True


def keep_chunks(session: Session, document_id: str, chunks: Sequence[NewChunk]) -> int:
    """How many of the chunks, from the first on, are there already; where a different one is there, all of them go."""
    known = select(Chunk.text_sha256, Chunk.heading, Chunk.layout, Chunk.passages)
    existing = session.execute(known.where(Chunk.document_id == document_id).order_by(Chunk.ordinal)).all()
    same = all(_is_same(chunk, *row) for chunk, row in zip(chunks, existing, strict=False))
    if same and len(existing) <= len(chunks):
        return len(existing)
    _drop_chunks(session, document_id)
    return 0


def _is_same(
    chunk: NewChunk, text_sha256: str, heading: str, layout: list[list[float | None]], passages: list[list[int]]
) -> bool:
    """Whether a chunk is the one of a row; another program may have found the same text elsewhere on the page."""
    return (chunk.text_sha256, chunk.heading) == (text_sha256, heading) and (
        [list(span) for span in chunk.layout] == layout and [list(passage) for passage in chunk.passages] == passages
    )


def add_chunks(session: Session, document_id: str, chunks: Sequence[NewChunk]) -> None:
    """Adds chunks of a document that is being parsed; nobody takes them up before it is recorded as parsed.

    A long document's are added in several transactions: uploads wait while one of them writes.
    """
    rows = [
        {
            "document_id": document_id,
            "ordinal": chunk.ordinal,
            "heading": chunk.heading,
            "characters": chunk.characters,
            "text_tokens": chunk.text_tokens,
            "text_sha256": chunk.text_sha256,
            "layout": chunk.layout,
            "passages": chunk.passages,
            "state": ChunkState.PENDING,
        }
        for chunk in chunks
    ]
    if rows:
        session.execute(insert(Chunk), rows)  # not as objects, which take longer


def _drop_chunks(session: Session, document_id: str) -> None:
    blobs = (
        select(Cache.blob).distinct().join(Chunk, Chunk.id == Cache.chunk_id).where(Chunk.document_id == document_id)
    )
    discard_blobs(session, session.scalars(blobs).all())
    lexical.forget_document(session, document_id)
    session.execute(delete(Chunk).where(Chunk.document_id == document_id))


def pending_chunks(session: Session, limit: int | None = None, *, document_id: str | None = None) -> list[Chunk]:
    """Chunks that wait for encoding, in order; of one document, or of all that are being encoded."""
    query = select(Chunk).join(Document, Document.id == Chunk.document_id)
    query = query.where(Chunk.state == ChunkState.PENDING, Document.state == DocumentState.ENCODING)
    if document_id is not None:
        query = query.where(Chunk.document_id == document_id)
    return list(session.scalars(query.order_by(Chunk.id).limit(limit)))


def publish(session: Session, encoded: Sequence[EncodedChunk]) -> Published:
    """Makes chunks ready, and every document whose last chunk is among them; older versions go in the same step.

    Safe to run twice: what is already there is kept, and a cache file that nothing names is put on the list for
    deletion. Chunks that are gone are skipped and named.
    """
    collections = _hold_documents(session, [item.chunk_id for item in encoded])
    chunks = dict(session.execute(_PARENTS, {"chunks": [item.chunk_id for item in encoded]}).all())
    known = [item for item in encoded if item.chunk_id in chunks]
    _insert_caches(session, known)
    _insert_vectors(session, known, chunks, collections)
    session.execute(update(Chunk).where(Chunk.id.in_(chunks)).values(state=ChunkState.READY))
    documents = dict.fromkeys(chunks.values())
    ready = tuple(document_id for document_id in documents if _finish(session, document_id))
    offered = {cache.blob for item in encoded for cache in item.caches}
    discard_blobs(session, [key for key in sorted(offered) if not is_blob_in_use(session, key)])
    return Published(
        ready=ready,
        skipped=tuple(item.chunk_id for item in encoded if item.chunk_id not in chunks),
    )


def _hold_documents(session: Session, chunk_ids: Sequence[int]) -> dict[str, str]:
    """Document id -> collection id of the chunks, locked against deletes and parses.

    Older versions, which may be deleted in the same step, are locked with them: all documents before anything else.
    One publication at a time in a collection: vector ids are drawn and committed in one order, which `vectors_after`
    relies on, and versions of a document replace each other one by one.
    """
    asked = {"chunks": list(chunk_ids)}
    lock(session, [publishing(collection_id) for collection_id in session.scalars(_INVOLVED, asked)])
    return dict(session.execute(_HELD, asked).all())


def _insert_caches(session: Session, encoded: Sequence[EncodedChunk]) -> None:
    rows = [
        {
            "chunk_id": item.chunk_id,
            "codec": cache.codec,
            "blob": cache.blob,
            "entry": cache.entry,
            "vision_tokens": cache.vision_tokens,
            "raw_char_accuracy": cache.raw_char_accuracy,
            "residual_bytes": cache.residual_bytes,
            "cache_bytes": cache.cache_bytes,
        }
        for item in encoded
        for cache in item.caches
    ]
    if rows:
        session.execute(insert_new(session, Cache), rows)


def _insert_vectors(
    session: Session, encoded: Sequence[EncodedChunk], documents: Mapping[int, str], collections: Mapping[str, str]
) -> None:
    """Vector rows; of those that are new, their texts and full-text rows. `documents`: chunk id -> document id."""
    passages: dict[tuple[int, str, int], NewVector] = {}  # by chunk, embedder, start
    rows: dict[tuple[int, str, int], dict[str, object]] = {}
    for item in encoded:
        document_id = documents[item.chunk_id]
        collection_id = collections[document_id]
        for vector in item.vectors:
            key = (item.chunk_id, vector.embedder, vector.start)
            passages[key] = vector
            rows[key] = {
                "collection_id": collection_id,
                "document_id": document_id,
                "chunk_id": item.chunk_id,
                "embedder": vector.embedder,
                "start": vector.start,
                "end": vector.end,
                "data": vector.data,
            }
    if not rows:
        return
    returned = (Vector.id, Vector.collection_id, Vector.chunk_id, Vector.embedder, Vector.start)
    statement = insert_new(session, Vector).returning(*returned)
    fresh: dict[str, dict[int, NewVector]] = {}
    copies: list[dict[str, object]] = []
    for vector_id, collection_id, chunk_id, embedder, start in session.execute(statement, list(rows.values())):
        row = rows[chunk_id, embedder, start]
        fresh.setdefault(collection_id, {})[vector_id] = passages[chunk_id, embedder, start]
        copies.append({"id": vector_id} | {name: row[name] for name in embeddings.COPIED})
    for collection_id, added in fresh.items():
        keep_texts(session, {vector_id: passage.text for vector_id, passage in added.items()})
        lexical.index(session, collection_id, {vector_id: passage.known_as for vector_id, passage in added.items()})
    embeddings.index(session, copies)


def _finish(session: Session, document_id: str) -> bool:
    """Marks the document ready when no chunk is pending; True if this call did it."""
    document = session.get(Document, document_id, with_for_update=True)
    pending = select(func.count()).where(Chunk.document_id == document_id, Chunk.state == ChunkState.PENDING)
    if document is None or document.state is not DocumentState.ENCODING or session.scalars(pending).one():
        return False
    document.state, document.finished_at = DocumentState.READY, clock.now(session)
    document.seconds = document.finished_at - (document.started_at or document.created_at)
    pending_blob, document.pending_blob = document.pending_blob, None
    session.flush()
    tell_webhooks(session, document)
    if document.external_id is not None:
        _drop_older_versions(session, document)
    if pending_blob is not None:
        discard_blobs(session, [pending_blob])
    return True


def _drop_older_versions(session: Session, document: Document) -> None:
    older = select(Document.id).where(
        Document.collection_id == document.collection_id,
        Document.external_id == document.external_id,
        Document.version < document.version,
    )
    for document_id in session.scalars(older.order_by(Document.id).with_for_update()).all():
        delete_document(session, document_id)
