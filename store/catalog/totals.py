"""Owns the queries behind the metrics: what is stored and due, over all tenants. Numbers only, no document is named."""

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from store.catalog import clock
from store.catalog.jobs import last_progress
from store.models import Cache, Chunk, Delivery, Document, DocumentState, Job, JobState
from store.types import CacheTotals, DocumentTotals, DueWork


def due_work(session: Session) -> DueWork:
    """Jobs and deliveries by state, how long the oldest job that could run has waited, and all of them in vain."""
    jobs = select(Job.kind, Job.state, func.count()).group_by(Job.state, Job.kind)  # in the order of an index
    deliveries = select(Delivery.state, func.count()).group_by(Delivery.state)
    now = clock.now(session)
    since = case((Job.not_before > Job.updated_at, Job.not_before), else_=Job.updated_at)
    oldest = session.scalar(select(func.min(since)).where(Job.state == JobState.QUEUED, Job.not_before <= now))
    moved = None if oldest is None else max(oldest, last_progress(session) or 0.0)
    return DueWork(
        jobs={(kind, state): count for kind, state, count in session.execute(jobs)},
        deliveries=dict(session.execute(deliveries).all()),
        oldest_seconds=0.0 if oldest is None else max(0.0, now - oldest),
        stalled_seconds=0.0 if moved is None else max(0.0, now - moved),
    )


def document_totals(session: Session) -> list[DocumentTotals]:
    """Documents, their chunks and text tokens, by tenant and state."""
    query = select(
        Document.tenant,
        Document.state,
        func.count(),
        func.sum(Document.chunk_count),
        func.sum(Document.text_tokens),
    ).group_by(Document.tenant, Document.state)
    found = session.execute(query.order_by(Document.tenant, Document.state))
    return [DocumentTotals(row[0], row[1], row[2], row[3] or 0, row[4] or 0) for row in found]


def cache_totals(session: Session) -> list[CacheTotals]:
    """The caches of ready documents, by tenant and codec. Reads every cache row: a second for a million chunks."""
    query = (
        select(
            Document.tenant,
            Cache.codec,
            func.sum(Chunk.text_tokens),
            func.sum(Cache.vision_tokens),
            func.sum(Cache.cache_bytes),
        )
        .join(Chunk, Chunk.id == Cache.chunk_id)
        .join(Document, Document.id == Chunk.document_id)
        .where(Document.state == DocumentState.READY)
        .group_by(Document.tenant, Cache.codec)
    )
    return [CacheTotals(*row) for row in session.execute(query.order_by(Document.tenant, Cache.codec))]
