"""Jobs: claimed once, leased, retried with a cap, never lost."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from store import catalog
from store.database import reading, transaction
from store.errors import LeaseLost
from store.models import Job, JobKind, JobState
from tests.store.conftest import Library

NOW = 2_000_000_000.0


def _job(engine: Engine, job_id: int) -> Job:
    with reading(engine) as session:
        job = session.get(Job, job_id)
        assert job is not None
        return job


def test_a_document_has_one_live_job_of_a_kind(engine: Engine, library: Library) -> None:
    accepted = library.accept(["text"])
    assert accepted.job is not None
    with transaction(engine) as session:
        assert catalog.enqueue(session, accepted.document.id, JobKind.PARSE).id == accepted.job.id
        assert catalog.enqueue(session, accepted.document.id, JobKind.ENCODE).id != accepted.job.id
    home = accepted.document.collection_id
    twin = Job(
        kind=JobKind.PARSE, collection_id=home, document_id=accepted.document.id, state=JobState.QUEUED, attempts=0
    )
    twin.not_before = twin.created_at = twin.updated_at = NOW
    with pytest.raises(IntegrityError, match=r"(?i)unique constraint"), transaction(engine) as session:
        session.add(twin)


def test_a_claim_is_exclusive_and_counts_the_attempt_first(engine: Engine, library: Library) -> None:
    job = library.accept(["text"]).job
    assert job is not None
    with transaction(engine) as session:
        (mine,) = catalog.claim_jobs(session, [JobKind.PARSE], owner="a", lease_seconds=60, now=NOW)
        assert (mine.id, mine.state, mine.attempts, mine.lease_until) == (job.id, JobState.RUNNING, 1, NOW + 60)
    assert library.claim("b", now=NOW + 59) == []
    assert library.claim("b", kind=JobKind.ENCODE, now=NOW + 61) == []
    assert library.claim("b", now=NOW + 61) == [job.id]
    assert _job(engine, job.id).attempts == 2
    with pytest.raises(LeaseLost, match=f"Job {job.id} is no longer leased to 'a'"), transaction(engine) as session:
        catalog.complete_job(session, job.id, owner="a")


def test_a_claim_can_name_its_job(engine: Engine, library: Library) -> None:
    _, second = library.accept(["one"]).job, library.accept(["two"]).job
    assert second is not None
    with transaction(engine) as session:
        named = catalog.claim_jobs(session, list(JobKind), owner="a", lease_seconds=60, job_id=second.id, limit=5)
        assert [job.id for job in named] == [second.id]


def test_a_heartbeat_keeps_the_lease(engine: Engine, library: Library) -> None:
    library.accept(["text"])
    (job_id,) = library.claim("a", now=NOW)
    with transaction(engine) as session:
        catalog.extend_lease(session, job_id, owner="a", lease_seconds=60, now=NOW + 50)
    assert library.claim("b", now=NOW + 100) == []
    assert (_job(engine, job_id).lease_until, _job(engine, job_id).last_progress) == (NOW + 110, NOW + 50)


def test_a_done_or_failed_job_is_never_claimed_again(engine: Engine, library: Library) -> None:
    library.accept(["one"])
    failed = library.accept(["two"])
    (first,), (second,) = library.claim("a", now=NOW), library.claim("a", now=NOW)
    with transaction(engine) as session:
        catalog.complete_job(session, first, owner="a")
        catalog.fail_document(session, failed.document.id, "it is no PDF")
    assert library.claim("b", now=NOW * 2) == []
    assert (_job(engine, first).state, _job(engine, second).state) == (JobState.DONE, JobState.FAILED)
    assert _job(engine, second).last_error == "it is no PDF"


def test_a_retry_waits_and_its_attempts_are_capped(engine: Engine, library: Library) -> None:
    library.accept(["text"])
    states = []
    for attempt in range(3):
        now = NOW + 100 * attempt
        (job_id,) = library.claim("a", now=now)
        with transaction(engine) as session:
            states.append(catalog.retry_job(session, job_id, owner="a", error="disk is slow", delay=50, now=now))
        assert library.claim("b", now=now + 49) == []
    assert states == [JobState.QUEUED, JobState.QUEUED, JobState.DEAD]
    assert (_job(engine, job_id).last_error, _job(engine, job_id).attempts) == ("disk is slow", 3)
    assert library.claim("b", now=NOW * 2) == []


def test_the_reaper_requeues_silent_work_until_it_is_dead(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id
    reaped = []
    for attempt in range(3):
        now = NOW + 100 * attempt
        library.claim(f"worker-{attempt}", now=now)
        with transaction(engine) as session:
            assert catalog.expire_leases(session, now=now + 59) == []
            reaped += [(job.state, job.lease_owner) for job in catalog.expire_leases(session, now=now + 61)]
    assert reaped == [(JobState.QUEUED, None), (JobState.QUEUED, None), (JobState.DEAD, None)]
    with transaction(engine) as session:
        catalog.fail_document(session, document_id, "gave up after 3 attempts")
    again = library.accept(["text"])  # the way out: offer it again
    assert again.job is not None
    assert library.claim("fresh", now=NOW * 2) == [again.job.id]


def test_an_abandoned_job_without_attempts_left_is_for_the_reaper_alone(engine: Engine, library: Library) -> None:
    library.accept(["text"])
    library.claim("a", now=NOW)
    with transaction(engine) as session:
        kinds, later = [JobKind.PARSE], NOW + 61
        claimed = catalog.claim_jobs(session, kinds, owner="b", lease_seconds=60, now=later, max_attempts=1)
        assert claimed == []
        assert [job.state for job in catalog.expire_leases(session, now=later, max_attempts=1)] == [JobState.DEAD]


def test_threads_claim_every_job_once(library: Library) -> None:
    jobs = [library.accept([f"text {number}"]).job for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda number: library.claim(f"thread-{number}"), range(16)))
    assert sorted(job_id for ids in claimed for job_id in ids) == [job.id for job in jobs if job is not None]


def test_processes_claim_every_job_once(engine: Engine, library: Library) -> None:
    jobs = [library.accept([f"text {number}"]).job for number in range(12)]
    script = f"""
