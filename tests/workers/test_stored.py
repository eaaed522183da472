"""Blobs and the rows that name them, whatever a sweep, a delete or an end of the worker does in between."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.orm import Session

from api.library import documents_of, read_document
from store import catalog
from store.blobs import DirectoryBlobs, StoredBlob
from store.database import reading, transaction
from store.errors import LeaseLost
from store.models import DocumentState, Job
from store.sweep import BlobCheck, check_blobs, sweep_blobs
from store.types import NewChunk
from tests.workers.test_ingest import STORY, claim, ingest, offer
from workers import ingest as stages
from workers.events import silent
from workers.ingest import accept, encode_batch, parse, pending_work, publish
from workers.resources import Resources
from workers.runner import run_due_jobs


class Watched(DirectoryBlobs):
    """A directory that sees to it, whatever it is asked, that somebody else can write rows meanwhile."""

    def __init__(self, root: Path, engine: Engine) -> None:
        super().__init__(root)
        self.engine = engine
        self.asked: list[str] = []
        self.blocking: list[str] = []

    def look(self, what: str) -> None:
        writer = threading.Thread(target=self.write, daemon=True)
        writer.start()
        # Another lane may be in the middle of a transaction; one of the caller's own lasts as long as this.
        writer.join(1 if self.blocking else 20)
        if writer.is_alive():
            self.blocking.append(what)
        self.asked.append(what)

    def write(self) -> None:
        with transaction(self.engine) as session:
            session.execute(text("UPDATE collection SET served_at = served_at"))

    def put_file(self, path: Path, *, tenant: str, limit: int | None = None) -> StoredBlob:
        self.look("put_file")
        return super().put_file(path, tenant=tenant, limit=limit)

    def put_bytes(self, data: bytes, *, tenant: str) -> StoredBlob:
        self.look("put_bytes")
        return super().put_bytes(data, tenant=tenant)

    def delete(self, keys: Sequence[str]) -> None:
        self.look("delete")
        super().delete(keys)

    def exists(self, key: str) -> bool:
        self.look("exists")
        return super().exists(key)

    def read(self, key: str) -> bytes:
        self.look("read")
        return super().read(key)

    def local_path(self, key: str) -> Path:
        self.look("local_path")
        return super().local_path(key)

    def ranges(self, key: str) -> Path:
        self.look("ranges")
        return super().ranges(key)


def test_a_slow_blob_store_keeps_nobody_from_writing(resources: Resources, tmp_path: Path) -> None:
    whole = resources.blobs
    assert isinstance(whole, DirectoryBlobs)
    watched = Watched(whole.root, resources.engine)
    resources.__dict__["blobs"] = watched
    resources.__dict__["batch_chunks"] = 1  # several files, so that `finish` puts them together
    (document,) = ingest(resources, offer(tmp_path, "a.txt", STORY * 6)).values()
    assert document.state is DocumentState.READY
    assert watched.blocking == []
    assert set(watched.asked) == {"put_file", "put_bytes", "exists", "read", "local_path", "ranges", "delete"}


class Swept(DirectoryBlobs):
    """A directory out of which a sweep takes every blob once, right after it was put."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.taken: set[str] = set()

    def put_file(self, path: Path, *, tenant: str, limit: int | None = None) -> StoredBlob:
        return self.take(super().put_file(path, tenant=tenant, limit=limit))

    def put_bytes(self, data: bytes, *, tenant: str) -> StoredBlob:
        return self.take(super().put_bytes(data, tenant=tenant))

    def take(self, blob: StoredBlob) -> StoredBlob:
        if blob.key not in self.taken:
            self.taken.add(blob.key)
            self.delete([blob.key])
        return blob


@pytest.fixture
def swept(resources: Resources) -> Swept:
    """What the resources store blobs in; a cache file holds one chunk."""
    assert isinstance(resources.blobs, DirectoryBlobs)
    swept = Swept(resources.blobs.root)
    resources.__dict__["blobs"] = swept
    resources.__dict__["batch_chunks"] = 1
    return swept


def test_what_a_sweep_takes_before_its_row_is_there_is_put_again_at_every_stage(
    resources: Resources, swept: Swept, tmp_path: Path
) -> None:
    (document,) = ingest(resources, offer(tmp_path, "a.txt", STORY * 6)).values()
    assert document.state is DocumentState.READY
    assert STORY.strip() in "\n".join(read_document(resources, document))
    # The file, the chunks' texts, a cache file of each chunk, all of them together.
    assert len(swept.taken) == 3 + (document.chunk_count or 0)
    with reading(resources.engine) as session:
        assert set(session.scalars(select(Job.attempts))) == {1}
    assert check_blobs(resources.engine, swept, now=2e10) == BlobCheck((), (), ())


