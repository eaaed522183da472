"""Owns inserts that two processes may do at once: what is there already stays, and nobody gets an exception."""

from collections.abc import Mapping
from functools import cache
from typing import TypeVar

from sqlalchemy import Executable, Table, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, make_transient_to_detached

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
    return postgresql.insert(table) if _on_postgresql(session) else sqlite.insert(table)


def _on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def add_new(session: Session, table: type[Row], values: Mapping[str, object]) -> Row | None:
    """The added row; None where one with the same unique key is there, which a query sees from now on.

    `values` by attribute. An upload adds two rows while others wait for the write lock: the statement is made once, and
    of its answer an object, without the ORM's bulk insert, which costs more than the insert itself.
    """
    session.flush()
    columns = _columns(table)
    given = {columns[name]: value for name, value in values.items()}
    found = session.execute(_add_new(table, _on_postgresql(session)), given).first()
    if found is None:
        return None
    row = table(**dict(zip(columns, found, strict=True)))
    make_transient_to_detached(row)  # every attribute is there: nothing is loaded again
    session.add(row)
    return row


@cache
def _columns(table: type[Base]) -> dict[str, str]:
    """Attribute -> column, of every attribute."""
    return {each.key: each.columns[0].name for each in inspect(table).column_attrs}


@cache
def _add_new(table: type[Base], on_postgresql: bool) -> Executable:
    rows = table.__table__
    assert isinstance(rows, Table)
    statement = postgresql.insert(rows) if on_postgresql else sqlite.insert(rows)
    return statement.on_conflict_do_nothing().returning(*(rows.c[name] for name in _columns(table).values()))
