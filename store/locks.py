"""Owns the locks that PostgreSQL needs between writers, held until the transaction ends.

SQLite has one writer at a time, which is a lock already: there these do nothing.
"""

import hashlib
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session


def lock(session: Session, names: Iterable[str]) -> None:
    """Waits until nobody else has one of the names, in one order for all, so that two never wait for each other."""
    if _needed(session):
        for name in sorted(names):
            session.execute(select(func.pg_advisory_xact_lock(lock_key(name))))


def lock_key(name: str) -> int:
    """The 64-bit number that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def publishing(collection_id: str) -> str:
    """The name of the lock that whoever adds vectors to a collection holds."""
    return f"publishing into {collection_id}"


def _needed(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
