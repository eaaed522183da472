"""Owns rows as lines of JSON: how a table's rows leave one database and enter another, of whichever kind."""

import base64
import json
from collections.abc import Iterator, Mapping

from sqlalchemy import LargeBinary, Table, select
from sqlalchemy.orm import Session

from store.models import Base

# Views of other rows, and what one store's blobs are still to be rid of: both are about one place.
LEFT_OUT = ("generation", "passage", "discard")
_PAGE = 1_000  # rows at a time


def kept_tables() -> list[Table]:
    """The tables whose rows a backup holds, those that others refer to first."""
    return [table for table in Base.metadata.sorted_tables if table.name not in LEFT_OUT]


def table_rows(session: Session, table: Table) -> Iterator[dict[str, object]]:
    """A table's rows by column name, in the order of their key."""
    query = select(table).order_by(*table.primary_key).execution_options(yield_per=_PAGE)
    for row in session.execute(query).mappings():
        yield {column.name: row[column] for column in table.columns}


def write_row(row: Mapping[str, object]) -> bytes:
    """A row as one line."""
    plain = {name: base64.b64encode(v).decode() if isinstance(v, bytes) else v for name, v in row.items()}
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def read_row(table: Table, line: bytes) -> dict[str, object]:
    """The inverse of `write_row`. Raises ValueError for what is no row of the table."""
    row = json.loads(line)
    if not isinstance(row, dict) or set(row) != set(table.columns.keys()):
        raise ValueError(f"a line is no row of {table.name}")
    for column in table.columns:
        if isinstance(column.type, LargeBinary) and row[column.name] is not None:
            row[column.name] = base64.b64decode(row[column.name], validate=True)
    return row
