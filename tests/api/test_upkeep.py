"""The doctor looks at everybody's documents, goes on past what is lost, and deletes nothing over an empty database."""

import os
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from api.cli.documents import open_resources
from store import catalog
from store.database import reading, transaction
from store.models import Cache, Chunk, Document
from tests.api.test_backup import as_json, found_by_words, percel
from tests.api.test_cli import NOTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "log.md").write_text(NOTES)
    (folder / "prices.csv").write_text("item,price\nrope,12.50\nanchor,480.00\n")
    return folder


def cache_of(title: str) -> str:
    query = select(Cache.blob).join(Chunk, Chunk.id == Cache.chunk_id).join(Document, Document.id == Chunk.document_id)
    with open_resources() as resources, reading(resources.engine) as session:
        return session.scalars(query.where(Document.title == title)).one()


def lose(home: Path, title: str) -> None:
    """Its cache and its source."""
    with open_resources() as resources, reading(resources.engine) as session:
        source = session.scalars(select(Document.blob).where(Document.title == title)).one()
    for key in (cache_of(title), source):
        (home / "blobs" / key).unlink()


def test_the_doctor_mends_every_tenants_documents(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_TENANT", "acme")
    assert percel("ingest", folder / "log.md").exit_code == 0
    (home / "blobs" / cache_of("log.md")).unlink()
    monkeypatch.delenv("PERCEL_TENANT")
    wrong = percel("doctor")
    assert wrong.exit_code == 1
    assert "log.md (tenant acme): Blob acme/" in " ".join(wrong.stdout.split())
    assert percel("doctor", "--repair").exit_code == 0
    assert percel("doctor", "--deep").exit_code == 0


@pytest.mark.parametrize("title", ["log.md", "prices.csv"])  # whichever comes first
def test_a_lost_document_keeps_no_other_one_from_its_full_text(
    home: Path, folder: Path, tmp_path: Path, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert percel("ingest", folder).exit_code == 0
    lose(home, title)
    assert percel("backup", tmp_path / "a.backup").exit_code == 1
    monkeypatch.setenv("PERCEL_HOME", str(tmp_path / "new"))
    restored = percel("restore", tmp_path / "a.backup")
    said = " ".join(restored.stdout.split())
    assert restored.exit_code == 1
    assert "2 documents and 2 blobs are back" in said
    assert "1 documents got no full text. Blob default/" in said
    assert "2 blobs were lost or damaged before the backup was taken. `percel doctor --repair` makes anew" in said
    assert list((tmp_path / "new" / "vectors").glob("*/*/*.faiss"))
    assert [len(found_by_words(word)) for word in ("QX-5521-b", "anchor")] == [title != "log.md", title != "prices.csv"]
    with open_resources() as resources, transaction(resources.engine) as session:
        session.connection().exec_driver_sql("DELETE FROM passage_text")
    found = {finding["check"]: finding for finding in as_json("doctor", "--repair")["findings"]}
    assert not found["full text"]["ok"]
    assert "is missing. Restore it from a backup" in found["full text"]["detail"]
    assert [len(found_by_words(word)) for word in ("QX-5521-b", "anchor")] == [title != "log.md", title != "prices.csv"]


def test_sources_of_a_lost_database_are_not_deleted(home: Path, folder: Path) -> None:
    assert percel("ingest", folder / "log.md").exit_code == 0
    for path in home.glob("percel.db*"):
        if path.is_file():
            path.unlink()
    blobs = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    for path in blobs:
        os.utime(path, (time.time() - 4000,) * 2)
    for arguments in ((), ("--repair",)):
        ended = percel("doctor", *arguments)
        assert ended.exit_code == 1
        said = "2 orphans, but the database is empty: none is deleted. If another one was lost, restore it"
        assert said in " ".join(ended.stdout.split())
    assert all(path.exists() for path in blobs)
    with open_resources() as resources, transaction(resources.engine) as session:
        catalog.ensure_collection(session, "default", "default")
    assert percel("doctor", "--repair").exit_code == 0
    assert not any(path.exists() for path in blobs)
