"""Several writers at once on PostgreSQL: nobody gets an exception, nothing is there twice, nothing is lost."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import pytest
from sqlalchemy import Engine, func, select, text

from store import catalog
from store.database import check_schema, open_database, reading, transaction
from store.errors import DatabaseUnreachable, NotFound
from store.holds import hold
from store.models import Base, Collection, Discard, Document, Job, JobKind, JobState, Vector
from store.sweep import BlobCheck, check_blobs, sweep_blobs
from tests.servers.postgresql import Server
from tests.store.conftest import EMBEDDER, Library

pytestmark = pytest.mark.servers
T = TypeVar("T")


@pytest.fixture
def engine(postgresql_engine: Engine) -> Engine:
    return postgresql_engine


def _at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Runs it in that many threads, all past the starting line together."""
    line = threading.Barrier(count)

    def run(number: int) -> T:
        line.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def _count(engine: Engine, table: type[Base]) -> int:
    with reading(engine) as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_workers_never_claim_the_same_job_and_never_more_than_they_asked_for(library: Library) -> None:
    jobs = [library.accept([f"text {number}"]).job for number in range(40)]

    def claim(number: int) -> list[int]:
        with transaction(library.engine) as session:
            claimed = catalog.claim_jobs(session, [JobKind.PARSE], owner=f"w{number}", lease_seconds=60, limit=7)
            return [job.id for job in claimed]

    claims = [*_at_once(4, claim), *_at_once(4, claim)]
    assert max(len(ids) for ids in claims) == 7
    assert sorted(chain(*claims)) == [job.id for job in jobs if job is not None]


def test_a_job_that_another_worker_is_claiming_is_skipped_without_waiting(engine: Engine, library: Library) -> None:
    first, second = library.accept(["one"]).job, library.accept(["two"]).job
    assert first is not None
    assert second is not None
    with transaction(engine) as session:
        (mine,) = catalog.claim_jobs(session, [JobKind.PARSE], owner="a", lease_seconds=60)
        assert library.claim("b") == [second.id]
        assert library.claim("c") == []
    assert mine.id == first.id


def test_collections_take_turns_while_one_of_them_is_uploaded_to(engine: Engine, library: Library) -> None:
    for number in range(3):
        library.accept([f"import {number}"])
    with transaction(engine) as session:
        small = catalog.ensure_collection(session, "default", "small")
        key = "a" * 64
        catalog.accept_document(session, small, title="s.txt", sha256=key, size=1, blob=f"aa/aa/{key}")
    with transaction(engine) as session:  # an upload into the large one that has not committed yet
        large = session.get_one(Collection, library.collection_id)
        catalog.accept_document(session, large, title="l.txt", sha256="b" * 64, size=1, blob=f"bb/bb/{'b' * 64}")
        served = []
        for _ in range(2):
            with transaction(engine) as other:
                (job,) = catalog.claim_jobs(other, [JobKind.PARSE], owner="a", lease_seconds=60)
                served.append(job.collection_id)
        assert set(served) == {library.collection_id, small.id}


def test_the_same_bytes_offered_at_once_are_one_document_with_one_job(engine: Engine, library: Library) -> None:
    for round_ in range(5):
        accepted = _at_once(4, lambda _, round_=round_: library.accept([f"same bytes {round_}"]))
        assert len({item.document.id for item in accepted}) == 1
        assert [item.created for item in accepted].count(True) == 1
    assert (_count(engine, Document), _count(engine, Job)) == (5, 5)


def test_versions_offered_at_once_are_numbered_one_by_one(library: Library) -> None:
    accepted = _at_once(4, lambda number: library.accept([f"text {number}"], external_id="doc-1"))
    assert sorted(item.document.version for item in accepted) == [1, 2, 3, 4]


