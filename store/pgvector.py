"""Owns the vector index in PostgreSQL: one for all nodes, transactional with the rows it is about.

A collection is searched row by row until it is large; then an HNSW index of its own is built beside ongoing writes.
An index that gives up under a filter before there are enough hits is not believed: the rows are then looked at one by
one, so no filter and no number of deleted documents can hide a live passage.
"""

import hashlib
from collections.abc import Collection as AbstractCollection

import numpy as np
from numpy.typing import NDArray
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Select,
    String,
    any_,
    bindparam,
    cast,
    exists,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.orm import Session

from store.database import reading
from store.embeddings import EMBEDDING, use_extension
from store.livepassages import Live
from store.locks import lock_key
from store.models import Collection, Document, DocumentState
from store.vectors import VectorHit

_MOST_DIMENSIONS = 4_000  # of an HNSW index on half-precision numbers
_WIDEST_SEARCH = 1_000  # hnsw.ef_search at most
_PREFIX = "hnsw_"


class PgvectorIndex:
    """The vector index of one collection and embedder. Keeps nothing in memory; safe for threads and forks."""

    def __init__(self, engine: Engine, collection_id: str, embedder: str, *, exact_up_to: int = 20_000) -> None:
        self._engine = engine
        self._collection_id = collection_id
        self._embedder = embedder
        self._exact_up_to = exact_up_to  # vectors; above it the collection has an HNSW index
        # The embedder's name in an index name, which may have 63 characters.
        self._name = f"{_PREFIX}{collection_id}_{hashlib.sha256(embedder.encode()).hexdigest()[:12]}"

    def search(
        self, query: NDArray[np.float32], k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[VectorHit]:
        """The k nearest live passages."""
        with reading(self._engine) as session:
            scores = self._nearest(session, query, k, document_ids)
            (passages,) = Live(session, self._collection_id, document_ids).first([list(scores)], k)
        return [VectorHit(passage, scores[passage.vector_id]) for passage in passages]

    def nearest_many(
        self,
        session: Session,
        queries: NDArray[np.float32],
        k: int,
        *,
        document_ids: AbstractCollection[str] | None = None,
    ) -> list[dict[int, float]]:
        """Vector id -> cosine of the k rows nearest to each of (n, d) queries, asked for one after the other."""
        return [self._nearest(session, query, k, document_ids) for query in queries]

    def _nearest(
        self, session: Session, query: NDArray[np.float32], k: int, document_ids: AbstractCollection[str] | None
    ) -> dict[int, float]:
        """Vector id -> cosine of the k nearest live rows, best first."""
        vector = query.astype(np.float32)
        use_extension(session)
        if self._has_index(session):
            width = min(_WIDEST_SEARCH, max(40, 2 * k))
            session.execute(select(func.set_config("hnsw.ef_search", str(width), True)))
            session.execute(select(func.set_config("hnsw.iterative_scan", "strict_order", True)))
            found = self._run(session, self._query(vector, k, document_ids, exact=False))
            if len(found) == k:
                return found
        return self._run(session, self._query(vector, k, document_ids, exact=True))

    def _run(self, session: Session, statement: Select[tuple[int, float]]) -> dict[int, float]:
        return {row.id: 1.0 - row.distance for row in session.execute(statement)}

    def _query(
        self, vector: NDArray[np.float32], k: int, document_ids: AbstractCollection[str] | None, *, exact: bool
    ) -> Select[tuple[int, float]]:
        distance: ColumnElement[float] = cast(EMBEDDING.c.data, HALFVEC(len(vector))).cosine_distance(vector)
        statement = (
            select(EMBEDDING.c.id, distance.label("distance"))
            .join(Document, Document.id == EMBEDDING.c.document_id)
            .where(*self._mine(), Document.state == DocumentState.READY)
            # An expression that no index is on is sorted by looking at every row.
            .order_by(distance + 0 if exact else distance)
            .limit(k)
        )
        if document_ids is not None:
            wanted = literal(list(document_ids), ARRAY(String(32)))
            statement = statement.where(EMBEDDING.c.document_id == any_(wanted))
        return statement

    def _mine(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        # Written into the statement, not sent beside it: the planner must see that the partial index is this one's.
        return (
            EMBEDDING.c.collection_id == bindparam("collection_id", self._collection_id, literal_execute=True),
            EMBEDDING.c.embedder == bindparam("embedder", self._embedder, literal_execute=True),
        )

    def _has_index(self, session: Session) -> bool:
        return session.scalar(select(func.to_regclass(self._name))) is not None

    def refresh(self) -> None:
        """Nothing to take in: every search reads what is committed."""

    def held_bytes(self) -> int:
        """Nothing: it is the server's memory."""
        return 0

    def compact(self, *, force: bool = False) -> bool:
        """Builds the HNSW index if the collection has grown enough; with force it waits for who is at it.

        True if it did. PostgreSQL keeps an index current by itself, so there is never anything to build anew. Also
        drops the indexes of collections that are gone.
        """
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not self._lock(connection, wait=force):
                return False
            try:
                use_extension(connection, local=False)
                self._drop_useless(connection)
                return self._is_due(connection) and self._build(connection)
            finally:
                connection.execute(text("RESET search_path"))
                connection.execute(select(func.pg_advisory_unlock(lock_key("pgvector indexes"))))

    def purge(self) -> bool:
        """Nothing to take out: rows go with their vectors, and PostgreSQL's vacuum frees their places in the index."""
        return False

    def _lock(self, connection: Connection, *, wait: bool) -> bool:
        key = lock_key("pgvector indexes")
        if wait:
            connection.execute(select(func.pg_advisory_lock(key)))
            return True
        return bool(connection.scalar(select(func.pg_try_advisory_lock(key))))

    def _is_due(self, connection: Connection) -> bool:
        if connection.scalar(select(func.to_regclass(self._name))) is not None:
            return False
        count = select(func.count()).select_from(EMBEDDING).where(*self._mine())
        return (connection.scalar(count) or 0) > self._exact_up_to

    def _build(self, connection: Connection) -> bool:
        width = connection.scalar(select(func.vector_dims(EMBEDDING.c.data)).where(*self._mine()).limit(1))
        if width is None or width > _MOST_DIMENSIONS:
            return False
        connection.exec_driver_sql(
            f"CREATE INDEX CONCURRENTLY {self._name} ON passage_embedding "
            f"USING hnsw ((data::halfvec({int(width)})) halfvec_cosine_ops) "
            f"WHERE collection_id = {_quoted(self._collection_id)} AND embedder = {_quoted(self._embedder)}"
        )
        return True

    def _drop_useless(self, connection: Connection) -> None:
        """Indexes of collections that are gone, and those whose building was cut short."""
        found = connection.execute(
            text(
                "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "WHERE i.indrelid = to_regclass('passage_embedding') AND starts_with(c.relname, :prefix)"
            ),
            {"prefix": _PREFIX},
        )
        for name, valid in found.all():
            collection_id = name.removeprefix(_PREFIX).split("_")[0]
            lives = connection.scalar(select(exists().where(Collection.id == collection_id)))
            if not (valid and lives):
                connection.exec_driver_sql(f"DROP INDEX CONCURRENTLY IF EXISTS {_quoted_name(name)}")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''").replace("%", "%%") + "'"


def _quoted_name(name: str) -> str:
    return '"' + name.replace('"', '""').replace("%", "%%") + '"'
