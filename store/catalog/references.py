"""Owns the queries about which blobs are in use, and which wait for deletion."""

from collections.abc import Iterable, Sequence

from sqlalchemy import CompoundSelect, delete, exists, or_, select, union
from sqlalchemy.orm import Session

from store.locks import lock_shared, naming, try_lock
from store.models import Cache, Discard, Document


def blobs_in_use(session: Session) -> set[str]:
    """Every key that a row names."""
    keys: CompoundSelect[str] = union(
        select(Document.blob),
        select(Document.pending_blob).where(Document.pending_blob.is_not(None)),
        select(Cache.blob),
    )
    return set(session.scalars(keys))


def hold_blobs(session: Session, keys: Iterable[str]) -> None:
    """No sweep deletes these blobs until the transaction ends.

    Call it before looking whether they exist, in the transaction that names them in a row.
    """
    lock_shared(session, [naming(key) for key in keys])


def is_blob_discardable(session: Session, key: str) -> bool:
    """Whether the sweep may decide about the key now: nobody is about to name it, until the transaction ends."""
    return try_lock(session, naming(key))


def is_blob_in_use(session: Session, key: str) -> bool:
    """Whether a row names the key."""
    document = exists().where(or_(Document.blob == key, Document.pending_blob == key))
    return bool(session.scalar(select(or_(document, exists().where(Cache.blob == key)))))


def discarded_blobs(session: Session, limit: int) -> list[str]:
    """Keys that wait for deletion, the oldest first, without those that another sweep is at."""
    waiting = select(Discard.key).order_by(Discard.created_at, Discard.key).limit(limit)
    return list(session.scalars(waiting.with_for_update(skip_locked=True)))


def forget_discarded(session: Session, keys: Sequence[str]) -> None:
    """Takes keys off the list: their blobs are deleted, or in use again."""
    session.execute(delete(Discard).where(Discard.key.in_(keys)))
