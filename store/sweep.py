"""Owns the agreement between rows and blobs: deletes what lost its last row, finds what is missing or orphaned."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from store import catalog
from store.blobs import BlobStore
from store.database import reading, transaction
from store.errors import BlobError, StoreError
from store.holds import Held, hold_alone
from store.models import Discard

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

    Nobody can commit a row for a blob between the look and the delete: the sweep holds it alone, and who names a blob
    in a row holds it too, and makes sure that it is there, before that commits. A blob that somebody holds stays on the
    list for the next sweep, and so does one whose deletion a kill cut short. No transaction waits for the deletes.
    Raises what the deletes raise, once the others of the same hundred are gone; those that are not come last next time.
    """
    deleted = 0
    while True:
        with reading(engine) as session:
            keys = catalog.discarded_blobs(session, _BATCH)
        if not keys:
            return deleted
        with hold_alone(engine, keys) as held:
            with transaction(engine, held.connection) as session:
                listed = catalog.lock_discarded(session, held.keys)
                gone = [discard for discard in listed if not catalog.is_blob_in_use(session, discard.key)]
                catalog.forget_discarded(session, [discard for discard in listed if discard not in gone])
            if gone:
                try:
                    blobs.delete([discard.key for discard in gone])  # together: elsewhere each delete is a request
                except (OSError, StoreError):
                    stay = [discard.key for discard in gone if blobs.exists(discard.key)]
                    _forget(engine, held, [discard for discard in gone if discard.key not in stay])
                    with transaction(engine, held.connection) as session:  # a hundred of them would hide all others
                        catalog.discard_blobs(session, stay)
                    raise
                _forget(engine, held, gone)
        deleted += len(gone)
        if len(keys) < _BATCH or not listed:
            return deleted


def _forget(engine: Engine, held: Held, gone: Sequence[Discard]) -> None:
    """Takes blobs that were deleted off the list."""
    with transaction(engine, held.connection) as session:
        still = {discard.key for discard in catalog.lock_discarded(session, [each.key for each in gone])}
        catalog.forget_discarded(session, [discard for discard in gone if discard.key in still])


def check_blobs(engine: Engine, blobs: BlobStore, *, read: bool = False, now: float | None = None) -> BlobCheck:
    """Compares rows and blobs; with `read` every blob in use is verified as well. Changes nothing."""
    listed = {blob.key: blob for blob in blobs.list()}  # before the rows: a blob comes before its row
    with reading(engine) as session:
        used = catalog.blobs_in_use(session)
    oldest = (time.time() if now is None else now) - _ORPHAN_AGE
    missing = sorted(key for key in used if key not in listed and not blobs.exists(key))
    orphans = sorted(key for key, blob in listed.items() if key not in used and blob.modified_at < oldest)
    damaged = [key for key in sorted(used - set(missing)) if read and _is_damaged(blobs, key)]
    with reading(engine) as session:  # what was deleted since the look at the rows is neither
        missing, damaged = (
            [key for key in keys if catalog.is_blob_in_use(session, key)] for keys in (missing, damaged)
        )
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
