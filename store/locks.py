"""Owns the locks that PostgreSQL needs between writers, held until the transaction ends.

SQLite has one writer at a time, which is a lock already: there these do nothing.
"""

import hashlib
from collections.abc import Iterable

from sqlalchemy import ARRAY, BigInteger, bindparam, func, select, text
from sqlalchemy.orm import Session

_HOLD = text("SELECT pg_advisory_xact_lock_shared(key) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)


def lock(session: Session, names: Iterable[str]) -> None:
    """Waits until nobody else has one of the names, in one order for all, so that two never wait for each other."""
    if _needed(session):
        for name in sorted(names):
            session.execute(select(func.pg_advisory_xact_lock(lock_key(name))))


def lock_shared(session: Session, names: Iterable[str]) -> None:
    """Any number may share a name; nobody can `try_lock` it meanwhile."""
    keys = sorted(lock_key(name) for name in names)
    if keys and _needed(session):
        session.execute(_HOLD, {"keys": keys})


def try_lock(session: Session, name: str) -> bool:
    """Takes the name for itself alone; False, without waiting, where another transaction has or shares it."""
    return not _needed(session) or bool(session.scalar(select(func.pg_try_advisory_xact_lock(lock_key(name)))))


def lock_key(name: str) -> int:
    """The 64-bit number that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def publishing(collection_id: str) -> str:
    """The name of the lock that whoever adds vectors to a collection holds."""
    return f"publishing into {collection_id}"


def naming(blob: str) -> str:
    """The name of the lock on a blob: shared by those about to name it in a row, taken alone to delete it."""
    return f"blob {blob}"


def _needed(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
