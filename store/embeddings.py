"""Owns the pgvector table: vector rows once more, in a form that PostgreSQL can search.

It is not part of the schema: it is made, and filled from the vector rows, when PERCEL_VECTORS=pgvector first asks for
it. From then on every publication fills it in its own transaction, whatever that process' settings, and rows go with
their vector rows. The extension is in a schema of its own, as its type `vector` has the name of our table.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from store.database import place_of, transaction
from store.errors import VectorsUnusable
from store.locks import lock
from store.models import Vector

_OLDEST = (0, 8)  # pgvector's first version that goes on looking where a filter leaves too few
_PAGE = 2_000  # rows in one statement of the first filling
_REMEDY = (
    "Install pgvector 0.8 or newer on the server (on Debian and Ubuntu: postgresql-NN-pgvector) and let this user "
)
_REMEDY += "CREATE EXTENSION vector, or set PERCEL_VECTORS=faiss."

EMBEDDING = Table(
    "passage_embedding",
    MetaData(),
    Column("id", BigInteger, ForeignKey(Vector.id, ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("collection_id", String(32), nullable=False),
    Column("document_id", String(32), nullable=False),
    Column("embedder", String(200), nullable=False),
    Column("data", HALFVEC, nullable=False),  # of any width; an index is on rows of one embedder, so of one width
)
COPIED = ("collection_id", "document_id", "embedder", "data")  # from a vector row, beside its id
_TABLE = (
    "CREATE TABLE passage_embedding ("
    "id bigint PRIMARY KEY REFERENCES vector (id) ON DELETE CASCADE, "
    "collection_id varchar(32) NOT NULL, document_id varchar(32) NOT NULL, embedder varchar(200) NOT NULL, "
    "data halfvec NOT NULL)"
)


_CREATE = ("CREATE SCHEMA IF NOT EXISTS pgvector", "CREATE EXTENSION IF NOT EXISTS vector SCHEMA pgvector")
_USE = text(
    "SELECT set_config('search_path', current_setting('search_path') || ', ' || quote_ident(n.nspname), :local) "
    "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
)
_VERSION = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")


def prepare(engine: Engine) -> None:
    """Makes and fills the table where it is not there. Publications wait meanwhile. Raises: VectorsUnusable."""
    if engine.dialect.name != "postgresql":
        raise VectorsUnusable(
            place_of(engine),
            "it is not PostgreSQL",
            "Set PERCEL_DATABASE_URL=postgresql://... or PERCEL_VECTORS=faiss.",
        )
    _require_extension(engine)
    with transaction(engine) as session:
        if _is_there(session):
            return
        lock(session, ["pgvector table"])
        session.execute(text("LOCK TABLE vector IN SHARE ROW EXCLUSIVE MODE"))
        if _is_there(session):  # another process was first
            return
        use_extension(session)
        session.execute(text(_TABLE))
        _fill(session)
        session.execute(text("CREATE INDEX ON passage_embedding (collection_id, embedder)"))
        session.execute(text("CREATE INDEX ON passage_embedding (document_id)"))


def index(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Adds new vector rows (id, and what is COPIED), where the table is there."""
    if rows and session.get_bind().dialect.name == "postgresql" and _is_there(session):
        use_extension(session)
        session.execute(insert(EMBEDDING), [{**row, "data": _numbers(row["data"])} for row in rows])


def use_extension(session: Session | Connection, *, local: bool = True) -> None:
    """Puts the extension's names within reach, until the transaction ends or else for the connection."""
    session.execute(_USE, {"local": local})


def _require_extension(engine: Engine) -> None:
    try:
        with transaction(engine) as session:
            if session.scalar(_VERSION) is None:
                lock(session, ["pgvector table"])  # two processes at once: IF NOT EXISTS alone is not enough
                for statement in _CREATE:
                    session.execute(text(statement))
            version = str(session.scalar(_VERSION))
    except DBAPIError as error:
        raise VectorsUnusable(place_of(engine), error.orig, _REMEDY) from error
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise VectorsUnusable(place_of(engine), f"its pgvector is {version}", _REMEDY)


def _is_there(session: Session) -> bool:
    return session.scalar(select(func.to_regclass(EMBEDDING.name))) is not None


def _fill(session: Session) -> None:
    columns = (Vector.id, Vector.collection_id, Vector.document_id, Vector.embedder, Vector.data)
    last = 0
    while rows := session.execute(select(*columns).where(Vector.id > last).order_by(Vector.id).limit(_PAGE)).all():
        session.execute(insert(EMBEDDING), [{**row._mapping, "data": _numbers(row.data)} for row in rows])
        last = rows[-1].id


def _numbers(data: object) -> list[float]:
    assert isinstance(data, bytes)
    numbers: list[float] = np.frombuffer(data, "<f2").tolist()
    return numbers
