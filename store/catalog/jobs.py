"""Owns the queries about jobs: due, leased, retried, finished. `now` is seconds since 1970, for tests."""

from collections.abc import Mapping, Sequence

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session

from store.catalog import clock
from store.catalog.upsert import add_new
from store.errors import LeaseLost, NotFound
from store.models import Collection, Document, Job, JobKind, JobState

MAX_ATTEMPTS = 3
# Written into the statement: an index of live jobs is used where it can be seen to be asked for them only.
_LIVE: BindParameter[Sequence[JobState]] = bindparam(
    "live", [JobState.QUEUED, JobState.RUNNING], expanding=True, literal_execute=True
)


def enqueue(session: Session, document_id: str, kind: JobKind) -> Job:
    """The live job of that kind for the document, made where there is none. Raises: NotFound once it is deleted."""
    live = select(Job).where(Job.document_id == document_id, Job.kind == kind, Job.state.in_(_LIVE))
    while True:  # until nobody else adds or ends one at the same moment
        found = session.scalar(live)
        if found is not None:
            return found
        document = session.get(Document, document_id, with_for_update={"read": True, "key_share": True})
        if document is None:
            raise NotFound("document", document_id, "It was deleted meanwhile.")
        job = _add(session, document, kind)
        if job is not None:
            return job


def begin(session: Session, document: Document, kind: JobKind) -> Job:
    """The first job of a document that this transaction has added: nobody else can have added one."""
    job = _add(session, document, kind)
    assert job is not None
    return job


def _add(session: Session, document: Document, kind: JobKind) -> Job | None:
    now = clock.now(session)
    values = {
        "kind": kind,
        "collection_id": document.collection_id,
        "document_id": document.id,
        "state": JobState.QUEUED,
        "attempts": 0,
        "not_before": 0.0,
        "created_at": now,
        "updated_at": now,
    }
    return add_new(session, Job, values)


