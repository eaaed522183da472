"""Owns the queries about documents: accept, find, list, fail, delete."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, literal, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from store.catalog import clock
from store.catalog.jobs import begin, enqueue
from store.catalog.upsert import add_new, insert_or_touch
from store.catalog.webhooks import tell_webhooks
from store.errors import NotFound
from store.lexical import forget_document
from store.models import Cache, Chunk, ChunkState, Collection, Discard, Document, DocumentState, Job, JobKind, JobState
from store.types import CacheFigures, Place

# Statements of an upload are made once: others wait for the write lock meanwhile.
_NAMED = (
    select(Document)
    .where(Document.collection_id == bindparam("collection"), Document.external_id == bindparam("external"))
    .order_by(Document.version.desc())
    .limit(1)
    .with_for_update()
    .execution_options(populate_existing=True)
)
_LATER = aliased(Document)
_IS_REPLACED = exists().where(  # or will be, when a later version is ready; never of an anonymous document
    _LATER.collection_id == Document.collection_id,
    _LATER.external_id == Document.external_id,
    _LATER.version > Document.version,
)
_SAME = (  # an anonymous file is the same as any document that stays with its bytes; prefer the anonymous one
    select(Document)
    .where(Document.collection_id == bindparam("collection"), Document.sha256 == bindparam("sha256"), ~_IS_REPLACED)
    .order_by(Document.external_id.is_not(None), Document.created_at.desc())
    .limit(1)
    .with_for_update()
    .execution_options(populate_existing=True)
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an offered file."""

    document: Document
    created: bool  # False: these bytes are already there, or on their way
    job: Job | None  # the parse job that is due now; None where nothing has to run


