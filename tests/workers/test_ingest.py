"""The stages bring any mixture of files to ready or failed, once each, whatever happens on the way."""

import errno
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select

from api.library import documents_of, read_document, remove_document
from compressor.codebook import CodeBook, Stream
from compressor.errors import EmptyDocument
from compressor.styles import Style, StyleRun, styles_of
from store import catalog
from store.blobs import DirectoryBlobs
from store.database import reading, transaction
from store.errors import BlobTooLarge, StoreFull
from store.models import Chunk, Delivery, DeliveryState, Document, DocumentState, IdempotentReply, Job
from store.sweep import check_blobs
from workers.events import Event, silent
from workers.ingest import Offer, accept, adaptive_caches, encode_batch, parse, pending_work
from workers.resources import Resources
from workers.runner import recover, run_due_jobs
from workers.tend import clean

STORY = "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. " * 12


def offer(folder: Path, name: str, content: str | bytes) -> Offer:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Offer(path, name, external_id=name)


def ingest(resources: Resources, *offers: Offer) -> dict[str, Document]:
    for item in offers:
        accept(resources, "default", "test", item)
    run_due_jobs(resources)
    return {document.title: document for document in documents_of(resources, "default", "test")}


def counts(resources: Resources) -> dict[str, int]:
    with reading(resources.engine) as session:
        stats = catalog.store_stats(session, "default")
        chunks = session.scalars(select(func.count()).select_from(Chunk)).one()
    return {"documents": sum(stats.documents.values()), "vectors": stats.vectors, "chunks": chunks}


def claim(resources: Resources, kind: catalog.JobKind) -> Job:
    with transaction(resources.engine) as session:
        (job,) = catalog.claim_jobs(session, [kind], owner="other", lease_seconds=60)
    return job


def test_a_document_becomes_ready_and_reads_back_exactly(resources: Resources, tmp_path: Path) -> None:
    document = ingest(resources, offer(tmp_path, "a.md", "# Weirs\n\n" + STORY))["a.md"]
    assert document.state is DocumentState.READY
    assert document.pending_blob is None
    assert STORY.strip() in "\n".join(read_document(resources, document))


def test_tokens_are_compressed_once_for_the_file_and_its_rows(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed: list[int] = []

    pack = CodeBook.pack

    def counted(book: CodeBook, stream: Stream, plain: NDArray[np.uint8]) -> bytes:
        packed = pack(book, stream, plain)
        compressed.append(len(packed))
        return packed

    monkeypatch.setattr(CodeBook, "pack", counted)
    resources.__dict__["batch_chunks"] = 1  # several files, which `finish` joins
    document = ingest(resources, offer(tmp_path, "a.txt", STORY * 6))["a.txt"]
    with reading(resources.engine) as session:
        (figures,) = catalog.document_figures(session, [document.id])[document.id]
        assert len({row.blob for row in catalog.document_caches(session, document.id)}) == 1
    assert figures.chunks > 1
    assert len(compressed) == 2 * figures.chunks  # symbols, and what cells share
    assert sum(compressed) <= figures.cache_bytes < sum(compressed) + 200


def test_the_same_bytes_again_run_nothing(resources: Resources, tmp_path: Path) -> None:
    item = offer(tmp_path, "a.txt", STORY)
    ingest(resources, item)
    before = counts(resources)
    again = accept(resources, "default", "test", item)
    assert (again.created, again.job) == (False, None)
    assert counts(resources) == before


def test_new_bytes_replace_the_old_version_when_they_are_ready(resources: Resources, tmp_path: Path) -> None:
    first = ingest(resources, offer(tmp_path, "a.txt", STORY))["a.txt"]
    accepted = accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY + "It fell again."))
    assert {d.id for d in documents_of(resources, "default", "test")} == {first.id, accepted.document.id}
    run_due_jobs(resources)
    (now,) = documents_of(resources, "default", "test")
    assert now.id == accepted.document.id
    assert "It fell again." in read_document(resources, now)[0]


def test_a_bad_file_fails_with_its_reason_and_the_others_pass(resources: Resources, tmp_path: Path) -> None:
    documents = ingest(
        resources,
        offer(tmp_path, "good.txt", STORY),
        offer(tmp_path, "cut.pdf", b"%PDF-1.7\n1 0 obj\n<<"),
        offer(tmp_path, "also-good.csv", "id,amount\nA-1,20.50\nA-2,31.75\n"),
    )
    assert {name: d.state.value for name, d in documents.items()} == {
        "good.txt": "ready",
        "cut.pdf": "failed",
        "also-good.csv": "ready",
    }
    assert documents["cut.pdf"].error is not None
    assert "cut.pdf" in documents["cut.pdf"].error


