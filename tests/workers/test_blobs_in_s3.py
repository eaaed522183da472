"""Ingest, ask and delete with blobs in a bucket are what they are with a directory; trouble there loses nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api.answer import ask
from api.library import documents_of, read_document, remove_document
from api.upkeep import examine
from store import catalog
from store.blobs.s3 import S3Blobs
from store.database import reading
from store.errors import BlobStoreDown, BlobStoreUnusable
from store.models import DocumentState
from tests.servers_s3 import Between, blob_url
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

STORY = "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. " * 12


@pytest.fixture
def far(home: Path, bucket: str, between: Between) -> Iterator[Resources]:
    """Resources whose blobs are in a bucket."""
    with Resources(Settings(home=home, blob_url=blob_url(bucket, between.endpoint))) as opened:
        yield opened


def offer(folder: Path, name: str, content: str) -> Offer:
    path = folder / name
    path.write_text(content)
    return Offer(path, name)


def test_a_document_is_ingested_answers_and_goes(far: Resources, tmp_path: Path) -> None:
    accept(far, "default", "test", offer(tmp_path, "weir.txt", STORY))
    run_due_jobs(far)
    (document,) = documents_of(far, "default", "test")
    assert document.state is DocumentState.READY
    assert document.blob.startswith("default/")
    assert STORY.strip() in "\n".join(read_document(far, document))
    answer = ask(far, "default", "When was the gauge at Marlow Weir read?", collection="test")
    assert "06:00" in answer.answer
    assert [finding.detail for finding in examine(far, deep=True) if not finding.ok] == []
    assert not (far.settings.home / "blobs").exists()
    remove_document(far, document.id)
    assert list(far.blobs.list()) == []
    assert [path for path in (far.settings.home / "blob-cache").rglob("*") if path.is_file()] == []


def test_the_bucket_is_asked_while_others_may_write(
    far: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    exists = far.blobs.exists

    def look(key: str) -> bool:
        with closing(sqlite3.connect(far.settings.home / "percel.db", timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        asked.append(key)
        return exists(key)

    monkeypatch.setattr(far.blobs, "exists", look)
    accepted = accept(far, "default", "test", offer(tmp_path, "a.txt", STORY))
    assert asked == [accepted.document.blob]


def test_a_bucket_in_trouble_ends_the_run_with_one_error_and_loses_nothing(
    far: Resources, tmp_path: Path, between: Between
) -> None:
    for n in range(3):
        accept(far, "default", "test", offer(tmp_path, f"{n}.txt", f"{STORY} {n}"))
    assert isinstance(far.blobs, S3Blobs)
    between.failures = 10_000
    with pytest.raises(BlobStoreDown, match=r"S3 bucket .* does not answer: InternalError .not now.; try again"):
        run_due_jobs(far)
    between.failures = 0
    assert {d.state for d in documents_of(far, "default", "test")}.isdisjoint({DocumentState.FAILED})
    run_due_jobs(far)
    assert {d.state for d in documents_of(far, "default", "test")} == {DocumentState.READY}


def test_without_its_bucket_nothing_is_accepted(home: Path, s3_server: str, aws: None, tmp_path: Path) -> None:
    with Resources(Settings(home=home, blob_url=blob_url("nowhere", s3_server))) as resources:
        with pytest.raises(BlobStoreUnusable, match=r"S3 bucket nowhere cannot be used: there is no such bucket\. C"):
            accept(resources, "default", "test", offer(tmp_path, "a.txt", STORY))
        with reading(resources.engine) as session:
            assert catalog.list_collections(session, "default") == []
