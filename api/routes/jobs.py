"""Owns the routes of jobs: what is due, and dead letters."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import Opened, Reader, TenantAdmin
from api.cursors import cursor_of_number, number_of
from api.plain import MOST
from api.routes.documents import Cursor
from api.schemas_admin import DeadJobOut, DeadJobPage, JobCount, JobsOut
from store import catalog
from store.database import reading, transaction
from store.models import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[int, Path(ge=1, le=MOST)]
LIVE = (JobState.QUEUED, JobState.RUNNING)


@router.get("", summary="Count jobs")
def show(resources: Opened, caller: Reader) -> JobsOut:
    """What is due in the collections that the key reaches, counted from the rows, and what was done."""
    with reading(resources.engine) as session:
        jobs = catalog.count_jobs(session, caller.tenant, caller.collections)
    due: dict[str, int] = {}
    for (kind, state), count in jobs.items():
        if state in LIVE:
            due[kind.value] = due.get(kind.value, 0) + count
    states = [JobCount(kind=kind.value, state=state.value, count=count) for (kind, state), count in jobs.items()]
    return JobsOut(due=due, states=states)


@router.get("/dead", summary="List dead jobs")
def list_dead(
    resources: Opened, caller: TenantAdmin, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None
) -> DeadJobPage:
    """Jobs whose attempts are used up, with what went wrong last."""
    with reading(resources.engine) as session:
        found = catalog.dead_jobs(session, caller.tenant, after=number_of(cursor), limit=limit + 1)
    more = cursor_of_number(found[limit - 1].id) if len(found) > limit else None
    return DeadJobPage(items=[DeadJobOut.of(job) for job in found[:limit]], next=more)


@router.post("/dead/{job_id}/requeue", status_code=204, summary="Try a dead job again")
def requeue(resources: Opened, caller: TenantAdmin, job_id: JobId) -> None:
    """Starts the job's document again, all its attempts before it."""
    with transaction(resources.engine) as session:
        job = catalog.requeue_dead_job(session, caller.tenant, job_id)
    resources.wake(job.kind)


@router.delete("/dead/{job_id}", status_code=204, summary="Forget a dead job")
def delete(resources: Opened, caller: TenantAdmin, job_id: JobId) -> None:
    """Forgets a dead job; its document stays failed."""
    with transaction(resources.engine) as session:
        catalog.delete_dead_job(session, caller.tenant, job_id)
