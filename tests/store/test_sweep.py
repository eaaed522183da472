"""Rows and blobs agree: nothing that is needed is deleted, nothing that is deleted stays."""

import time
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine

from store import catalog, lexical
from store.blobs import DirectoryBlobs
from store.database import reading, transaction
from store.errors import BlobStoreUnusable
from store.models import DEFAULT_TENANT
from store.sweep import BlobCheck, check_blobs, remove_orphans, sweep_blobs
from tests.store.conftest import Library

WORDS = (b"unrepeatable-confidential-sentence", b"confidenti")  # as it was written, and as the index keeps it


def test_what_was_deleted_is_gone_from_the_disk_even_if_the_sweep_comes_late(engine: Engine, library: Library) -> None:
    document_id = library.add("the secret text")
    library.delete(document_id)
    assert len(list(library.blobs.list())) == 3  # killed before the sweep: source, pending texts, caches
    assert sweep_blobs(engine, library.blobs) == 3
    assert sweep_blobs(engine, library.blobs) == 0
    assert list(library.blobs.list()) == []


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_file_holds_deleted_text(engine: Engine, library: Library) -> None:
    document_id = library.add("unrepeatable-confidential-sentence")
    library.add("another text")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database = library.blobs.root.parent / "percel.db"
    assert {word in database.read_bytes() for word in WORDS} == {True}
    library.delete(document_id)
    sweep_blobs(engine, library.blobs)
    with transaction(engine) as session:
        lexical.merge(session)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [path for path in library.blobs.root.parent.rglob("*") if path.is_file()]
    assert [path for path in files if any(word in path.read_bytes() for word in WORDS)] == []


def test_a_blob_that_came_into_use_again_survives_the_sweep(engine: Engine, library: Library) -> None:
    library.delete(library.accept(["same bytes"]).document.id)
    again = library.accept(["same bytes"]).document
    sweep_blobs(engine, library.blobs)
    assert library.blobs.read(again.blob) == b"same bytes"


def test_a_check_names_missing_orphaned_and_damaged_blobs_and_changes_nothing(engine: Engine, library: Library) -> None:
    lost, hurt = library.accept(["lost"]).document.blob, library.accept(["hurt"]).document.blob
    library.blobs.delete([lost])
    library.blobs.local_path(hurt).write_bytes(b"hurT")
    orphan = library.blobs.put_bytes(b"nobody's", tenant=DEFAULT_TENANT).key
    later = time.time() + 4000
    assert check_blobs(engine, library.blobs) == BlobCheck((lost,), (), ())  # an upload may still be on its way
    assert check_blobs(engine, library.blobs, read=True, now=later) == BlobCheck((lost,), (orphan,), (hurt,))
    assert library.blobs.exists(orphan)


class Kept(DirectoryBlobs):
    """A store in which some blobs cannot be deleted, as under a legal hold; asked for last of all."""

    kept: Sequence[str] = ()

    def delete(self, keys: Sequence[str]) -> None:
        super().delete([key for key in keys if key not in self.kept])
        if set(keys) & set(self.kept):
            raise BlobStoreUnusable("S3 bucket b", "AccessDenied (Object is WORM protected)")


def test_a_blob_that_cannot_be_deleted_holds_up_no_other(engine: Engine, library: Library) -> None:
    blobs = Kept(library.blobs.root)
    documents = [library.accept([name]).document for name in ("kept", "one", "two")]
    blobs.kept = [documents[0].blob]
    with transaction(engine) as session:
        for document in documents:
            catalog.delete_document(session, document.id)
    with pytest.raises(BlobStoreUnusable, match="WORM protected"):
        sweep_blobs(engine, blobs)
    assert [blob.key for blob in blobs.list()] == blobs.kept
    with reading(engine) as session:
        assert catalog.discarded_blobs(session, 10) == blobs.kept


def test_as_many_as_are_looked_at_at_once_hide_none_that_can_be_deleted(engine: Engine, library: Library) -> None:
    blobs = Kept(library.blobs.root)
    blobs.kept = [blobs.put_bytes(b"kept %d" % number, tenant=DEFAULT_TENANT).key for number in range(100)]
    last = blobs.put_bytes(b"may go", tenant=DEFAULT_TENANT).key
    for keys in (blobs.kept, [last]):
        with transaction(engine) as session:
            catalog.discard_blobs(session, keys)
    for _ in range(2):
        with pytest.raises(BlobStoreUnusable, match="WORM protected"):
            sweep_blobs(engine, blobs)
    assert sorted(blob.key for blob in blobs.list()) == sorted(blobs.kept)
    with reading(engine) as session:
        assert sorted(catalog.discarded_blobs(session, 200)) == sorted(blobs.kept)


def test_files_after_one_that_cannot_be_deleted_go(library: Library) -> None:
    first, last = (library.blobs.put_bytes(data, tenant=DEFAULT_TENANT).key for data in (b"first", b"last"))
    library.blobs.delete([first])
    (library.blobs.root / first / "below").mkdir(parents=True)  # unlink does not take a folder, nor does anybody else
    with pytest.raises(OSError, match=first):
        library.blobs.delete([first, last])
    assert not library.blobs.exists(last)


def test_what_is_deleted_during_a_check_is_neither_missing_nor_damaged(
    engine: Engine, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id, verify = library.add("soon gone"), library.blobs.verify

    def meanwhile(key: str) -> None:
        library.delete(document_id)
        sweep_blobs(engine, library.blobs)
        verify(key)

    monkeypatch.setattr(library.blobs, "verify", meanwhile)
    assert check_blobs(engine, library.blobs, read=True) == BlobCheck((), (), ())


def test_orphans_are_removed_unless_a_row_names_them_by_now(engine: Engine, library: Library) -> None:
    orphan = library.blobs.put_bytes(b"nobody's", tenant=DEFAULT_TENANT).key
    adopted = library.accept(["somebody's"]).document.blob
    assert remove_orphans(engine, library.blobs, (orphan, adopted)) == 1
    assert not library.blobs.exists(orphan)
    assert library.blobs.exists(adopted)
    with transaction(engine) as session:
        assert catalog.discarded_blobs(session, 10) == []
