"""Owns the putting back of a backup: every checksum is verified, then blobs, then all rows in one transaction.

Views of the rows (full text, vector indexes) are not part of it: whoever calls this makes them anew afterwards.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine, MetaData, Table, delete, func, insert, inspect, select, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, StatementError
from sqlalchemy.orm import Session

from store import catalog
from store.archive import Archive, Manifest, opening
from store.backup import Progress, counts_up
from store.blobs import BlobStore
from store.blobs.keys import is_key
from store.database import build_schema, migrate, open_database, reading, schema_revisions, transaction
from store.errors import BackupDamaged, SchemaTooNew, StoreNotEmpty
from store.holds import hold
from store.models import DEFAULT_TENANT, Base, Discard, JobState
from store.rowlines import kept_tables, read_row, table_rows

Rows = Callable[[Table], Iterator[dict[str, object]]]
_PAGE = 1_000  # rows in one statement
_HELD = 100  # blobs held together
_BLOBS = "blobs/"  # what the names of blobs begin with in the archive
_VIEWS = ("passage_text", "passage_text_total")  # full text; the second one is PostgreSQL's
_OF_ROWS = (IntegrityError, DataError, ProgrammingError)
_FOLDER = re.compile(r"[\w-]+", re.ASCII)
_EMBEDDINGS = "passage_embedding"  # pgvector's; made anew from the vector rows when it is next asked for


def restore_backup(engine: Engine, blobs: BlobStore, path: Path, *, replace: bool, progress: Progress) -> Manifest:
    """Puts a backup into an empty store, or with `replace` in the place of all that is there. Stop the workers first.

    A backup of an older schema is brought up to date on the way. Raises BackupDamaged, BackupTooNew, SchemaTooNew,
    StoreNotEmpty, StoreFull, FileNotFoundError: no row is changed then.
    """
    with opening(path) as archive:
        revisions = schema_revisions(engine)
        if archive.manifest.revision not in revisions.known:
            raise SchemaTooNew(archive.manifest.revision, revisions.wanted)
        with reading(engine) as session:
            _refuse_rows(session, replace=replace)
        progress("verify", 0, sum(member.size for member in archive.members.values()))
        archive.verify(lambda count: progress("verify", count, 0))
        keys = _put_blobs(archive, blobs, progress)
        with _rows_of(archive, at=revisions.wanted) as rows, transaction(engine) as session:
            _lock_out_writers(session)
            _refuse_rows(session, replace=replace)  # again: now nobody else can write
            before = catalog.blobs_in_use(session)
            _clear(session)
            for table in kept_tables():
                progress(table.name, 0, archive.manifest.rows.get(table.name, 0))
                for page in _pages(_moved(archive, table, rows(table), keys)):
                    with _fitting(archive, table):
                        session.execute(insert(table), page)
                    progress(table.name, len(page), 0)
            _keep_counting(session, archive.manifest.highest_ids)
            catalog.discard_blobs(session, sorted(before - set(keys.values())))
        _put_again(engine, archive, blobs, keys)
        return archive.manifest


@contextmanager
def _fitting(archive: Archive, table: Table) -> Iterator[None]:
    """Raises BackupDamaged for rows that the schema cannot take: no program of ours has written them."""
    try:
        yield
    except (StatementError, OverflowError, UnicodeError) as error:
        if isinstance(error, DBAPIError) and not isinstance(error, _OF_ROWS):  # the database's own fault
            raise
        raise BackupDamaged(str(archive.path), f"it has rows that are none of {table.name}") from error


def _lock_out_writers(session: Session) -> None:
    """On SQLite a transaction is the only one that writes anyway."""
    if session.get_bind().dialect.name == "postgresql":
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        session.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


def _refuse_rows(session: Session, *, replace: bool) -> None:
    found = [table.name for table in kept_tables() if session.execute(select(table).limit(1)).first() is not None]
    if found and not replace:
        raise StoreNotEmpty(found)


def _put_blobs(archive: Archive, blobs: BlobStore, progress: Progress) -> dict[str, str]:
    """Stores the blobs; key in the backup -> key here. Bytes that had been damaged before the backup are left out."""
    names = [name for name in archive.members if name.startswith(_BLOBS)]
    progress("blobs", 0, len(names))
    keys: dict[str, str] = {}
    for name in names:
        key = name.removeprefix(_BLOBS)
        if archive.members[name].sha256 == key.rpartition("/")[2]:
            keys[key] = _put(archive, blobs, key)
        progress("blobs", 1, 0)
    return keys


def _put(archive: Archive, blobs: BlobStore, key: str) -> str:
    with archive.open(_BLOBS + key) as source:
        stored = blobs.put_stream(source, tenant=_tenant_of(key))
    if stored.sha256 != key.rpartition("/")[2]:
        raise BackupDamaged(str(archive.path), f"{_BLOBS}{key} changed while it was read")
    return stored.key


def _tenant_of(key: str) -> str:
    """Whose bytes they are; keys from before there were tenants are the default one's."""
    return key.split("/")[0] if key.count("/") == 3 else DEFAULT_TENANT


