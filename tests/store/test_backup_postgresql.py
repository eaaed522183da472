"""A backup of one kind of database goes into the other, and back, without a difference."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from store.backup import highest_ids, write_backup
from store.blobs import DirectoryBlobs
from store.database import migrate, open_database, reading, transaction
from store.restore import restore_backup
from tests.store.conftest import Library
from tests.store.test_backup import all_rows, silent

pytest.importorskip("tests.servers", reason="the fixtures of real servers are not in this tree")


@pytest.fixture
def postgresql(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = open_database(request.getfixturevalue("postgresql_url"))
    migrate(engine)
    yield engine
    engine.dispose()


def test_rows_go_from_sqlite_to_postgresql_and_back(
    library: Library, engine: Engine, blobs: DirectoryBlobs, postgresql: Engine, tmp_path: Path
) -> None:
    library.add("one", "two")
    library.accept(["three"], external_id="x", metadata={"tags": [1, None, "ü\U0001f600"]})
    library.delete(library.add("gone"))
    write_backup(engine, blobs, tmp_path / "a", progress=silent)
    restore_backup(postgresql, DirectoryBlobs(tmp_path / "p"), tmp_path / "a", replace=False, progress=silent)
    assert all_rows(postgresql) == all_rows(engine)
    write_backup(postgresql, DirectoryBlobs(tmp_path / "p"), tmp_path / "b", progress=silent)
    restore_backup(postgresql, DirectoryBlobs(tmp_path / "p"), tmp_path / "b", replace=True, progress=silent)
    with transaction(engine) as session:
        highest = highest_ids(session)
    restore_backup(engine, blobs, tmp_path / "b", replace=True, progress=silent)
    assert all_rows(engine) == all_rows(postgresql)
    with reading(postgresql) as session:
        assert {name: number for name, number in highest_ids(session).items() if number} == highest
