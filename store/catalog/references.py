"""Owns the queries about which blobs are in use, and which wait for deletion."""

from collections.abc import Collection, Iterable

from sqlalchemy import CompoundSelect, delete, exists, or_, select, tuple_, union
from sqlalchemy.orm import Session

from store.models import Cache, Discard, Document


def blobs_in_use(session: Session) -> set[str]:
    """Every key that a row names."""
    keys: CompoundSelect[str] = union(
        select(Document.blob),
        select(Document.pending_blob).where(Document.pending_blob.is_not(None)),
        select(Cache.blob),
    )
    return set(session.scalars(keys))


def is_blob_in_use(session: Session, key: str) -> bool:
    """Whether a row names the key."""
    document = exists().where(or_(Document.blob == key, Document.pending_blob == key))
    return bool(session.scalar(select(or_(document, exists().where(Cache.blob == key)))))


def discarded_blobs(session: Session, limit: int) -> list[str]:
    """Keys that wait for deletion, the oldest first."""
    return list(session.scalars(select(Discard.key).order_by(Discard.created_at, Discard.key).limit(limit)))


def lock_discarded(session: Session, keys: Collection[str]) -> list[Discard]:
    """Those of the keys that are on the list, but where a discard is about to commit, which is not to be forgotten."""
    return list(session.scalars(select(Discard).where(Discard.key.in_(keys)).with_for_update(skip_locked=True)))


def forget_discarded(session: Session, discards: Iterable[Discard]) -> None:
    """Takes keys off the list: their blobs are deleted, or in use again. One that was listed anew meanwhile stays."""
    same = [(discard.key, discard.created_at) for discard in discards]
    if same:
        session.execute(delete(Discard).where(tuple_(Discard.key, Discard.created_at).in_(same)))