def test_an_end_right_after_each_commit_that_names_a_swept_blob_leaves_nothing_to_repair(
    resources: Resources, swept: Swept, tmp_path: Path
) -> None:
    ended_at: set[str] = set()

    def end(_session: Session) -> None:
        with reading(resources.engine) as session:
            named = catalog.blobs_in_use(session) & swept.taken - ended_at
        if named:
            ended_at.update(named)
            raise KeyboardInterrupt

    event.listen(Session, "after_commit", end)
    try:
        with pytest.raises(KeyboardInterrupt):
            accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY * 6))
        (document,) = documents_of(resources, "default", "test")
        while document.state is not DocumentState.READY or has_live_jobs(resources):
            assert check_blobs(resources.engine, swept).missing == ()
            with suppress(KeyboardInterrupt):
                run_due_jobs(resources)
            (document,) = documents_of(resources, "default", "test")
    finally:
        event.remove(Session, "after_commit", end)
    assert len(ended_at) == 3 + (document.chunk_count or 0) >= 5
    sweep_blobs(resources.engine, swept)
    assert STORY.strip() in "\n".join(read_document(resources, document))
    assert check_blobs(resources.engine, swept, now=2e10) == BlobCheck((), (), ())


def has_live_jobs(resources: Resources) -> bool:
    with reading(resources.engine) as session:
        return catalog.has_live_jobs(session)


def test_a_parse_that_ended_between_two_portions_of_chunks_is_taken_up(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY * 30))
    monkeypatch.setattr(stages, "ADDED_AT_ONCE", 2)
    portions: list[int] = []
    add = catalog.add_chunks

    def add_until_killed(session: Session, document_id: str, chunks: Sequence[NewChunk]) -> None:
        if len(portions) == 1:
            raise InterruptedError
        portions.append(len(chunks))
        add(session, document_id, chunks)

    monkeypatch.setattr(catalog, "add_chunks", add_until_killed)
    job = claim(resources, catalog.JobKind.PARSE)
    with pytest.raises(InterruptedError):
        parse(resources, job, owner="other", listen=silent)
    assert portions == [2]
    (document,) = documents_of(resources, "default", "test")
    with reading(resources.engine) as session:
        first = [chunk.id for chunk in catalog.list_chunks(session, document.id)]
        assert catalog.pending_chunks(session) == []  # nobody takes up what is not recorded as parsed
    assert len(first) == 2
    monkeypatch.setattr(catalog, "add_chunks", add)
    parse(resources, job, owner="other", listen=silent)
    (document,) = documents_of(resources, "default", "test")
    with reading(resources.engine) as session:
        chunks = catalog.list_chunks(session, document.id)
    assert [chunk.ordinal for chunk in chunks] == list(range(document.chunk_count or 0))
    assert len(chunks) >= 5
    assert [chunk.id for chunk in chunks[:2]] == first
    with transaction(resources.engine) as session:
        catalog.delete_document(session, document.id)
    with pytest.raises(LeaseLost):
        parse(resources, job, owner="other", listen=silent)


def test_two_documents_that_share_a_file_keep_it_when_one_goes_between_their_publications(
    resources: Resources, tmp_path: Path
) -> None:
    item = offer(tmp_path, "a.txt", STORY)
    for home in ("one", "two"):
        accept(resources, "default", home, item)
        parse(resources, claim(resources, catalog.JobKind.PARSE), owner="other", listen=silent)
    work = [pending_work(resources, claim(resources, catalog.JobKind.ENCODE))[0] for _ in range(2)]
    encoded = encode_batch(resources, work)
    assert len(encoded.files) == 1
    publish(resources, encoded.chunks[:1], encoded.files)
    with transaction(resources.engine) as session:
        catalog.delete_document(session, work[0].document_id)
    sweep_blobs(resources.engine, resources.blobs)
    publish(resources, encoded.chunks[1:], encoded.files)
    assert check_blobs(resources.engine, resources.blobs).missing == ()


def test_portions_of_another_programs_parse_are_not_gone_on_from(resources: Resources, tmp_path: Path) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY * 9))
    parse(resources, claim(resources, catalog.JobKind.PARSE), owner="other", listen=silent)
    (document,) = documents_of(resources, "default", "test")
    with reading(resources.engine) as session:
        chunks = [
            NewChunk(
                chunk.ordinal,
                chunk.heading,
                chunk.characters,
                chunk.text_tokens,
                chunk.text_sha256,
                chunk.layout,
                chunk.passages,
            )
            for chunk in catalog.list_chunks(session, document.id)
        ]
    with transaction(resources.engine) as session:
        assert catalog.keep_chunks(session, document.id, chunks) == len(chunks) > 1
        assert catalog.keep_chunks(session, document.id, [replace(chunks[0], heading="elsewhere"), *chunks[1:]]) == 0
        assert catalog.list_chunks(session, document.id) == []