def claim_jobs(
    session: Session,
    kinds: Sequence[JobKind],
    *,
    owner: str,
    lease_seconds: float,
    limit: int = 1,
    job_id: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    now: float | None = None,
) -> list[Job]:
    """Leases due jobs to the owner and counts the attempt before the work starts.

    Due is what is queued, or running under a lease that ran out, with attempts left. Collections take turns: the one
    that was served longest ago comes first, and within it what a silent worker left, then the oldest job, so a small
    upload does not wait behind a large import. With job_id only that one; an empty list means that somebody else has
    it, or that it is done.
    `owner` must be unique to the worker process and its start (host, pid, random).
    """
    now = clock.now(session) if now is None else now
    due = _claimable(kinds, max_attempts, now)
    if job_id is not None:
        due = [one & (Job.id == job_id) for one in due]
    its = [exists().where(Job.collection_id == Collection.id, one) for one in due]
    homes = session.scalars(
        select(Collection.id).where(or_(*its)).order_by(Collection.served_at, Collection.id).limit(limit)
    ).all()
    lease = {"lease_owner": owner, "lease_until": now + lease_seconds, "last_progress": now, "updated_at": now}
    claimed: list[Job] = []
    shares = [max(1, limit // max(1, len(homes)))] * len(homes)
    for home, share in [*zip(homes, shares, strict=True), *((home, limit) for home in homes)]:
        most = min(limit, len(claimed) + share)
        for one in due:
            if len(claimed) < most:
                claimed += _claim(session, home, one, lease, most - len(claimed))
    served = {job.collection_id for job in claimed}
    if served:
        # Never waits: the row is locked by another claim, which says the same, or by the collection's delete. Not by an
        # upload or a publication into it: their key-share locks leave room for a change that is not of the key.
        taken = select(Collection.id).where(Collection.id.in_(served))
        free = taken.with_for_update(skip_locked=True, key_share=True).cte("free")
        session.execute(update(Collection).where(Collection.id.in_(select(free.c.id))).values(served_at=now))
    return sorted(claimed, key=lambda job: job.id)


def has_claimable(session: Session, kinds: Sequence[JobKind], *, max_attempts: int = MAX_ATTEMPTS) -> bool:
    """Whether `claim_jobs` would find any, for now: only the claim itself decides."""
    due = _claimable(kinds, max_attempts, clock.now(session))
    return session.scalars(select(Job.id).where(_one_of(*due)).limit(1)).first() is not None


def _claimable(kinds: Sequence[JobKind], max_attempts: int, now: float) -> list[ColumnElement[bool]]:
    """What a silent worker left, and what is queued: of each the oldest are found without a look at all the others."""
    those = Job.kind.in_(kinds), Job.attempts < max_attempts
    return [and_(*_is_silent(now), *those), and_(_is_waiting(now), *those)]


def _claim(
    session: Session, collection_id: str, due: ColumnElement[bool], lease: Mapping[str, object], limit: int
) -> list[Job]:
    # One statement, so that two workers cannot read the same row as due; PostgreSQL skips what others lock,
    # SQLite (which ignores FOR UPDATE) has one writer at a time.
    found = select(Job.id).where(Job.collection_id == collection_id, due)
    # A CTE, as PostgreSQL may run a plain subquery several times and lease more than `limit`.
    chosen = found.order_by(Job.id).limit(limit).with_for_update(skip_locked=True).cte("chosen")
    statement = (
        update(Job)
        .where(Job.id.in_(select(chosen.c.id)))
        .values(state=JobState.RUNNING, attempts=Job.attempts + 1, **lease)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return list(session.scalars(statement))


def count_due(session: Session) -> dict[JobKind, int]:
    """Jobs that could be claimed now, by kind: how many workers to wake."""
    query = select(Job.kind, func.count()).where(_is_due(clock.now(session))).group_by(Job.kind)
    return dict(session.execute(query).all())


def has_due(session: Session) -> bool:
    """Whether any job could be claimed now."""
    now = clock.now(session)
    # one by one: an index tells of each without a look at all the others
    looks = (select(Job.id).where(due).limit(1) for due in (and_(*_is_silent(now)), _is_waiting(now)))
    return any(session.scalars(look).first() is not None for look in looks)


def oldest_due(session: Session) -> float | None:
    """Since when the job waits that waits longest (seconds since 1970); None where none is due."""
    return session.scalars(select(func.min(Job.updated_at)).where(_is_due(clock.now(session)))).one()


def last_progress(session: Session) -> float | None:
    """When a worker last claimed a job or showed a sign of life (seconds since 1970); None before the first time."""
    return session.scalars(select(func.max(Job.last_progress))).one()


def has_live_jobs(session: Session) -> bool:
    """Whether any work is due or being done."""
    return session.scalars(select(Job.id).where(Job.state.in_(_LIVE)).limit(1)).first() is not None


def _is_due(now: float) -> ColumnElement[bool]:
    return _one_of(_is_waiting(now), and_(*_is_silent(now)))


def _one_of(*due: ColumnElement[bool]) -> ColumnElement[bool]:
    """Any of several; with the states beside, else PostgreSQL looks at all jobs that are done."""
    return and_(Job.state.in_(_LIVE), or_(*due))


def _is_waiting(now: float) -> ColumnElement[bool]:
    return (Job.state == JobState.QUEUED) & (Job.not_before <= now)


def _is_silent(now: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Job.state == JobState.RUNNING, Job.lease_until < now


def extend_lease(session: Session, job_id: int, *, owner: str, lease_seconds: float, now: float | None = None) -> None:
    """The heartbeat. Raises: LeaseLost when the job is not the owner's any more."""
    now = clock.now(session) if now is None else now
    _change(session, job_id, owner, {"lease_until": now + lease_seconds, "last_progress": now, "updated_at": now})


def complete_job(session: Session, job_id: int, *, owner: str) -> None:
    """Done. Call it in the transaction that publishes the result. Raises: LeaseLost."""
    _end(session, job_id, owner, JobState.DONE, None)


def retry_job(
    session: Session,
    job_id: int,
    *,
    owner: str,
    error: str,
    delay: float,
    max_attempts: int = MAX_ATTEMPTS,
    now: float | None = None,
) -> JobState:
    """Transient: queued again after `delay` seconds, or dead when its attempts are used up (say so: fail_document).

    Raises: LeaseLost.
    """
    now = clock.now(session) if now is None else now
    _hold_document(session, job_id)
    job = session.get(Job, job_id, populate_existing=True)
    if job is not None and job.attempts >= max_attempts:
        _end(session, job_id, owner, JobState.DEAD, error)
        return JobState.DEAD
    values = {"state": JobState.QUEUED, "lease_owner": None, "lease_until": None, "last_error": error}
    _change(session, job_id, owner, values | {"not_before": now + delay, "updated_at": now})
    return JobState.QUEUED


def yield_job(session: Session, job_id: int, *, owner: str) -> None:
    """Gives back a job that got on but is not through: it is due again at once, all its attempts before it.

    Raises: LeaseLost.
    """
    back = {"state": JobState.QUEUED, "lease_owner": None, "lease_until": None, "attempts": 0, "last_error": None}
    _change(session, job_id, owner, back | {"updated_at": clock.now(session)})


def expire_leases(session: Session, *, max_attempts: int = MAX_ATTEMPTS, now: float | None = None) -> list[Job]:
    """The reaper: jobs whose worker fell silent are queued again, or dead when their attempts are used up.

    Returns the changed jobs. The caller wakes workers for the queued ones and calls fail_document for the dead ones.
    """
    now = clock.now(session) if now is None else now
    silent = select(Job).join(Document, Document.id == Job.document_id)  # both are locked, or the job waits its turn
    silent = silent.where(*_is_silent(now))
    expired = list(session.scalars(silent.order_by(Job.id).with_for_update(skip_locked=True)))
    for job in expired:
        job.last_error = job.last_error or f"its worker {job.lease_owner} fell silent"
        job.state = JobState.DEAD if job.attempts >= max_attempts else JobState.QUEUED
        job.lease_owner, job.lease_until, job.updated_at = None, None, now
    session.flush()
    return expired


def has_expired(session: Session) -> bool:
    """Whether `expire_leases` would find any, for now."""
    return session.scalars(select(Job.id).where(*_is_silent(clock.now(session))).limit(1)).first() is not None


def _end(session: Session, job_id: int, owner: str, state: JobState, error: str | None) -> None:
    values = {"state": state, "lease_owner": None, "lease_until": None, "last_error": error}
    _hold_document(session, job_id)
    _change(session, job_id, owner, values | {"updated_at": clock.now(session)})


def _hold_document(session: Session, job_id: int) -> None:
    """Locks the job's document. Whoever changes both locks it before the job, so that two never wait in a circle."""
    document = select(Document.id).join(Job, Job.document_id == Document.id).where(Job.id == job_id)
    session.execute(document.with_for_update(of=Document))


def _change(session: Session, job_id: int, owner: str, values: Mapping[str, object]) -> None:
    mine = (Job.id == job_id, Job.state == JobState.RUNNING, Job.lease_owner == owner)
    changed = session.scalars(update(Job).where(*mine).values(values).returning(Job.id)).first()
    if changed is None:
        raise LeaseLost(job_id, owner)