@contextmanager
def _rows_of(archive: Archive, *, at: str) -> Iterator[Rows]:
    """The backup's rows as a schema has them; those of an older one go through a database that is migrated."""
    if archive.manifest.revision == at:
        yield lambda table: _read_rows(archive, table)
        return
    with tempfile.TemporaryDirectory(prefix="percel-restore-") as folder:
        engine = open_database(f"sqlite:///{folder}/rows.db")
        try:
            build_schema(engine, archive.manifest.revision)
            old = MetaData()
            if unknown := archive.manifest.rows.keys() - set(inspect(engine).get_table_names()):
                raise BackupDamaged(str(archive.path), f"it has rows of {min(unknown)}, which is no table")
            old.reflect(engine, only=list(archive.manifest.rows))
            with transaction(engine) as session:
                for table in old.sorted_tables:
                    for page in _pages(_read_rows(archive, table)):
                        with _fitting(archive, table):
                            session.execute(insert(table), page)
            migrate(engine)
            with reading(engine) as session:
                yield lambda table: table_rows(session, table)
        finally:
            engine.dispose()


def _read_rows(archive: Archive, table: Table) -> Iterator[dict[str, object]]:
    for line in archive.lines(f"rows/{table.name}.jsonl"):
        try:
            yield read_row(table, line)
        except (ValueError, TypeError, RecursionError) as error:
            raise BackupDamaged(str(archive.path), str(error)) from error


def _pages(rows: Iterable[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    left = iter(rows)
    while page := list(islice(left, _PAGE)):
        yield page


def _moved(
    archive: Archive, table: Table, rows: Iterable[dict[str, object]], keys: Mapping[str, str]
) -> Iterator[dict[str, object]]:
    """Rows as they are right here: blobs under their keys of this store, jobs in the hands of nobody."""
    for row in rows:
        for column in ("blob", "pending_blob"):
            if (key := row.get(column)) is None:
                continue
            if not isinstance(key, str) or not is_key(key):  # nobody could look whether it is there
                raise BackupDamaged(str(archive.path), f"a row of {table.name} names a blob that cannot be")
            row[column] = keys.get(key, key)
        if table.name == "collection" and not _FOLDER.fullmatch(str(row["id"])):  # its index files lie in one
            raise BackupDamaged(str(archive.path), "a collection has an id that cannot be")
        if table.name == "job" and row["state"] == JobState.RUNNING:
            attempts = row["attempts"]
            if not isinstance(attempts, int):
                raise BackupDamaged(str(archive.path), "a job was tried a number of times that cannot be")
            row |= {"state": JobState.QUEUED, "lease_owner": None, "lease_until": None, "attempts": attempts - 1}
        yield row


def _clear(session: Session) -> None:
    """Takes every row away but those about blobs that are to be deleted."""
    for table in reversed(Base.metadata.sorted_tables):
        if table.name != Discard.__tablename__:
            session.execute(delete(table))
    there = inspect(session.connection())
    for name in _VIEWS:
        if there.has_table(name):
            session.execute(text(f"DELETE FROM {name}"))  # noqa: S608 - a name from above
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"DROP TABLE IF EXISTS {_EMBEDDINGS}"))


def _keep_counting(session: Session, highest: Mapping[str, int]) -> None:
    """Makes tables count on from the highest id that either store gave out: none is used again."""
    for name, backed_up in highest.items():
        if not backed_up or name not in Base.metadata.tables or not counts_up(name):
            continue
        if session.get_bind().dialect.name == "sqlite":
            here = session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": name})
            session.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
            statement = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)")
            session.execute(statement, {"name": name, "seq": max(backed_up, here or 0)})
        else:
            sequence = session.scalar(select(func.pg_get_serial_sequence(name, "id")))
            here = session.scalar(text(f"SELECT last_value FROM {sequence}"))  # noqa: S608 - the server's own name
            session.execute(select(func.setval(sequence, max(backed_up, here or 0))))


def _put_again(engine: Engine, archive: Archive, blobs: BlobStore, keys: Mapping[str, str]) -> None:
    """Puts what a sweep took before the rows were there: now none takes it, once one that is at it is through."""
    left = iter(keys.items())
    while page := dict(islice(left, _HELD)):
        with hold(engine, page.values()):
            for key, key_here in page.items():
                if not blobs.exists(key_here):
                    _put(archive, blobs, key)
