"""Owns the queries that put things right again: leases of the dead, caches that move, documents made anew."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.catalog import clock
from store.catalog.documents import discard_blobs
from store.catalog.jobs import enqueue
from store.lexical import forget_document
from store.models import Cache, Chunk, Document, DocumentState, Job, JobKind, JobState


def abandon_leases(session: Session, owners: Sequence[str]) -> None:
    """Ends the leases of workers that are known to be dead; `expire_leases` then does the rest."""
    if owners:
        mine = (Job.state == JobState.RUNNING, Job.lease_owner.in_(owners))
        documents = select(Document.id).join(Job, Job.document_id == Document.id).where(*mine).order_by(Document.id)
        session.execute(documents.with_for_update(of=Document))  # before their jobs, as a delete does
        session.execute(update(Job).where(*mine).values(lease_until=0.0))


def release_job(session: Session, job_id: int, *, owner: str) -> None:
    """Gives a claimed job back as if it had not been claimed: its attempt does not count."""
    mine = (Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_owner == owner)
    back = {"state": JobState.QUEUED, "lease_owner": None, "lease_until": None, "updated_at": clock.now(session)}
    session.execute(update(Job).where(*mine).values(back | {"attempts": Job.attempts - 1}))


def move_caches(session: Session, document_id: str, *, moved: AbstractCollection[str], key: str) -> None:
    """Names the file that a document's caches were put together in; the files they came from are discarded."""
    session.execute(select(Document.id).where(Document.id == document_id).with_for_update())
    chunks = select(Chunk.id).where(Chunk.document_id == document_id)
    session.execute(update(Cache).where(Cache.chunk_id.in_(chunks), Cache.blob.in_(moved)).values(blob=key))
    discard_blobs(session, [blob for blob in moved if blob != key])


def drop_page_caches(
    session: Session, document_id: str, model: str, *, keep: AbstractCollection[str] = frozenset()
) -> None:
    """Takes away a document's page caches of a model, whichever way its images were made, but those of some codecs."""
    session.execute(select(Document.id).where(Document.id == document_id).with_for_update())
    chunks = select(Chunk.id).where(Chunk.document_id == document_id)
    dropped = [Cache.chunk_id.in_(chunks), Cache.codec.startswith(f"{model}+", autoescape=True)]
    dropped.append(Cache.codec.not_in(keep))
    discard_blobs(session, session.scalars(select(Cache.blob).distinct().where(*dropped)).all())
    session.execute(delete(Cache).where(*dropped))


def rebuild_document(session: Session, document_id: str) -> None:
    """Starts a document again from its source bytes: chunks, caches, vectors and full text go, a parse job is due."""
    document = session.get(Document, document_id, with_for_update=True)
    if document is None:
        return
    blobs = (
        select(Cache.blob).distinct().join(Chunk, Chunk.id == Cache.chunk_id).where(Chunk.document_id == document_id)
    )
    discard_blobs(session, [*session.scalars(blobs), *([document.pending_blob] if document.pending_blob else [])])
    forget_document(session, document_id)
    session.execute(delete(Chunk).where(Chunk.document_id == document_id))
    document.state, document.pending_blob, document.error = DocumentState.QUEUED, None, None
    session.flush()
    enqueue(session, document_id, JobKind.PARSE)
