"""A backup is of one moment, whatever happens meanwhile, and comes back whole or not at all."""

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from store import catalog
from store.archive import Manifest, opening, writing
from store.backup import highest_ids, write_backup
from store.blobs import DirectoryBlobs
from store.database import build_schema, migrate, open_database, reading, transaction
from store.errors import BackupDamaged, BackupExists, BackupTooNew, SchemaOutdated, SchemaTooNew, StoreNotEmpty
from store.models import Document, Job, JobState
from store.restore import restore_backup
from store.rowlines import kept_tables, table_rows
from store.scopes import Scope
from tests.store.conftest import Library


def silent(step: str, done: int, due: int) -> None:
    """Nobody looks."""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[Engine, DirectoryBlobs]]:
    """Another store, empty."""
    engine = open_database(f"sqlite:///{tmp_path / 'other' / 'percel.db'}")
    migrate(engine)
    yield engine, DirectoryBlobs(tmp_path / "other" / "blobs")
    engine.dispose()


def all_rows(engine: Engine) -> dict[str, list[dict[str, object]]]:
    with reading(engine) as session:
        return {table.name: list(table_rows(session, table)) for table in kept_tables()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.percel"


def changed(file: Path, member: str, data: bytes) -> None:
    """The same archive with other bytes in one member."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members[member] = data
    with zipfile.ZipFile(file, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def test_rows_and_blobs_come_back_as_they_were(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one", "two")
    library.accept(["three"], external_id="x", metadata={"year": 2024, "tags": ["a", "b"]})
    with transaction(engine) as session:
        catalog.add_webhook(session, "default", url="https://example.org/hook")
        catalog.create_key(session, "default", name="ci", scopes=[Scope.READ])
    written = write_backup(engine, blobs, file, progress=silent)
    assert file.stat().st_mode & 0o777 == 0o600
    restore_backup(*other, file, replace=False, progress=silent)
    assert all_rows(other[0]) == all_rows(engine)
    with reading(engine) as session:
        used = catalog.blobs_in_use(session)
    assert {key: other[1].read(key) for key in used} == {key: blobs.read(key) for key in used}
    assert (written.blobs, written.lost_blobs) == (len(used), ())


def test_ids_are_not_used_again_after_a_restore(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one")
    gone = library.add("two")
    with transaction(engine) as session:
        catalog.delete_document(session, gone)
        highest = {name: number for name, number in highest_ids(session).items() if number}
    write_backup(engine, blobs, file, progress=silent)
    restore_backup(*other, file, replace=False, progress=silent)
    with reading(other[0]) as session:
        assert {name: number for name, number in highest_ids(session).items() if number} == highest


def test_a_job_that_was_running_is_due_again(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.accept(["one"])
    with transaction(engine) as session:
        catalog.claim_jobs(session, [catalog.JobKind.PARSE], owner="w", lease_seconds=60, limit=1)
    write_backup(engine, blobs, file, progress=silent)
    restore_backup(*other, file, replace=False, progress=silent)
    with reading(other[0]) as session:
        job = session.scalars(select(Job)).one()
    assert (job.state, job.attempts, job.lease_owner, job.lease_until) == (JobState.QUEUED, 0, None, None)


def test_a_delete_while_the_backup_is_taken_leaves_it_consistent(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    """The blobs of a document go while they are being copied; the rows in the file are of a moment after that."""
    kept, gone = library.add("kept"), library.add("gone")
    deleted: list[str] = []

    def delete_once(step: str, done: int, due: int) -> None:
        if step == "blobs" and done and not deleted:
            deleted.append(gone)
            with transaction(engine) as session:
                catalog.delete_document(session, gone)
                keys = catalog.discarded_blobs(session, 100)
            for key in keys:
                blobs.delete([key])

    written = write_backup(engine, blobs, file, progress=delete_once)
    assert written.lost_blobs == ()
    restore_backup(*other, file, replace=False, progress=silent)
    with reading(other[0]) as session:
        assert session.scalars(select(Document.id)).all() == [kept]
        assert all(other[1].exists(key) for key in catalog.blobs_in_use(session))


def test_a_blob_that_the_store_has_lost_is_named_and_does_not_stop_the_backup(
    library: Library, engine: Engine, blobs: DirectoryBlobs, file: Path
) -> None:
    library.add("one")
    with reading(engine) as session:
        lost = session.scalars(select(Document.blob)).one()
    blobs.delete([lost])
    assert write_backup(engine, blobs, file, progress=silent).lost_blobs == (lost,)


def test_a_blob_under_a_key_from_before_there_were_tenants_moves_to_its_tenant(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one")
    with transaction(engine) as session:
        document = session.scalars(select(Document)).one()
        key = document.blob
        document.blob = key.removeprefix("default/")
        (blobs.root / document.blob).parent.mkdir(parents=True)
        (blobs.root / key).rename(blobs.root / document.blob)
    write_backup(engine, blobs, file, progress=silent)
    restore_backup(*other, file, replace=False, progress=silent)
    with reading(other[0]) as session:
        assert session.scalars(select(Document.blob)).one() == key
    assert other[1].read(key)


def test_any_flipped_byte_is_refused_before_anything_changes(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one", "two")
    write_backup(engine, blobs, file, progress=silent)
    sound = file.read_bytes()
    with zipfile.ZipFile(file) as archive:
        filled = [entry for entry in archive.infolist() if entry.file_size]
    for entry in filled:
        names = entry.header_offset + 26  # of the lengths of name and extra field, which lie before the data
        name, extra = struct.unpack("<HH", sound[names : names + 4])
        place = names + 4 + name + extra + entry.compress_size // 2
        spoiled = bytearray(sound)
        spoiled[place] ^= 0x01
        file.write_bytes(spoiled)
        with pytest.raises(BackupDamaged, match=r"is damaged: .* Nothing was restored; use another copy of it"):
            restore_backup(*other, file, replace=False, progress=silent)
    assert all_rows(other[0])["collection"] == []
    assert list(other[1].list()) == []


def test_a_member_with_a_right_zip_checksum_and_other_bytes_is_refused(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one")
    write_backup(engine, blobs, file, progress=silent)
    changed(file, "rows/collection.jsonl", b"")
    with pytest.raises(BackupDamaged, match=r"rows/collection\.jsonl is not what was written"):
        restore_backup(*other, file, replace=False, progress=silent)


def forged(file: Path, member: str, change: Callable[[Any], Any]) -> None:
    """The same archive with another member, or another manifest, whose checksums are right."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    head, listed = (members.pop(name) for name in ("manifest.json", "members.jsonl"))
    lines = [json.loads(line) for line in listed.splitlines()]
    if member == "manifest.json":
        head = _line(change(json.loads(head)))
    elif member == "members.jsonl":
        lines = [change(line) for line in lines]
    else:
        rows = [_line(change(json.loads(line))) for line in members[member].splitlines()]
        members[member] = b"\n".join(rows) + b"\n"
        found = next(line for line in lines if line["name"] == member)
        found["sha256"] = hashlib.sha256(members[member]).hexdigest()
    listed = b"\n".join(map(_line, lines))
    sealed = json.loads(head) | {"members_sha256": hashlib.sha256(listed).hexdigest()}
    with zipfile.ZipFile(file, "w") as new:
        for name, data in (members | {"members.jsonl": listed, "manifest.json": json.dumps(sealed).encode()}).items():
            new.writestr(name, data)


def _line(found: object) -> bytes:
    """JSON, with nesting that no reader follows in the place of "deep"."""
    return json.dumps(found).replace('"deep"', "[" * 100_000 + "]" * 100_000).encode()


@pytest.mark.parametrize(
    ("member", "other_one", "said"),
    [
        ("manifest.json", {"rows": [1]}, "its manifest lacks something"),
        ("manifest.json", {"highest_ids": None}, "its manifest lacks something"),
        ("manifest.json", {"highest_ids": {"chunk": 2**70}}, "a number of rows or an id that cannot be"),
        (
            "manifest.json",
            {"rows": {"chunk": 1, "evil": 1}, "revision": "0004"},
            "rows of evil, which is no table",
        ),
        ("manifest.json", {"rows": {"chunk": 1e999}}, "its manifest lacks something"),
        ("members.jsonl", {"size": 1e999}, r"members\.jsonl is not what was written"),
        ("members.jsonl", {"size": "x"}, r"members\.jsonl is not what was written"),
        ("rows/document.jsonl", {"blob": "../../../etc/passwd"}, "a row of document names a blob that cannot be"),
        ("rows/document.jsonl", {"blob": 7}, "a row of document names a blob that cannot be"),
        ("rows/document.jsonl", {"title": None}, "it has rows that are none of document"),
        ("members.jsonl", {"name": "deep"}, "maximum recursion depth"),
        ("rows/document.jsonl", {"title": "deep"}, "maximum recursion depth"),
        ("rows/document.jsonl", {"title": "\ud83d"}, "it has rows that are none of document"),
        ("rows/collection.jsonl", {"id": "../../library"}, "a collection has an id that cannot be"),
        ("rows/job.jsonl", {"state": "running", "attempts": "x"}, "tried a number of times that cannot be"),
        ("rows/document.jsonl", {"state": "evil"}, "it has rows that are none of document"),
        ("rows/chunk.jsonl", {"id": 2**70}, "it has rows that are none of chunk"),
        ("rows/chunk.jsonl", {"document_id": "nobody's"}, "it has rows that are none of chunk"),
        ("rows/chunk.jsonl", {"ordinal": {}}, "it has rows that are none of chunk"),
        ("rows/vector.jsonl", {"data": 5}, "is damaged"),
    ],
)
def test_a_forged_backup_is_refused_and_changes_nothing(
    library: Library,
    engine: Engine,
    blobs: DirectoryBlobs,
    other: tuple[Engine, DirectoryBlobs],
    file: Path,
    member: str,
    other_one: dict[str, object],
    said: str,
) -> None:
    library.add("one")
    write_backup(engine, blobs, file, progress=silent)
    forged(file, member, lambda found: found | other_one)
    with pytest.raises(BackupDamaged, match=said):
        restore_backup(*other, file, replace=False, progress=silent)
    assert {name: len(rows) for name, rows in all_rows(other[0]).items() if rows} == {}


def test_two_backups_at_once_do_not_take_each_others_place(file: Path) -> None:
    def fail() -> None:
        with writing(file):
            raise KeyboardInterrupt

    with writing(file), pytest.raises(KeyboardInterrupt):
        fail()
    with zipfile.ZipFile(file) as written:
        assert written.namelist() == []


def test_half_a_backup_is_refused(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    library.add("one")
    write_backup(engine, blobs, file, progress=silent)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BackupDamaged, match="it is no backup, or its end is missing"):
        restore_backup(*other, file, replace=False, progress=silent)


def test_a_backup_of_a_newer_schema_or_format_is_refused(
    library: Library, engine: Engine, blobs: DirectoryBlobs, other: tuple[Engine, DirectoryBlobs], file: Path
) -> None:
    write_backup(engine, blobs, file, progress=silent)
    with zipfile.ZipFile(file) as archive:
        head = json.loads(archive.read("manifest.json"))
    changed(file, "manifest.json", json.dumps(head | {"revision": "9999"}).encode())
    with pytest.raises(SchemaTooNew, match=r"revision 9999, which this program .* does not know"):
        restore_backup(*other, file, replace=False, progress=silent)
    changed(file, "manifest.json", json.dumps(head | {"format": 2}).encode())
    with pytest.raises(BackupTooNew, match=r"has the format 2, written by Percel .* upgrade this program"):
        restore_backup(*other, file, replace=False, progress=silent)


def test_a_store_with_rows_is_only_replaced_when_asked(
    library: Library, engine: Engine, blobs: DirectoryBlobs, file: Path
) -> None:
    before = library.add("one")
    write_backup(engine, blobs, file, progress=silent)
    after = library.add("two")
    with pytest.raises(StoreNotEmpty, match=r"there are rows in .*document.* with --replace"):
        restore_backup(engine, blobs, file, replace=False, progress=silent)
    with reading(engine) as session:
        assert set(session.scalars(select(Document.id))) == {before, after}
        own = session.scalars(select(Document.blob).where(Document.id == after)).one()
    restore_backup(engine, blobs, file, replace=True, progress=silent)
    with reading(engine) as session:
        assert session.scalars(select(Document.id)).all() == [before]
        assert own in catalog.discarded_blobs(session, 100)
        assert session.scalar(text("SELECT count(*) FROM passage_text")) == 0


def test_rows_come_back_all_or_not_at_all(
    library: Library,
    engine: Engine,
    blobs: DirectoryBlobs,
    other: tuple[Engine, DirectoryBlobs],
    file: Path,
) -> None:
    library.add("one")
    write_backup(engine, blobs, file, progress=silent)

    def fail_late(step: str, done: int, due: int) -> None:
        if step == "vector" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_backup(*other, file, replace=False, progress=fail_late)
    assert {name: len(rows) for name, rows in all_rows(other[0]).items() if rows} == {}


def test_a_backup_of_an_older_schema_is_brought_up_to_date(
    library: Library,
    engine: Engine,
    blobs: DirectoryBlobs,
    other: tuple[Engine, DirectoryBlobs],
    file: Path,
    tmp_path: Path,
) -> None:
    """The rows of revision 0001 had no tenant on documents and no collection on jobs."""
    document_id = library.add("one")
    write_backup(engine, blobs, file, progress=silent)
    with opening(file) as archive:
        rows = {name: [json.loads(line) for line in archive.lines(f"rows/{name}.jsonl")] for name in FIRST_TABLES}
    old = {"document": {"tenant"}, "job": {"collection_id"}, "collection": {"served_at"}}
    with zipfile.ZipFile(file) as archive_file:
        head = json.loads(archive_file.read("manifest.json"))
        members = [json.loads(line) for line in archive_file.read("members.jsonl").splitlines()]
        contents = {m["name"]: archive_file.read(m["name"]) for m in members if m["name"].startswith("blobs/")}
    for name, lines in rows.items():
        kept = [{k: v for k, v in row.items() if k not in old.get(name, ())} for row in lines]
        contents[f"rows/{name}.jsonl"] = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
    rewrite(file, head | {"revision": "0001", "rows": {name: len(lines) for name, lines in rows.items()}}, contents)
    restore_backup(*other, file, replace=False, progress=silent)
    with reading(other[0]) as session:
        document = session.scalars(select(Document)).one()
        assert (document.id, document.tenant) == (document_id, "default")
        assert {job.collection_id for job in session.scalars(select(Job))} == {document.collection_id}


FIRST_TABLES = ("collection", "document", "chunk", "cache", "vector", "job")


def rewrite(file: Path, head: dict[str, object], contents: dict[str, bytes]) -> None:
    """A sound archive with these members."""
    fields = {name: value for name, value in head.items() if name not in ("format", "members_sha256")}
    file.unlink()
    with writing(file) as archive:
        for name, data in contents.items():
            archive.add(name, [data], compress=False)
        archive.seal(Manifest(**fields))


def test_a_file_is_not_overwritten_and_an_unfinished_one_does_not_stay(
    engine: Engine, blobs: DirectoryBlobs, file: Path
) -> None:
    file.write_text("mine")
    with pytest.raises(BackupExists, match="name another one, or take that one away"):
        write_backup(engine, blobs, file, progress=silent)
    assert file.read_text() == "mine"
    file.unlink()

    def fail(step: str, done: int, due: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_backup(engine, blobs, file, progress=fail)
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == []


def test_a_database_that_was_not_migrated_is_not_backed_up(tmp_path: Path, blobs: DirectoryBlobs, file: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    build_schema(engine, "0001")
    with pytest.raises(SchemaOutdated, match="The database is at revision 0001, this program needs"):
        write_backup(engine, blobs, file, progress=silent)
    engine.dispose()
