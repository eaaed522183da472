"""Owns the queries about dead letters: jobs whose attempts are used up, kept until somebody decides."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.catalog.documents import requeue_document
from store.catalog.jobs import enqueue
from store.errors import NotFound
from store.models import Document, Job, JobKind, JobState
from store.types import DeadJob


def dead_jobs(session: Session, tenant: str, *, after: int = 0, limit: int = 100) -> list[DeadJob]:
    """The tenant's dead jobs in the order they were made, those behind the id `after`."""
    query = select(Job, Document).join(Document, Document.id == Job.document_id)
    query = query.where(Document.tenant == tenant, Job.state == JobState.DEAD, Job.id > after)
    return [
        DeadJob(job.id, job.kind, document.id, document.title, job.attempts, job.last_error, job.updated_at)
        for job, document in session.execute(query.order_by(Job.id).limit(limit))
    ]


def requeue_dead_job(session: Session, tenant: str, job_id: int) -> Job:
    """Starts a dead job's document again, or its stage only where the document has not failed; the job that is due.

    Raises NotFound, also where somebody else has done so at the same moment.
    """
    document, kind = _take(session, tenant, job_id)
    return requeue_document(session, document) or enqueue(session, document.id, kind)


def delete_dead_job(session: Session, tenant: str, job_id: int) -> None:
    """Forgets a dead job; its document stays as it is. Raises NotFound."""
    _take(session, tenant, job_id)


def _take(session: Session, tenant: str, job_id: int) -> tuple[Document, JobKind]:
    """Takes a dead job away; whose it was, locked before it as a delete does, and of which kind."""
    dead = (Job.id == job_id, Job.state == JobState.DEAD)
    found = select(Document).join(Job, Job.document_id == Document.id).where(Document.tenant == tenant, *dead)
    document = session.scalar(found.with_for_update(of=Document))
    kind = None if document is None else session.scalar(delete(Job).where(*dead).returning(Job.kind))
    if document is None or kind is None:
        raise NotFound("dead job", str(job_id), "List the dead jobs to see their ids.")
    return document, kind
