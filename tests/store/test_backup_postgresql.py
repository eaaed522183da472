"""A backup of one kind of database goes into the other, and back, without a difference."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from store import catalog
from store.backup import highest_ids, write_backup
from store.blobs import DirectoryBlobs
from store.database import reading, transaction
from store.restore import restore_backup
from tests.store.conftest import Library
from tests.store.test_backup import all_rows, silent

pytestmark = pytest.mark.servers


def test_rows_go_from_sqlite_to_postgresql_and_back(
    sqlite_engine: Engine, postgresql_engine: Engine, blobs: DirectoryBlobs, tmp_path: Path
) -> None:
    with transaction(sqlite_engine) as session:
        home = catalog.ensure_collection(session, "default", "main")
    library = Library(sqlite_engine, blobs, home.id)
    library.add("one", "two")
    library.accept(["three"], external_id="x", metadata={"tags": [1, None, "ü\U0001f600"]})
    library.delete(library.add("gone"))
    elsewhere = DirectoryBlobs(tmp_path / "elsewhere")
    write_backup(sqlite_engine, blobs, tmp_path / "a", progress=silent)
    restore_backup(postgresql_engine, elsewhere, tmp_path / "a", replace=False, progress=silent)
    assert all_rows(postgresql_engine) == all_rows(sqlite_engine)
    write_backup(postgresql_engine, elsewhere, tmp_path / "b", progress=silent)
    restore_backup(postgresql_engine, elsewhere, tmp_path / "b", replace=True, progress=silent)
    restore_backup(sqlite_engine, blobs, tmp_path / "b", replace=True, progress=silent)
    assert all_rows(sqlite_engine) == all_rows(postgresql_engine)
    with reading(postgresql_engine) as there, reading(sqlite_engine) as here:
        assert {name: number for name, number in highest_ids(there).items() if number} == highest_ids(here)
