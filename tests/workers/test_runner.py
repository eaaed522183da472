"""What a runner does when things go wrong between a claim and its end."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, update
from sqlalchemy.orm import Session

from compressor.errors import DeviceLost, ParserFailed
from store import catalog
from store.database import reading, transaction
from store.errors import StoreFull
from store.models import Document, DocumentState, Job, JobKind, JobState
from workers import ingest
from workers import runner as runners
from workers.deliver import deliver_due
from workers.ingest import Offer, accept
from workers.lease import presence
from workers.resources import Resources
from workers.runner import Runner, run_due_jobs
from workers.tend import Tender


def offer(resources: Resources, tmp_path: Path, name: str) -> str:
    path = tmp_path / name
    path.write_text(f"{name}: the key hangs behind the door.\n")
    return accept(resources, "default", "main", Offer(path, name, external_id=name)).document.id


def jobs_of(resources: Resources, kind: JobKind) -> list[Job]:
    with reading(resources.engine) as session:
        return list(session.query(Job).where(Job.kind == kind).order_by(Job.id))


def document(resources: Resources, document_id: str) -> Document:
    with reading(resources.engine) as session:
        return catalog.find_document(session, "default", document_id)


def test_a_worker_that_was_paused_does_not_set_a_parsed_document_back(resources: Resources, tmp_path: Path) -> None:
    document_id = offer(resources, tmp_path, "a.txt")
    paused = Runner(resources, "paused")
    claimed = paused.claim(JobKind.PARSE, 1)
    with transaction(resources.engine) as session:
        session.execute(update(Job).values(lease_until=0.0))
        catalog.expire_leases(session)
    assert Runner(resources, "other").step(JobKind.PARSE)
    assert document(resources, document_id).state is DocumentState.ENCODING
    paused.work(claimed, paused._parse)
    assert document(resources, document_id).state is DocumentState.ENCODING
    run_due_jobs(resources)
    assert document(resources, document_id).state is DocumentState.READY


def test_a_worker_that_was_paused_does_not_fail_a_document_that_another_one_has(
    resources: Resources, tmp_path: Path
) -> None:
    document_id = offer(resources, tmp_path, "a.txt")
    paused = Runner(resources, "paused")

    def do(_: Sequence[Job]) -> None:
        with transaction(resources.engine) as session:
            session.execute(update(Job).values(lease_until=0.0))
            catalog.expire_leases(session)
        assert Runner(resources, "other").step(JobKind.PARSE)
        raise ParserFailed("a.txt took longer than 300 s to parse. Split the file or simplify it.")

    paused.work(paused.claim(JobKind.PARSE, 1), do)
    assert document(resources, document_id).error is None
    run_due_jobs(resources)
    assert document(resources, document_id).state is DocumentState.READY


def test_what_is_parsed_while_its_encode_job_is_at_work_is_encoded(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = offer(resources, tmp_path, "a.txt")
    runner = Runner(resources, "a")
    assert runner.step(JobKind.PARSE)
    (dead,) = jobs_of(resources, JobKind.ENCODE)
    with transaction(resources.engine) as session:
        session.execute(update(Job).where(Job.id == dead.id).values(state=JobState.DEAD))
        catalog.fail_document(session, document_id, "its worker died 3 times")
    assert offer(resources, tmp_path, "a.txt") == document_id  # again, and its dead job is requeued as well
    with transaction(resources.engine) as session:
        assert catalog.requeue_dead_job(session, "default", dead.id).kind is JobKind.ENCODE
    offer(resources, tmp_path, "b.txt")
    look = ingest.pending_work

    def look_and_parse(of: Resources, job: Job) -> list[ingest.Work]:
        found = look(of, job)
        assert Runner(resources, "other").step(JobKind.PARSE)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "pending_work", look_and_parse)
        assert runner.step(JobKind.ENCODE)
    run_due_jobs(resources)
    assert document(resources, document_id).state is DocumentState.READY


def test_a_job_is_never_dead_without_its_document_having_failed(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = offer(resources, tmp_path, "a.txt")
    runner = Runner(resources, "a")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the parser is broken")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with transaction(resources.engine) as session:
        session.execute(update(Job).values(attempts=2))
    monkeypatch.setattr(runners, "parse", broken)
    with monkeypatch.context() as patched:
        patched.setattr(catalog, "fail_document", killed)
        with pytest.raises(KeyboardInterrupt):
            runner.step(JobKind.PARSE)
    (job,) = jobs_of(resources, JobKind.PARSE)
    assert job.state is not JobState.DEAD
    with transaction(resources.engine) as session:
        session.execute(update(Job).values(state=JobState.QUEUED, attempts=2, lease_owner=None))
    assert runner.step(JobKind.PARSE)
    failed = document(resources, document_id)
    assert (failed.state, failed.error) == (
        DocumentState.FAILED,
        "given up after 3 attempts: RuntimeError: the parser is broken",
    )
    assert [job.state for job in jobs_of(resources, JobKind.PARSE)] == [JobState.DEAD]


def test_a_dead_job_of_a_document_that_got_on_is_due_again_itself(resources: Resources, tmp_path: Path) -> None:
    document_id = offer(resources, tmp_path, "a.txt")
    run_due_jobs(resources)
    with transaction(resources.engine) as session:
        dead = catalog.enqueue(session, document_id, JobKind.FINISH)
        dead.state = JobState.DEAD
        session.flush()
        due = catalog.requeue_dead_job(session, "default", dead.id)
        assert (due.kind, due.state) == (JobKind.FINISH, JobState.QUEUED)
    assert document(resources, document_id).state is DocumentState.READY


def test_a_full_disk_amid_a_batch_gives_back_all_that_was_not_reached(resources: Resources, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        offer(resources, tmp_path, name)
    runner = Runner(resources, "a")
    jobs = runner.claim(JobKind.PARSE, 3)

    def do(some: list[Job]) -> None:
        if len(some) > 1:
            raise RuntimeError("one of them spoils it")
        if some[0].id == jobs[1].id:
            raise StoreFull("the disk", 100)

    with pytest.raises(StoreFull):
        runner.work(jobs, do)
    _, second, third = jobs_of(resources, JobKind.PARSE)
    assert [(job.state, job.attempts) for job in (second, third)] == [(JobState.QUEUED, 0)] * 2
    assert set(runner.held) == {jobs[0].id}


def test_a_lost_device_counts_as_an_attempt(resources: Resources, tmp_path: Path) -> None:
    offer(resources, tmp_path, "a.txt")
    runner = Runner(resources, "a")
    jobs = runner.claim(JobKind.PARSE, 1)

    def lose(_: object) -> None:
        raise DeviceLost("cuda:0 failed")

    with pytest.raises(DeviceLost):
        runner.work(jobs, lose)
    (job,) = jobs_of(resources, JobKind.PARSE)
    assert (job.attempts, job.lease_owner) == (1, "a")


def test_an_idle_worker_writes_nothing(resources: Resources, tmp_path: Path) -> None:
    offer(resources, tmp_path, "a.txt")
    writes: list[Connection] = []

    def look(connection: Connection) -> None:
        if connection.get_execution_options().get("writes", False):
            writes.append(connection)

    event.listen(resources.engine, "begin", look)
    with presence(resources.workers_directory) as owner:
        runner = Runner(resources, owner)
        while any(runner.step(kind) for kind in JobKind):
            pass
        tender = Tender(resources)
        tender.tick()  # sweeps what the document's journey left
        assert writes
        writes.clear()
        assert not any(runner.step(kind) for kind in JobKind)
        tender.tick()
        assert deliver_due(resources) == 0
    assert writes == []


def test_of_two_that_see_the_same_job_due_one_gets_it(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(resources, tmp_path, "a.txt")
    quick: list[Job] = []
    look = catalog.has_claimable

    def claimed_meanwhile(session: Session, kinds: Sequence[JobKind], *, max_attempts: int) -> bool:
        seen = look(session, kinds, max_attempts=max_attempts)
        if not quick:
            with transaction(resources.engine) as other:
                quick.extend(catalog.claim_jobs(other, kinds, owner="quick", lease_seconds=60))
        return seen

    monkeypatch.setattr(catalog, "has_claimable", claimed_meanwhile)
    slow = Runner(resources, "slow")
    assert slow.claim(JobKind.PARSE, 1) == []
    assert slow.held == {}
    assert [job.lease_owner for job in jobs_of(resources, JobKind.PARSE)] == ["quick"]
