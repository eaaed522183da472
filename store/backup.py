"""Owns the taking of a backup: rows and blobs of a running store into one file, consistent without stopping it.

Blobs never change, so they are copied first and without a lock. Then the rows are read in one snapshot. A blob that
the snapshot names and that is not in the file yet is copied while the snapshot is open; if it went away in between
(its document was deleted, or its caches were put together anew), a newer snapshot is taken.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from store import catalog
from store.archive import ArchiveWriter, Manifest, writing
from store.blobs import BlobStore
from store.database import check_schema, reading, schema_revisions
from store.errors import BlobError
from store.models import Base
from store.rowlines import kept_tables, table_rows, write_row

Progress = Callable[[str, int, int], None]  # step, done now, due in all

_SNAPSHOTS = 20  # taken at most; each has less left to copy than the one before
_PIECE = 8 << 20  # bytes read of a blob at a time: each read of a bucket is a request


def write_backup(engine: Engine, blobs: BlobStore, path: Path, *, progress: Progress) -> Manifest:
    """Writes the backup of everything to a new file.

    Raises SchemaError, BackupExists, StoreFull; no file is left then. A blob that rows name and the store has lost
    does not stop it: the manifest names it.
    """
    check_schema(engine)
    with writing(path) as archive:
        copies = _Copies(archive, blobs, progress)
        with reading(engine) as session:
            used = catalog.blobs_in_use(session)
        copies.take(used)
        for last in (count == _SNAPSHOTS for count in range(1, _SNAPSHOTS + 1)):
            with reading(engine) as session:
                used = catalog.blobs_in_use(session)
                copies.take(used)
                lost = used - copies.sizes.keys()
                if last or not _went_away(engine, lost):
                    manifest = _write_rows(session, archive, copies, lost, progress)
                    archive.seal(manifest)
                    return manifest
    raise AssertionError


def _went_away(engine: Engine, lost: set[str]) -> bool:
    """Whether a blob could not be copied because the rows have moved on; otherwise the store has lost it."""
    if not lost:
        return False
    with reading(engine) as session:
        return not all(catalog.is_blob_in_use(session, key) for key in lost)


class _Copies:
    """The blobs that are in the archive."""

    def __init__(self, archive: ArchiveWriter, blobs: BlobStore, progress: Progress) -> None:
        self.sizes: dict[str, int] = {}
        self._damaged: set[str] = set()
        self._archive = archive
        self._blobs = blobs
        self._progress = progress

    def take(self, keys: Iterable[str]) -> None:
        """Copies those that are not there yet, as far as the store has them, sound."""
        due = sorted(set(keys) - self.sizes.keys() - self._damaged)
        self._progress("blobs", 0, len(due))
        for key in due:
            self._copy(key)
            self._progress("blobs", 1, 0)

    def _copy(self, key: str) -> None:
        try:
            size = self._blobs.size(key)
            pieces = self._pieces(key, size)
            first = next(pieces, b"")
        except BlobError:
            return
        try:
            member = self._archive.add(f"blobs/{key}", chain([first], pieces), compress=False)
        except BlobError:  # a long one that went away in the middle: its name in the archive is used up
            self._damaged.add(key)
            return
        if member.sha256 == key.rpartition("/")[2]:
            self.sizes[key] = size
        else:
            self._damaged.add(key)

    def _pieces(self, key: str, size: int) -> Iterator[bytes]:
        for start in range(0, size, _PIECE):
            yield self._blobs.read_range(key, start, min(_PIECE, size - start))


def _write_rows(
    session: Session, archive: ArchiveWriter, copies: _Copies, lost: set[str], progress: Progress
) -> Manifest:
    rows: dict[str, int] = {}
    for table in kept_tables():
        due = session.scalars(select(func.count()).select_from(table)).one()
        progress(table.name, 0, due)
        lines = (_told(write_row(row), table.name, progress) for row in table_rows(session, table))
        archive.add(f"rows/{table.name}.jsonl", lines, compress=True)
        rows[table.name] = due
    used = catalog.blobs_in_use(session) - lost
    engine = session.get_bind().engine
    return Manifest(
        program=version("percel"),
        revision=schema_revisions(engine).wanted,
        created_at=time.time(),
        rows=rows,
        highest_ids=highest_ids(session),
        blobs=len(used),
        blob_bytes=sum(copies.sizes[key] for key in used),
        lost_blobs=tuple(sorted(lost)),
    )


def _told(line: bytes, step: str, progress: Progress) -> bytes:
    progress(step, 1, 0)
    return line


def highest_ids(session: Session) -> dict[str, int]:
    """By table, the highest id that was ever given out where ids are numbers that count up."""
    if session.get_bind().dialect.name == "sqlite":
        found = session.execute(text("SELECT name, seq FROM sqlite_sequence"))
        return {name: int(seq) for name, seq in found}
    highest = {}
    for table in (table for table in Base.metadata.sorted_tables if counts_up(table.name)):
        sequence = session.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
        found_in = session.execute(text(f"SELECT last_value, is_called FROM {sequence}")).one()  # noqa: S608 - the
        highest[table.name] = int(found_in[0]) if found_in[1] else 0  # server's own name of it
    return highest


def counts_up(table: str) -> bool:
    """Whether a table numbers its rows by itself."""
    return bool(Base.metadata.tables[table].dialect_options["sqlite"]["autoincrement"])
