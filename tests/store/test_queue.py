"""The queue costs what is taken from it, however much waits in it."""

import uuid
from sqlite3 import Connection

import pytest
from sqlalchemy import Engine

from store import catalog
from store.database import transaction
from store.models import JobKind


def _fill(engine: Engine, documents: int) -> str:
    """A collection with so many more documents to parse; -> the last one."""
    with transaction(engine) as session:
        home = catalog.ensure_collection(session, "default", "main")
        for _ in range(documents):
            sha256 = uuid.uuid4().hex * 2
            added = catalog.accept_document(session, home, title="a.txt", sha256=sha256, size=1, blob=sha256)
    return added.document.id


def _steps(engine: Engine, document_id: str) -> int:
    """What one turn of a worker costs SQLite, in its own steps: a look, a claim, the job's end, the document's next."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with transaction(engine) as session:
        driver = session.connection().connection.driver_connection
        assert isinstance(driver, Connection)
        driver.set_progress_handler(count, 1)
        assert catalog.has_claimable(session, [JobKind.PARSE])
        (job,) = catalog.claim_jobs(session, [JobKind.PARSE], owner="a", lease_seconds=60)
        catalog.complete_job(session, job.id, owner="a")
        catalog.enqueue(session, document_id, JobKind.PARSE)
        driver.set_progress_handler(None, 0)
    return counted


@pytest.mark.parametrize("silent", [False, True], ids=["queued", "left by a silent worker"])
def test_a_long_queue_costs_a_worker_no_more_than_a_short_one(sqlite_engine: Engine, silent: bool) -> None:
    steps = []
    for documents in (20, 2_000):
        last = _fill(sqlite_engine, documents)
        if silent:
            with transaction(sqlite_engine) as session:
                catalog.claim_jobs(session, [JobKind.PARSE], owner="gone", lease_seconds=0.0, limit=documents)
        steps.append(_steps(sqlite_engine, last))
    assert steps[1] < 2 * steps[0]


def test_what_a_silent_worker_left_comes_in_its_turn(sqlite_engine: Engine) -> None:
    _fill(sqlite_engine, 4)
    with transaction(sqlite_engine) as session:
        first, second = catalog.claim_jobs(session, [JobKind.PARSE], owner="gone", lease_seconds=0.0, limit=2)
    with transaction(sqlite_engine) as session:
        claimed = catalog.claim_jobs(session, [JobKind.PARSE], owner="a", lease_seconds=60, limit=3)
    assert [job.id for job in claimed] == [first.id, second.id, second.id + 1]
    assert [job.attempts for job in claimed] == [2, 2, 1]
