"""Owns the agreement between rows and blobs: deletes what lost its last row, finds what is missing or orphaned."""

import time
from dataclasses import dataclass

from sqlalchemy import Engine

from store import catalog
from store.blobs import BlobStore
from store.database import reading, transaction
from store.errors import BlobError

_BATCH = 100
_ORPHAN_AGE = 3600.0  # seconds; a younger blob may be one whose row is about to commit


@dataclass(frozen=True, slots=True)
class BlobCheck:
    """What a check of all blobs found."""

    missing: tuple[str, ...]  # a row names them, the store does not have them
    orphans: tuple[str, ...]  # the store has them, no row names them
    damaged: tuple[str, ...]  # their bytes are not the ones that were stored; empty unless they were read


def sweep_blobs(engine: Engine, blobs: BlobStore) -> int:
    """Deletes the blobs on the discard list that no row names any more. Call it after a commit and at the start.

    Nobody can commit a row for a blob between the look and the delete: on SQLite the sweep holds the write lock, on
    PostgreSQL a lock on the blob. Who commits a row for a blob therefore calls `hold_blobs` and makes sure, inside the
    same transaction or after it, that the blob (still) exists. A blob that is held stays on the list for the next one.
    """
    deleted = 0
    while True:
        with transaction(engine) as session:
            keys = catalog.discarded_blobs(session, _BATCH)
            free = [key for key in keys if catalog.is_blob_discardable(session, key)]
            gone = [key for key in free if not catalog.is_blob_in_use(session, key)]
            blobs.delete(gone)  # together: nobody else can write meanwhile, and elsewhere each delete is a request
            deleted += len(gone)
            catalog.forget_discarded(session, free)
        if len(keys) < _BATCH or not free:
            return deleted


def check_blobs(engine: Engine, blobs: BlobStore, *, read: bool = False, now: float | None = None) -> BlobCheck:
    """Compares rows and blobs; with `read` every blob in use is verified as well. Changes nothing."""
    listed = {blob.key: blob for blob in blobs.list()}  # before the rows: a blob comes before its row
    with reading(engine) as session:
        used = catalog.blobs_in_use(session)
    oldest = (time.time() if now is None else now) - _ORPHAN_AGE
    missing = sorted(key for key in used if key not in listed and not blobs.exists(key))
    orphans = sorted(key for key, blob in listed.items() if key not in used and blob.modified_at < oldest)
    damaged = [key for key in sorted(used - set(missing)) if read and _is_damaged(blobs, key)]
    return BlobCheck(tuple(missing), tuple(orphans), tuple(damaged))


def remove_orphans(engine: Engine, blobs: BlobStore, keys: tuple[str, ...]) -> int:
    """Deletes orphans that a check found, unless a row names them by now."""
    with transaction(engine) as session:
        catalog.discard_blobs(session, keys)
    return sweep_blobs(engine, blobs)


def _is_damaged(blobs: BlobStore, key: str) -> bool:
    try:
        blobs.verify(key)
    except BlobError:
        return True
    return False