def test_a_failed_document_offered_twice_at_once_starts_once(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id
    with transaction(engine) as session:
        catalog.fail_document(session, document_id, "no")
    again = _at_once(3, lambda _: library.accept(["text"]))
    assert {item.document.id for item in again} == {document_id}
    assert len(library.claim("worker")) == 1
    assert library.claim("worker") == []


def test_a_dead_job_requeued_twice_at_once_is_requeued_once(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id
    library.parse(document_id, ["text"])
    with transaction(engine) as session:
        dead = catalog.enqueue(session, document_id, JobKind.ENCODE)
        dead.state = JobState.DEAD
        session.flush()
        catalog.fail_document(session, document_id, "its worker died 3 times")

    def requeue(_: int) -> str:
        try:
            with transaction(engine) as session:
                return str(catalog.requeue_dead_job(session, "default", dead.id).kind)
        except NotFound as error:
            return str(error)

    gone = f"There is no dead job '{dead.id}'. List the dead jobs to see their ids."
    assert sorted(_at_once(4, requeue)) == sorted(["parse", gone, gone, gone])
    with reading(engine) as session:
        live = select(Job.kind).where(Job.document_id == document_id, Job.state == JobState.QUEUED, Job.id > dead.id)
        assert session.scalars(live).all() == [JobKind.PARSE]


def test_a_collection_is_made_once(engine: Engine) -> None:
    def ensure(_: int) -> str:
        with transaction(engine) as session:
            return catalog.ensure_collection(session, "default", "new").id

    assert len(set(_at_once(6, ensure))) == 1


def test_a_live_job_is_made_once(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id

    def enqueue(_: int) -> int:
        with transaction(engine) as session:
            return catalog.enqueue(session, document_id, JobKind.FINISH).id

    assert len(set(_at_once(6, enqueue))) == 1


def test_vectors_of_a_collection_commit_in_the_order_of_their_ids(engine: Engine, library: Library) -> None:
    slow, quick = library.accept(["slow"]).document.id, library.accept(["quick"]).document.id
    for document_id, name in ((slow, "slow"), (quick, "quick")):
        library.parse(document_id, [name])
    encoded = library.encode(quick, ["quick"])
    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            catalog.publish(session, library.encode(slow, ["slow"]))
            other = pool.submit(library.publish, encoded)
            with pytest.raises(TimeoutError):
                other.result(0.3)  # it waits, and so cannot become visible with a higher id before this one
        assert other.result(60).ready == (quick,)
    with reading(engine) as session:
        ids = [row.id for row in catalog.vectors_after(session, library.collection_id, EMBEDDER, 0)]
        documents = list(session.scalars(select(Vector.document_id).order_by(Vector.id)))
    assert (ids, documents) == (sorted(ids), [slow, quick])


def test_a_delete_waits_for_a_publication_and_takes_its_blobs_too(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id
    library.parse(document_id, ["text"])
    encoded = library.encode(document_id, ["text"])
    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            catalog.publish(session, encoded)
            deleted = pool.submit(library.delete, document_id)
            with pytest.raises(TimeoutError):
                deleted.result(0.3)
        deleted.result(60)
    sweep_blobs(engine, library.blobs)
    assert list(library.blobs.list()) == []


def test_a_delete_of_a_collection_and_who_adds_a_job_never_wait_in_a_circle(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id

    def delete() -> None:
        with transaction(engine) as session:
            catalog.delete_collection(session, library.collection_id)

    with ThreadPoolExecutor(1) as pool:
        with transaction(engine) as session:
            catalog.hold_document(session, document_id)
            deleted = pool.submit(delete)
            with pytest.raises(TimeoutError):
                deleted.result(0.3)
            catalog.enqueue(session, document_id, JobKind.FINISH)
        deleted.result(60)
    assert [_count(engine, table) for table in (Collection, Document, Job)] == [0, 0, 0]


def test_the_sweep_leaves_a_blob_that_is_about_to_be_named(engine: Engine, library: Library) -> None:
    gone = library.accept(["same bytes"]).document
    library.delete(gone.id)
    with hold(engine, [gone.blob]) as held, transaction(engine, held.connection) as session:
        assert library.blobs.exists(gone.blob)
        assert sweep_blobs(engine, library.blobs) == 0
        home = session.get_one(Collection, library.collection_id)
        catalog.accept_document(session, home, title="again", sha256=gone.sha256, size=gone.size, blob=gone.blob)
    assert _count(engine, Discard) == 1
    assert sweep_blobs(engine, library.blobs) == 0
    assert _count(engine, Discard) == 0
    assert library.blobs.read(gone.blob) == b"same bytes"


def test_a_sweep_does_not_forget_a_discard_that_is_about_to_commit(engine: Engine, library: Library) -> None:
    document = library.accept(["text"]).document
    with transaction(engine) as session:
        catalog.discard_blobs(session, [document.blob])  # listed already, and still in use
    with transaction(engine) as session:
        catalog.delete_document(session, document.id)
        assert sweep_blobs(engine, library.blobs) == 0
    assert sweep_blobs(engine, library.blobs) == 1


def test_ingests_deletes_and_sweeps_at_once_end_well(engine: Engine, library: Library) -> None:
    """Four threads take the same few documents through everything; then rows and blobs agree."""

    def live(number: int) -> None:
        for step in range(30):
            texts = [f"text {(number + step) % 3}", "and more"]
            document_id = library.accept(texts, external_id=f"doc-{step % 2}" if step % 3 else None).document.id
            library.parse(document_id, texts)
            encoded = library.encode(document_id, texts)
            files = {cache.blob for item in encoded for cache in item.caches}
            with hold(engine, files) as held, transaction(engine, held.connection) as session:
                if all(library.blobs.exists(key) for key in files):
                    catalog.publish(session, encoded)
            if step % 4 == number:
                library.delete(document_id)
                with transaction(engine) as session:
                    catalog.fail_document(session, document_id, "too late")
            with transaction(engine) as session:
                catalog.expire_leases(session)
            sweep_blobs(engine, library.blobs)

    _at_once(4, live)
    sweep_blobs(engine, library.blobs)
    assert check_blobs(engine, library.blobs, now=2e10) == BlobCheck((), (), ())


def test_a_restart_of_the_server_between_two_queries_is_survived(
    engine: Engine, library: Library, postgresql_server: Server
) -> None:
    with reading(engine) as first, reading(engine) as second:  # more than one connection in the pool
        assert len(catalog.list_collections(first, "default")) == len(catalog.list_collections(second, "default")) == 1
    for mode in ("fast", "immediate"):
        postgresql_server.stop(mode)
        try:
            with pytest.raises(DatabaseUnreachable, match=r"percel:\*\*\*@127.*cannot be used: .*Start its server"):
                library.accept(["meanwhile"])
            with pytest.raises(DatabaseUnreachable, match="Start its server or correct PERCEL_DATABASE_URL"):
                check_schema(engine)
        finally:
            postgresql_server.start()
        assert library.accept([f"after {mode}"]).created
    with reading(engine) as session:
        assert len(catalog.list_documents(session, library.collection_id)) == 2


def test_a_connection_that_ends_during_a_transaction_is_one_clear_error(engine: Engine) -> None:
    def work() -> None:
        with transaction(engine) as session:
            catalog.ensure_collection(session, "default", "half")
            own = session.scalar(text("SELECT pg_backend_pid()"))
            with transaction(engine) as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
            catalog.list_collections(session, "default")

    with pytest.raises(DatabaseUnreachable, match="run the same again"):
        work()
    with reading(engine) as session:
        assert catalog.list_collections(session, "default") == []


def test_processes_of_any_spelling_of_the_address_reach_it(postgresql_url: str) -> None:
    for scheme in ("postgresql+psycopg", "postgresql", "postgres"):
        engine = open_database(f"{scheme}://{postgresql_url.split('://')[1]}")
        check_schema(engine)
        engine.dispose()
