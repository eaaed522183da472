"""Documents: accepted once, brought to ready once, replaced whole, deleted in every state."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from store import catalog, lexical
from store.database import reading, transaction
from store.errors import LeaseLost, NotFound
from store.models import DEFAULT_TENANT, Base, Cache, Chunk, DocumentState, JobKind, JobState, Vector
from store.sweep import sweep_blobs
from tests.store.conftest import CODEC, EMBEDDER, Library

TEXTS = ("alpha text", "beta text")


def _count(engine: Engine, table: type[Base]) -> int:
    with reading(engine) as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def _ready(session: Session, collection_id: str) -> list[str]:
    return [document.id for document in catalog.list_documents(session, collection_id, state=DocumentState.READY)]


def test_a_collection_is_made_once_and_belongs_to_its_tenant(engine: Engine) -> None:
    with transaction(engine) as session:
        mine = catalog.ensure_collection(session, "me", "main")
        assert catalog.ensure_collection(session, "me", "main").id == mine.id
        assert catalog.ensure_collection(session, "you", "main").id != mine.id
        assert [found.id for found in catalog.list_collections(session, "me")] == [mine.id]
        with pytest.raises(NotFound, match=r"There is no collection 'other'\. There are: main\."):
            catalog.find_collection(session, "me", "other")
        with pytest.raises(NotFound, match=r"There is no collection 'main'\. Ingest something first\."):
            catalog.find_collection(session, "nobody", "main")


def test_a_document_goes_from_bytes_to_ready(engine: Engine, library: Library) -> None:
    accepted = library.accept(TEXTS, metadata={"year": 2024})
    document = accepted.document
    assert (accepted.created, document.state, document.version) == (True, DocumentState.QUEUED, 1)
    assert accepted.job is not None
    assert accepted.job.kind is JobKind.PARSE
    assert library.parse(document.id, TEXTS)
    first, second = library.encode(document.id, TEXTS)
    assert library.publish([first]).ready == ()
    with reading(engine) as session:
        assert [chunk.ordinal for chunk in catalog.pending_chunks(session)] == [1]
        assert catalog.collection_caches(session, library.collection_id) == []
        assert len(catalog.document_caches(session, document.id)) == 1
    assert library.publish([second]).ready == (document.id,)
    ready = library.get(document.id)
    assert ready is not None
    assert ready.state is DocumentState.READY
    assert (ready.chunk_count, ready.text_tokens, ready.source_pages, ready.pending_blob) == (2, 4, 1, None)
    assert (ready.media_type, ready.warnings, ready.document_metadata) == (
        "text/plain",
        ["no text layer"],
        {"year": 2024},
    )
    assert ready.seconds is not None
    assert ready.seconds >= 0
    with reading(engine) as session:
        (figures,) = catalog.document_figures(session, [document.id])[document.id]
        assert (figures.codec, figures.chunks, figures.text_tokens, figures.vision_tokens) == (CODEC, 2, 4, 20)
        assert (figures.residual_bytes, figures.cache_bytes) == (4, 200)
        assert figures.raw_char_accuracy == pytest.approx((1.0 * 10 + 0.5 * 9) / 19)  # weighted by characters
        assert catalog.collection_figures(session, library.collection_id) == (figures,)
        caches = catalog.collection_caches(session, library.collection_id)
        assert [(cache.ordinal, cache.entry) for cache in caches] == [(0, "0"), (1, "1")]
        assert catalog.chunk_caches(session, [caches[1].chunk_id, caches[0].chunk_id]) == [caches[1], caches[0]]
        assert catalog.document_caches(session, document.id) == caches
        assert catalog.find_chunk(session, document.id, 1).characters == 9
        assert [chunk.ordinal for chunk in catalog.list_chunks(session, document.id)] == [0, 1]
        assert list(catalog.chunks_by_ids(session, [caches[0].chunk_id])) == [caches[0].chunk_id]
        with pytest.raises(NotFound, match="numbered from 0"):
            catalog.find_chunk(session, document.id, 2)
        stats = catalog.store_stats(session, "default")
    assert (stats.documents, stats.vectors) == ({DocumentState.READY: 1}, 2)


def test_the_same_bytes_are_the_same_document(engine: Engine, library: Library) -> None:
    document_id = library.add(*TEXTS)
    again = library.accept(TEXTS, metadata={"new": 1})
    assert (again.document.id, again.created, again.job) == (document_id, False, None)
    assert again.document.document_metadata == {"new": 1}
    with reading(engine) as session:
        assert _ready(session, library.collection_id) == [document_id]
    with transaction(engine) as session:
        other = Library(engine, library.blobs, catalog.ensure_collection(session, "default", "other").id)
    assert other.accept(TEXTS).created


def test_a_failed_document_starts_again_and_keeps_the_chunks_that_were_published(library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    first, _ = library.encode(document_id, TEXTS)
    library.publish([first])
    with transaction(library.engine) as session:
        catalog.fail_document(session, document_id, "the encoder ran out of memory")
    failed = library.get(document_id)
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "the encoder ran out of memory")
    assert library.claim("worker") == []  # its job ended with it
    again = library.accept(TEXTS)
    assert (again.document.id, again.created, again.document.state) == (document_id, False, DocumentState.QUEUED)
    assert again.job is not None
    library.parse(document_id, TEXTS)
    (rest,) = library.encode(document_id, TEXTS)
    assert rest.chunk_id != first.chunk_id
    assert library.publish([rest]).ready == (document_id,)


def test_a_document_that_failed_after_its_last_chunk_needs_no_encoding(library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    encoded = library.encode(document_id, TEXTS)
    with transaction(library.engine) as session:
        catalog.fail_document(session, document_id, "gave up")
    assert library.publish(encoded).ready == ()
    library.accept(TEXTS)
    library.parse(document_id, TEXTS)
    ready = library.get(document_id)
    assert ready is not None
    assert ready.state is DocumentState.READY


def test_every_step_may_run_twice(engine: Engine, library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    library.parse(document_id, TEXTS)
    encoded = library.encode(document_id, TEXTS)
    assert library.publish(encoded[:1]).ready == ()
    assert library.publish(encoded).ready == (document_id,)
    assert library.publish(encoded).ready == ()
    assert not library.parse(document_id, TEXTS)  # too late: it is ready
    assert [_count(engine, table) for table in (Chunk, Cache, Vector)] == [2, 2, 2]
    with reading(engine) as session:
        assert len(lexical.search(session, library.collection_id, "alpha", 10)) == 1


def test_a_second_encoding_does_not_leave_its_file_behind(library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    encoded = library.encode(document_id, TEXTS)
    late = library.encode(document_id, TEXTS, limit=1)  # another worker, another file
    library.publish(encoded)
    library.publish(late)
    sweep_blobs(library.engine, library.blobs)
    assert library.blobs.exists(encoded[0].caches[0].blob)
    assert not library.blobs.exists(late[0].caches[0].blob)


def test_a_parse_that_finds_other_chunks_replaces_them_all(engine: Engine, library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    first, second = library.encode(document_id, TEXTS)
    library.publish([first])
    library.parse(document_id, ("one text",))
    late = library.publish([second])
    assert (late.ready, late.skipped) == ((), (second.chunk_id,))
    assert [_count(engine, table) for table in (Chunk, Cache, Vector)] == [1, 0, 0]
    sweep_blobs(engine, library.blobs)
    assert not library.blobs.exists(first.caches[0].blob)


def test_a_new_version_is_built_beside_the_old_one_and_swapped_in(engine: Engine, library: Library) -> None:
    old = library.add("old text", external_id="doc-1")
    new = library.accept(["new text"], external_id="doc-1").document
    assert new.version == 2
    library.parse(new.id, ["new text"])
    with reading(engine) as session:
        assert _ready(session, library.collection_id) == [old]
    library.publish(library.encode(new.id, ["new text"]))
    with reading(engine) as session:
        assert _ready(session, library.collection_id) == [new.id]
        assert lexical.search(session, library.collection_id, "old", 10) == []
    assert library.get(old) is None
    sweep_blobs(engine, library.blobs)
    assert len(list(library.blobs.list())) == 2  # source and caches of the new one


def test_the_newest_version_wins_whatever_finishes_first(library: Library) -> None:
    second = library.accept(["two"], external_id="doc-1").document
    third = library.accept(["three"], external_id="doc-1").document
    library.parse(second.id, ["two"])
    late = library.encode(second.id, ["two"])
    library.parse(third.id, ["three"])
    assert library.publish(library.encode(third.id, ["three"])).ready == (third.id,)
    assert library.publish(late).skipped == (late[0].chunk_id,)
    assert library.get(second.id) is None


def test_a_version_that_gets_ready_does_not_touch_a_newer_one(library: Library) -> None:
    second = library.accept(["two"], external_id="doc-1").document
    third = library.accept(["three"], external_id="doc-1").document
    library.parse(second.id, ["two"])
    library.publish(library.encode(second.id, ["two"]))
    newer = library.get(third.id)
    assert newer is not None
    assert newer.state is DocumentState.QUEUED


def test_going_back_to_old_bytes_is_a_new_version(library: Library) -> None:
    first = library.add("one", external_id="doc-1")
    library.accept(["two"], external_id="doc-1")
    back = library.accept(["one"], external_id="doc-1")
    assert (back.created, back.document.version) == (True, 3)
    assert library.accept(["one"], external_id="doc-1").document.id == back.document.id != first


@pytest.mark.parametrize("state", list(DocumentState))
def test_a_document_can_be_deleted_in_every_state(engine: Engine, library: Library, state: DocumentState) -> None:
    document_id = library.accept(TEXTS).document.id
    (job_id,) = library.claim("worker")
    steps: dict[DocumentState, Callable[[], object]] = {
        DocumentState.QUEUED: lambda: None,
        DocumentState.PARSING: lambda: _start(library, document_id),
        DocumentState.ENCODING: lambda: library.parse(document_id, TEXTS),
        DocumentState.READY: lambda: (
            library.parse(document_id, TEXTS),
            library.publish(library.encode(document_id, TEXTS)),
        ),
        DocumentState.FAILED: lambda: _fail(library, document_id),
    }
    steps[state]()
    document = library.get(document_id)
    assert document is not None
    assert document.state is state
    library.delete(document_id)
    library.delete(document_id)
    tables = [table for table in Base.__subclasses__() if table.__tablename__ not in ("collection", "discard")]
    assert {table.__tablename__: _count(engine, table) for table in tables} == {t.__tablename__: 0 for t in tables}
    with reading(engine) as session:
        assert lexical.search(session, library.collection_id, "alpha beta", 10) == []
    with pytest.raises(LeaseLost, match="stop working on it and publish nothing"), transaction(engine) as session:
        catalog.extend_lease(session, job_id, owner="worker", lease_seconds=60)
    sweep_blobs(engine, library.blobs)
    assert list(library.blobs.list()) == []


def _start(library: Library, document_id: str) -> None:
    with transaction(library.engine) as session:
        assert catalog.start_parsing(session, document_id) is not None


def _fail(library: Library, document_id: str) -> None:
    with transaction(library.engine) as session:
        catalog.fail_document(session, document_id, "damaged")


def test_work_on_a_deleted_document_changes_nothing(engine: Engine, library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    encoded = library.encode(document_id, TEXTS)
    library.delete(document_id)
    assert library.publish(encoded).skipped == tuple(item.chunk_id for item in encoded)
    assert not library.parse(document_id, TEXTS)
    with transaction(engine) as session:
        assert catalog.start_parsing(session, document_id) is None
        catalog.fail_document(session, document_id, "too late")
    assert _count(engine, Chunk) == 0
    sweep_blobs(engine, library.blobs)
    assert not library.blobs.exists(encoded[0].caches[0].blob)


def test_a_collection_goes_with_all_that_is_in_it_and_nothing_else(engine: Engine, library: Library) -> None:
    with transaction(engine) as session:
        other = Library(engine, library.blobs, catalog.ensure_collection(session, "default", "other").id)
    library.add("shared words")
    kept = other.add("shared words")
    with transaction(engine) as session:
        catalog.delete_collection(session, library.collection_id)
    sweep_blobs(engine, library.blobs)
    with reading(engine) as session:
        assert [found.id for found in catalog.list_collections(session, "default")] == [other.collection_id]
        assert len(lexical.search(session, other.collection_id, "shared", 10)) == 1
        document = catalog.find_document(session, "default", kept)
    assert library.blobs.read(document.blob) == b"shared words"  # the source that both had


def test_search_hits_are_live_rows_in_the_order_of_the_hits(engine: Engine, library: Library) -> None:
    kept, gone = library.add("alpha", "beta"), library.add("gamma")
    with reading(engine) as session:
        ids = list(session.scalars(select(Vector.id).order_by(Vector.id.desc())))
        rows = catalog.passages_by_vector_ids(session, library.collection_id, [*ids, 999])
        assert [row.vector_id for row in rows] == ids
        assert (rows[1].document_id, rows[1].title, rows[1].start, rows[1].end) == (kept, "alpha.txt", 0, 4)
        assert catalog.live_chunks(session, [rows[1].chunk_id])[rows[1].chunk_id].ordinal == 1
        assert catalog.passages_by_vector_ids(session, "another", ids) == []
        only = catalog.passages_by_vector_ids(session, library.collection_id, ids, document_ids={gone})
        assert [row.document_id for row in only] == [gone]
    library.delete(gone)
    with reading(engine) as session:
        rows = catalog.passages_by_vector_ids(session, library.collection_id, ids)
        assert {row.document_id for row in rows} == {kept}
        assert catalog.count_vectors(session, library.collection_id, EMBEDDER) == 2


def test_a_finished_job_and_its_publication_commit_together(engine: Engine, library: Library) -> None:
    document_id = library.accept(["text"]).document.id
    library.parse(document_id, ["text"])
    with transaction(engine) as session:
        catalog.enqueue(session, document_id, JobKind.ENCODE)
    (job_id,) = library.claim("slow", kind=JobKind.ENCODE)
    encoded = library.encode(document_id, ["text"])

    def publish(owner: str) -> None:
        with transaction(engine) as session:
            catalog.publish(session, encoded)
            catalog.complete_job(session, job_id, owner=owner)

    with pytest.raises(LeaseLost):
        publish("somebody else")
    assert _count(engine, Cache) == 0
    publish("slow")
    with reading(engine) as session:
        assert catalog.store_stats(session, "default").jobs[JobKind.ENCODE, JobState.DONE] == 1


def test_the_caches_of_a_document_move_into_one_file(engine: Engine, library: Library) -> None:
    document_id = library.accept(TEXTS).document.id
    library.parse(document_id, TEXTS)
    for _ in TEXTS:
        library.publish(library.encode(document_id, TEXTS, limit=1))
    with reading(engine) as session:
        files = {cache.blob for cache in catalog.document_caches(session, document_id)}
    assert len(files) == 2
    whole = library.blobs.put_bytes(b"both", tenant=DEFAULT_TENANT).key
    for _ in range(2):
        with transaction(engine) as session:
            catalog.move_caches(session, document_id, moved=files, key=whole)
    sweep_blobs(engine, library.blobs)
    with reading(engine) as session:
        assert {cache.blob for cache in catalog.document_caches(session, document_id)} == {whole}
    assert [library.blobs.exists(key) for key in (whole, *files)] == [True, False, False]


def test_a_document_can_be_made_anew_from_its_bytes(engine: Engine, library: Library) -> None:
    document_id = library.add(*TEXTS)
    with transaction(engine) as session:
        catalog.rebuild_document(session, document_id)
        catalog.rebuild_document(session, "gone")
    with reading(engine) as session:
        assert _ready(session, library.collection_id) == []
        assert lexical.search(session, library.collection_id, "alpha", 5) == []
    assert [_count(engine, table) for table in (Chunk, Cache, Vector)] == [0, 0, 0]
    assert len(library.claim("worker")) == 1
    library.parse(document_id, TEXTS)
    assert library.publish(library.encode(document_id, TEXTS)).ready == (document_id,)
    sweep_blobs(engine, library.blobs)
    with reading(engine) as session:
        assert all(library.blobs.exists(cache.blob) for cache in catalog.document_caches(session, document_id))


def test_a_ready_document_stays_ready_when_its_tidying_fails(engine: Engine, library: Library) -> None:
    document_id = library.add(*TEXTS)
    with transaction(engine) as session:
        catalog.enqueue(session, document_id, JobKind.FINISH)
        catalog.fail_document(session, document_id, "no")
    document = library.get(document_id)
    assert document is not None
    assert (document.state, document.error) == (DocumentState.READY, None)
    assert library.claim("worker", kind=JobKind.FINISH) == []
    with reading(engine) as session, pytest.raises(NotFound, match="It was deleted meanwhile"):
        catalog.enqueue(session, "gone", JobKind.FINISH)
