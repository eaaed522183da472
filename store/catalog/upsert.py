"""Owns inserts that two processes may do at once: what is there already stays, and nobody gets an exception."""

from collections.abc import Mapping
from typing import TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from store.models import Base

Row = TypeVar("Row", bound=Base)


def insert_new(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that skips rows whose unique keys are there; it waits for a row that is about to commit."""
    return _insert(session, table).on_conflict_do_nothing()


def insert_or_touch(session: Session, table: type[Base], *, key: str, column: str) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that, where the key is there, renews one column, and so keeps the row locked as a new one would be."""
    statement = _insert(session, table)
    return statement.on_conflict_do_update(index_elements=[key], set_={column: statement.excluded[column]})


def _insert(session: Session, table: type[Base]) -> sqlite.Insert | postgresql.Insert:
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def add_new(session: Session, table: type[Row], values: Mapping[str, object]) -> Row | None:
    """The added row; None where one with the same unique key is there, which a query sees from now on."""
    session.flush()
    return session.scalars(insert_new(session, table).returning(table), [dict(values)]).first()
