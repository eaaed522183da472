"""Owns the queries about dead letters: jobs whose attempts are used up, kept until somebody decides."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from store.catalog.documents import requeue_document
from store.catalog.jobs import enqueue
from store.errors import NotFound
from store.models import Document, Job, JobState
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

    Raises NotFound.
    """
    job, document = _find(session, tenant, job_id)
    kind = job.kind
    session.delete(job)
    session.flush()
    return requeue_document(session, document) or enqueue(session, document.id, kind)


def delete_dead_job(session: Session, tenant: str, job_id: int) -> None:
    """Forgets a dead job; its document stays as it is. Raises NotFound."""
    job, _ = _find(session, tenant, job_id)
    session.execute(delete(Job).where(Job.id == job.id))


def _find(session: Session, tenant: str, job_id: int) -> tuple[Job, Document]:
    query = select(Job, Document).join(Document, Document.id == Job.document_id)
    found = session.execute(
        query.where(Document.tenant == tenant, Job.state == JobState.DEAD, Job.id == job_id)
    ).first()
    if found is None:
        raise NotFound("dead job", str(job_id), "List the dead jobs to see their ids.")
    return found[0], found[1]