def accept_document(
    session: Session,
    home: Collection,
    *,
    title: str,
    sha256: str,
    size: int,
    blob: str,
    external_id: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Accepted:
    """Registers a file whose bytes are in the blob store, and its parse job.

    With an external_id that names the document, its newest version is compared; without one the bytes name it.
    The same bytes: the existing document (a failed one is queued again; given metadata replaces the old, and so does
    the title where the document is named).
    New bytes for an external_id: a new version beside the old one, which goes when the new one is ready. Without
    metadata of its own it has the old one's.
    `home` comes from `ensure_collection` in this transaction: locked before any document, as a delete of it does.
    """
    document: Document | None = None
    while document is None:  # until nobody else adds the same one at the same moment
        newest = _newest(session, home.id, external_id=external_id, sha256=sha256)
        if newest is not None and newest.sha256 == sha256:
            if metadata is not None:
                newest.document_metadata = dict(metadata)
            if external_id is not None:
                newest.title = title
            return Accepted(newest, created=False, job=requeue_document(session, newest))
        kept = {} if newest is None or external_id is None else newest.document_metadata
        values: dict[str, object] = {
            "id": uuid4().hex,
            "tenant": home.tenant,
            "collection_id": home.id,
            "external_id": external_id,
            "version": 1 if newest is None else newest.version + 1,
            "title": title,
            "sha256": sha256,
            "size": size,
            "blob": blob,
            "state": DocumentState.QUEUED,
            "warnings": [],
            "document_metadata": dict(kept if metadata is None else metadata),
            "created_at": time.time(),
        }
        document = add_new(session, Document, values)
    return Accepted(document, created=True, job=begin(session, document, JobKind.PARSE))


def requeue_document(session: Session, document: Document) -> Job | None:
    """Starts a failed document again: the parse job that is due, or None where it has not failed.

    Chunks that were already published are kept when the new parse finds the same ones.
    """
    session.flush()
    locked = session.get(Document, document.id, with_for_update=True, populate_existing=True)
    if locked is None or locked.state is not DocumentState.FAILED:
        return None
    document.state, document.error, document.finished_at, document.seconds = DocumentState.QUEUED, None, None, None
    session.flush()
    return enqueue(session, document.id, JobKind.PARSE)


def _newest(session: Session, collection_id: str, *, external_id: str | None, sha256: str) -> Document | None:
    """The document that the offered file is, or is a new version of; locked, so that it stays what it is."""
    if external_id is not None:
        return session.scalar(_NAMED, {"collection": collection_id, "external": external_id})
    return session.scalar(_SAME, {"collection": collection_id, "sha256": sha256})


def find_document(session: Session, tenant: str, document_id: str) -> Document:
    """The tenant's document, in any state. Raises: NotFound."""
    found = session.scalar(select(Document).where(Document.tenant == tenant, Document.id == document_id))
    if found is None:
        raise NotFound("document", document_id, "List the documents to see their ids.")
    return found


def load_document(session: Session, document_id: str) -> Document | None:
    """The document for a worker, whoever owns it; None once it is deleted."""
    return session.get(Document, document_id)


def hold_document(session: Session, document_id: str) -> None:
    """Nobody deletes or changes the document until the transaction ends."""
    session.execute(select(Document.id).where(Document.id == document_id).with_for_update())


def list_documents(
    session: Session,
    collection_id: str,
    *,
    state: DocumentState | None = None,
    newest_first: bool = False,
    after: Place | None = None,
    limit: int | None = None,
) -> list[Document]:
    """A collection's documents in the order of their arrival, or the other way round.

    `after` is the place of the last one already seen in that order.
    """
    query = select(Document).where(Document.collection_id == collection_id)
    if state is not None:
        query = query.where(Document.state == state)
    if after is not None:
        place = tuple_(Document.created_at, Document.id)
        seen = tuple_(literal(after.created_at), literal(after.id))
        query = query.where(place < seen if newest_first else place > seen)
    order = [column.desc() if newest_first else column.asc() for column in (Document.created_at, Document.id)]
    return list(session.scalars(query.order_by(*order).limit(limit)))


def documents_named(session: Session, collection_id: str, name: str, *, first_of_id: bool = False) -> list[Document]:
    """A collection's documents with that id or title, or whose ids begin so, in the order of their arrival."""
    begins = func.substr(Document.id, 1, len(name)) == name
    named = begins if first_of_id else (Document.id == name) | (Document.title == name)
    query = select(Document).where(Document.collection_id == collection_id, named)
    return list(session.scalars(query.order_by(Document.created_at, Document.id)))


def documents_from(session: Session, blobs: Iterable[str]) -> list[Document]:
    """The documents, whoever's, whose sources are among the blobs."""
    wanted = sorted(blobs)
    found: list[Document] = []
    for first in range(0, len(wanted), 500):
        query = select(Document).where(Document.blob.in_(wanted[first : first + 500]))
        found += session.scalars(query.order_by(Document.created_at, Document.id))
    return found


def ready_chunks(session: Session, document_ids: Iterable[str]) -> dict[str, int]:
    """How many chunks of each document are published: how far it got."""
    query = select(Chunk.document_id, func.count()).where(
        Chunk.document_id.in_(list(document_ids)), Chunk.state == ChunkState.READY
    )
    return dict(session.execute(query.group_by(Chunk.document_id)).all())


def document_figures(session: Session, document_ids: Iterable[str]) -> dict[str, tuple[CacheFigures, ...]]:
    """The published caches of each document, added up, one item per codec; documents without caches are left out."""
    figures: dict[str, tuple[CacheFigures, ...]] = {}
    wanted = list(document_ids)
    for first in range(0, len(wanted), 500):
        figures |= figures_of(session, Document.id.in_(wanted[first : first + 500]), by_document=True)
    return figures


def figures_of(
    session: Session, *conditions: ColumnElement[bool], by_document: bool = False
) -> dict[str, tuple[CacheFigures, ...]]:
    """Cache figures of the documents that meet the conditions, by document id, or all together under ""."""
    accuracy = func.sum(Cache.raw_char_accuracy * Chunk.characters) / func.sum(Chunk.characters)
    query = (
        select(
            Cache.codec,
            func.count(),
            func.sum(Chunk.text_tokens),
            func.sum(Cache.vision_tokens),
            accuracy,
            func.sum(Cache.residual_bytes),
            func.sum(Cache.cache_bytes),
            func.min(Chunk.document_id),
        )
        .join(Chunk, Chunk.id == Cache.chunk_id)
        .join(Document, Document.id == Chunk.document_id)
        .where(*conditions)
        .order_by(Cache.codec)
    )
    query = query.group_by(Chunk.document_id, Cache.codec) if by_document else query.group_by(Cache.codec)
    found: dict[str, list[CacheFigures]] = {}
    for codec, chunks, text_tokens, vision_tokens, share, residual, size, document_id in session.execute(query):
        figures = CacheFigures(codec, chunks, text_tokens, vision_tokens, share, residual, size)
        found.setdefault(document_id if by_document else "", []).append(figures)
    return {key: tuple(items) for key, items in found.items()}


def start_parsing(session: Session, document_id: str) -> Document | None:
    """Marks the document as being parsed and starts its clock; None once it is deleted or already ready."""
    document = session.get(Document, document_id, with_for_update=True)
    if document is None or document.state is DocumentState.READY:
        return None
    document.state, document.error, document.started_at = DocumentState.PARSING, None, clock.now(session)
    session.flush()
    return document


def fail_document(session: Session, document_id: str, reason: str) -> None:
    """Ends the document's journey, and its live jobs, with a reason for people; a ready document stays ready.

    Its bytes stay; offering them again tries again.
    """
    now = clock.now(session)
    document = session.get(Document, document_id, with_for_update=True)  # before its jobs, as a delete does
    live = (Job.document_id == document_id, Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
    ended = {"state": JobState.FAILED, "last_error": reason, "lease_owner": None, "lease_until": None}
    session.execute(update(Job).where(*live).values(ended | {"updated_at": now}))
    if document is None or document.state is DocumentState.READY:
        return
    document.state, document.error, document.finished_at = DocumentState.FAILED, reason, now
    document.seconds = None if document.started_at is None else now - document.started_at
    session.flush()
    tell_webhooks(session, document)


def note_warning(session: Session, document_id: str, about: str, warning: str | None) -> None:
    """Replaces the document's warnings that begin with `about` by this one, or by none."""
    document = session.get(Document, document_id, with_for_update=True)
    if document is not None:
        kept = [known for known in document.warnings if not known.startswith(about)]
        document.warnings = [*kept, *([] if warning is None else [about + warning])]


def delete_document(session: Session, document_id: str) -> None:
    """Takes the document away, whatever its state. Its blobs follow with `sweep_blobs` after commit.

    Readers lose it at commit; a worker that is busy with it loses its lease. Deleting twice is no error.
    """
    discard_blobs_of(session, Document.id == document_id)
    forget_document(session, document_id)
    session.execute(delete(Document).where(Document.id == document_id))


def discard_blobs_of(session: Session, condition: ColumnElement[bool]) -> None:
    """Puts every blob that the documents name on the list for deletion. Locks them: nobody adds one meanwhile."""
    session.flush()
    documents = select(Document.blob, Document.pending_blob).where(condition).order_by(Document.id).with_for_update()
    keys = {key for pair in session.execute(documents) for key in pair if key is not None}
    caches = select(Cache.blob).distinct().join(Chunk, Chunk.id == Cache.chunk_id)
    keys.update(session.scalars(caches.join(Document, Document.id == Chunk.document_id).where(condition)))
    discard_blobs(session, keys)


def discard_blobs(session: Session, keys: Iterable[str]) -> None:
    """Puts blobs on the list for deletion; one that another row still names survives the sweep."""
    rows = [{"key": key, "created_at": time.time()} for key in sorted(set(keys))]
    session.flush()
    if rows:
        # A key that is listed already is locked too: a sweep that is at it would else forget this discard.
        session.execute(insert_or_touch(session, Discard, key="key", column="created_at"), rows)
