"""Owns the queries of the vector index: its rows in order of sequence, and the manifest of its generations."""

import json
from collections.abc import Iterable, Iterator

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from store.models import Generation, Vector
from store.types import IndexState, VectorRow

_PAGE = 50_000  # rows in one statement: bounds memory
# Asked before every search, so it is one statement of two looks into indexes, and no object is made of it.
_STATE = text(
    "SELECT coalesce((SELECT max(id) FROM vector WHERE collection_id = :collection AND embedder = :embedder), 0), "
    "coalesce((SELECT max(number) FROM generation "
    "WHERE collection_id = :collection AND embedder = :name AND node = :node), 0)"
)


def vectors_after(session: Session, collection_id: str, embedder: str, seq: int) -> Iterator[VectorRow]:
    """Vector rows with an id above `seq`, in order of id.

    Rows of a collection commit in order of id: one publication at a time writes into it (`publish` sees to that).
    """
    while True:
        page = session.execute(
            select(Vector.id, Vector.data)
            .where(Vector.collection_id == collection_id, Vector.embedder == embedder, Vector.id > seq)
            .order_by(Vector.id)
            .limit(_PAGE)
        ).all()
        for vector_id, data in page:
            yield VectorRow(vector_id, data)
        if len(page) < _PAGE:
            return
        seq = page[-1][0]


_OTHERS = text(
    "SELECT EXISTS (SELECT 1 FROM vector WHERE collection_id = :collection AND embedder < :embedder) "
    "OR EXISTS (SELECT 1 FROM vector WHERE collection_id = :collection AND embedder > :embedder)"
)


def index_state(session: Session, collection_id: str, embedder: str, *, name: str, node: str) -> IndexState:
    """What the rows are at, and which generation of an index a node has."""
    asked = {"collection": collection_id, "embedder": embedder, "name": name, "node": node}
    max_seq, number = session.connection().execute(_STATE, asked).one()
    return IndexState(max_seq, number)


def vector_bytes(session: Session, collection_id: str) -> int:
    """Bytes of a collection's vectors, of all embedders."""
    query = select(func.coalesce(func.sum(func.length(Vector.data)), 0)).where(Vector.collection_id == collection_id)
    return int(session.scalars(query).one())


def count_vectors(
    session: Session,
    collection_id: str,
    embedder: str,
    *,
    after: int = 0,
    up_to: int | None = None,
    most: int | None = None,
) -> int:
    """How many rows there are with an id above `after`, with up_to not above that; counted up to `most`."""
    query = select(Vector.id).where(
        Vector.collection_id == collection_id, Vector.embedder == embedder, Vector.id > after
    )
    if up_to is not None:
        query = query.where(Vector.id <= up_to)
    return session.scalars(select(func.count()).select_from(query.limit(most).subquery())).one()


def vector_ids(session: Session, collection_id: str, embedder: str) -> list[int]:
    """The ids of all rows, ascending."""
    query = select(Vector.id).where(Vector.collection_id == collection_id, Vector.embedder == embedder)
    return list(session.scalars(query.order_by(Vector.id)))


def has_other_embedders(session: Session, collection_id: str, embedder: str) -> bool:
    """Whether the collection has vectors of any other embedder."""
    return bool(session.connection().execute(_OTHERS, {"collection": collection_id, "embedder": embedder}).scalar())


def list_generations(session: Session, collection_id: str, embedder: str, node: str) -> list[Generation]:
    """The generations that have a file on the node, the newest first."""
    query = select(Generation).where(
        Generation.collection_id == collection_id, Generation.embedder == embedder, Generation.node == node
    )
    return list(session.scalars(query.order_by(Generation.number.desc())))


def record_generation(session: Session, generation: Generation) -> None:
    """Adds a generation whose file is in place."""
    session.add(generation)
    session.flush()


def forget_generation(session: Session, generation: Generation) -> None:
    """Takes a generation out of the manifest."""
    session.execute(
        delete(Generation).where(
            Generation.collection_id == generation.collection_id,
            Generation.embedder == generation.embedder,
            Generation.node == generation.node,
            Generation.number == generation.number,
        )
    )


_OF_DOCUMENTS = {
    "sqlite": text(
        "SELECT id FROM vector WHERE document_id IN (SELECT value FROM json_each(:documents)) AND embedder = :embedder"
    ),
    "postgresql": text("SELECT id FROM vector WHERE document_id = ANY(:documents) AND embedder = :embedder"),
}


def vectors_of_documents(session: Session, embedder: str, document_ids: Iterable[str]) -> list[int]:
    """The ids of the documents' vector rows."""
    connection = session.connection()
    ids = sorted(document_ids)  # in the order of the index: of a million it is three times as fast
    # as one parameter: there may be more than a statement may have
    wanted: object = ids if connection.dialect.name == "postgresql" else json.dumps(ids)
    asked = {"documents": wanted, "embedder": embedder}
    return list(connection.execute(_OF_DOCUMENTS[connection.dialect.name], asked).scalars())


def count_document_vectors(session: Session, document_id: str, embedder: str) -> int:
    """How many vectors of an embedder a document has."""
    query = select(func.count()).where(Vector.document_id == document_id, Vector.embedder == embedder)
    return session.scalars(query).one()