def test_an_empty_file_is_refused_at_once(resources: Resources, tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument, match=r"nothing\.txt is empty: it has no bytes"):
        accept(resources, "default", "test", offer(tmp_path, "nothing.txt", b""))


def test_a_file_over_the_cap_is_refused_at_once(home: Path, tmp_path: Path) -> None:
    from workers.settings import Settings

    too_large = pytest.raises(BlobTooLarge, match="More than 100 bytes: over the size limit")
    with Resources(Settings(home=home, max_file_bytes=100)) as resources, too_large:
        accept(resources, "default", "test", offer(tmp_path, "big.txt", STORY))


@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine syncs six thousand small files slowly
def test_a_thousand_files_of_which_three_are_bad(resources: Resources, tmp_path: Path) -> None:
    offers = [offer(tmp_path, f"{n:03}.txt", f"Note {n}: the pump of house {n} was checked.") for n in range(997)]
    offers += [offer(tmp_path, f"bad-{n}.pdf", b"%PDF-1.4\nbroken" + bytes([n])) for n in range(3)]
    documents = ingest(resources, *offers)
    states = [document.state for document in documents.values()]
    assert (states.count(DocumentState.READY), states.count(DocumentState.FAILED)) == (997, 3)
    assert all(d.error for d in documents.values() if d.state is DocumentState.FAILED)


@pytest.mark.parametrize(
    "title", ["../../etc/passwd", "a\0b.txt", "\u202etxt.exe", "x" * 251 + ".txt", "名前.txt", "-rf.txt", " .txt"]
)
def test_a_file_name_is_metadata_and_never_a_path(resources: Resources, tmp_path: Path, title: str) -> None:
    path = tmp_path / "file"
    path.write_text(STORY)
    accept(resources, "default", "test", Offer(path, title))
    run_due_jobs(resources)
    (document,) = documents_of(resources, "default", "test")
    assert (document.title, document.state) == (title, DocumentState.READY)
    below = {found.relative_to(resources.settings.home).parts[0] for found in resources.settings.home.rglob("*")}
    assert below <= {"blobs", "percel.db", "percel.db-wal", "percel.db-shm", "percel.db-holds", "workers", "vectors"}


def test_a_long_document_ends_up_in_one_cache_file(resources: Resources, tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n}. {STORY}" for n in range(90))
    document = ingest(resources, offer(tmp_path, "long.txt", text))["long.txt"]
    with reading(resources.engine) as session:
        rows = catalog.document_caches(session, document.id)
    assert len(rows) > 16
    assert len({row.blob for row in rows}) == 1
    used = check_blobs(resources.engine, resources.blobs, read=True, now=4e9)
    assert (used.missing, used.orphans, used.damaged) == ((), (), ())
    assert len(list(resources.blobs.list())) == 2  # the source and the caches


def test_deleting_a_document_leaves_nothing_of_it(resources: Resources, tmp_path: Path) -> None:
    documents = ingest(resources, offer(tmp_path, "a.txt", STORY), offer(tmp_path, "b.txt", STORY.upper()))
    remove_document(resources, documents["a.txt"].id)
    remove_document(resources, documents["b.txt"].id)
    assert counts(resources) == {"documents": 0, "vectors": 0, "chunks": 0}
    assert list(resources.blobs.list()) == []


def test_a_document_deleted_while_it_is_encoded_is_dropped(resources: Resources, tmp_path: Path) -> None:
    accepted = accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    seen: list[str] = []

    def delete_at_encode(event: Event) -> None:
        if event.due and not seen:
            seen.append(event.document_id)
            with transaction(resources.engine) as session:
                catalog.delete_document(session, event.document_id)

    run_due_jobs(resources, delete_at_encode)
    assert seen == [accepted.document.id]
    assert counts(resources) == {"documents": 0, "vectors": 0, "chunks": 0}


def test_what_waits_to_be_encoded_knows_its_styles(resources: Resources, tmp_path: Path) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.md", "# Weirs\n\nThe *gauge* stood."))
    parse(resources, claim(resources, catalog.JobKind.PARSE), owner="other", listen=silent)
    (item,) = pending_work(resources, claim(resources, catalog.JobKind.ENCODE))
    assert item.text == "Weirs\nThe gauge stood."
    assert item.styles == (StyleRun(0, 5, Style.HEADING_1), StyleRun(10, 15, Style.ITALIC))


