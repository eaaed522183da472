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


def share(session: Session, name: str) -> None:
    """Waits until nobody has the name locked; any number may share it."""
    if _needed(session):
        session.execute(select(func.pg_advisory_xact_lock_shared(lock_key(name))))


def lock_key(name: str) -> int:
    """The 64-bit number that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def publishing(collection_id: str) -> str:
    """The name of the lock that whoever adds vectors to a collection holds."""
    return f"publishing into {collection_id}"


def arriving(tenant: str, name: str) -> str:
    """The name of the lock that is shared by whoever needs a collection to be there, and held by who deletes it.

    Not its row's: whoever adds a job of a document locks that row last, and who deletes it needs all documents first.
    """
    return f"arriving in {tenant}/{name}"


def _needed(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