import sys
from store import catalog
from store.database import open_database, transaction
from store.models import JobKind
engine = open_database({engine.url.render_as_string(hide_password=False)!r})
sys.stdin.readline()  # both start at the same moment
while True:
    with transaction(engine) as session:
        claimed = catalog.claim_jobs(session, [JobKind.PARSE], owner=sys.argv[1], lease_seconds=60)
    if not claimed:
        break
    print(claimed[0].id)
"""
    started = [
        subprocess.Popen([sys.executable, "-c", script, name], stdin=-1, stdout=-1, stderr=-1, text=True)
        for name in ("one", "two")
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate() for process in started]
    assert [errors for _, errors in outcomes] == ["", ""]
    assert sorted(int(line) for out, _ in outcomes for line in out.split()) == [job.id for job in jobs if job]


def test_work_of_a_worker_known_to_be_dead_is_due_at_once(engine: Engine, library: Library) -> None:
    library.accept(["one"])
    library.accept(["two"])
    (dead,), (alive,) = library.claim("dead", now=NOW), library.claim("alive", now=NOW)
    with transaction(engine) as session:
        catalog.abandon_leases(session, [])
        catalog.abandon_leases(session, ["dead"])
        assert [job.id for job in catalog.expire_leases(session, now=NOW)] == [dead]
    assert library.claim("next", now=NOW) == [dead]
    assert _job(engine, alive).lease_owner == "alive"


def test_a_released_job_is_due_at_once_and_lost_no_attempt(engine: Engine, library: Library) -> None:
    library.accept(["text"])
    (job_id,) = library.claim("a", now=NOW)
    with transaction(engine) as session:
        catalog.release_job(session, job_id, owner="somebody else")
    assert library.claim("b", now=NOW) == []
    with transaction(engine) as session:
        catalog.release_job(session, job_id, owner="a")
    assert _job(engine, job_id).attempts == 0
    assert library.claim("b", now=NOW) == [job_id]