def test_styles_read_back_as_they_were_encoded(resources: Resources) -> None:
    hard = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    texts = [STORY, hard]
    styles = [
        styles_of([StyleRun(4, 9, Style.BOLD)], len(STORY)),
        styles_of([StyleRun(0, 3, Style.CODE)], len(hard)),
    ]
    caches = adaptive_caches(resources, texts, styles)
    for cache, given in zip(caches, styles, strict=True):
        (found,) = resources.codec(cache.codec).read_styles([cache])
        assert found.tolist() == given.tolist()


def test_publishing_a_batch_twice_changes_nothing(resources: Resources, tmp_path: Path) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
    parse(resources, claim(resources, catalog.JobKind.PARSE), owner="other", listen=silent)
    job = claim(resources, catalog.JobKind.ENCODE)
    batch = encode_batch(resources, pending_work(resources, job))
    with transaction(resources.engine) as session:
        catalog.publish(session, batch.chunks)
    before = counts(resources)
    with transaction(resources.engine) as session:
        catalog.publish(session, batch.chunks)
        catalog.release_job(session, job.id, owner="other")
    run_due_jobs(resources)
    assert counts(resources) == before
    assert documents_of(resources, "default", "test")[0].state is DocumentState.READY


class FullDisk(DirectoryBlobs):
    """A directory whose disk is full after some blobs: the system's own error, raised where a write would."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.left = after

    def put_bytes(self, data: bytes, *, tenant: str):
        if self.left == 0:
            raise StoreFull(str(self.root), len(data), 0) from OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        return super().put_bytes(data, tenant=tenant)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_ends_the_run_with_one_error_and_loses_nothing(
    resources: Resources, tmp_path: Path, after: int
) -> None:
    offers = [offer(tmp_path, f"{n}.txt", f"{STORY} {n}") for n in range(3)]
    for item in offers:
        accept(resources, "default", "test", item)
    whole = resources.blobs
    assert isinstance(whole, DirectoryBlobs)
    resources.__dict__["blobs"] = FullDisk(whole.root, after)
    with pytest.raises(StoreFull, match=r"No space left at .*blobs: [\d,]+ bytes are needed, 0 are free"):
        run_due_jobs(resources)
    resources.__dict__["blobs"] = whole
    run_due_jobs(resources)
    assert {d.state for d in documents_of(resources, "default", "test")} == {DocumentState.READY}


def test_a_document_that_kills_its_worker_every_time_fails_in_the_end(resources: Resources, tmp_path: Path) -> None:
    accept(resources, "default", "test", offer(tmp_path, "poison.txt", STORY))
    for attempt in range(3):
        with transaction(resources.engine) as session:
            (job,) = catalog.claim_jobs(session, [catalog.JobKind.PARSE], owner=f"dead-{attempt}", lease_seconds=600)
            assert job.attempts == attempt + 1
            catalog.abandon_leases(session, [f"dead-{attempt}"])
        recover(resources)
    (document,) = documents_of(resources, "default", "test")
    assert document.state is DocumentState.FAILED
    assert document.error == "its worker died 3 times while working on it (at the stage parse)"


def test_what_nobody_needs_is_cleaned_away(resources: Resources, tmp_path: Path) -> None:
    ingest(resources, offer(tmp_path, "a.txt", STORY))
    with transaction(resources.engine) as session:
        kept = catalog.find_collection(session, "default", "test").id
        hook = catalog.add_webhook(session, "default", url="https://receiver.example/")
        for state, age in ((DeliveryState.DELIVERED, 8), (DeliveryState.DELIVERED, 6), (DeliveryState.QUEUED, 8)):
            at = time.time() - age * 86_400
            session.add(
                Delivery(
                    webhook_id=hook.id,
                    event=f"{state} {age}",
                    body={},
                    state=state,
                    attempts=1,
                    not_before=at,
                    created_at=at,
                )
            )
        said = {"request_sha256": "0" * 64, "status": 202, "body": {"title": "of a document that was deleted"}}
        for key, hours in (("old", 25), ("new", 23)):
            session.add(IdempotentReply(tenant="default", key=key, created_at=time.time() - hours * 3600, **said))
    for name in (kept, "f" * 32):
        (resources.index_directory / name / "files").mkdir(parents=True, exist_ok=True)
    clean(resources)
    assert [path.name for path in resources.index_directory.glob("*/")] == [kept]
    with reading(resources.engine) as session:
        assert sorted(session.scalars(select(Delivery.event))) == ["delivered 6", "queued 8"]
        assert list(session.scalars(select(IdempotentReply.key))) == ["new"]
