"""Owns the queries of the vector index: its rows in order of sequence, and the manifest of its generations."""

from collections.abc import Iterable, Iterator

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from store.models import Generation, Vector
from store.types import VectorRow

_BATCH = 500  # documents in one statement
_PAGE = 50_000  # rows in one statement: bounds memory


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


def vector_bytes(session: Session, collection_id: str) -> int:
    """Bytes of a collection's vectors, of all embedders."""
    query = select(func.coalesce(func.sum(func.length(Vector.data)), 0)).where(Vector.collection_id == collection_id)
    return int(session.scalars(query).one())


def count_vectors(
    session: Session, collection_id: str, embedder: str, *, after: int = 0, up_to: int | None = None
) -> int:
    """How many rows there are with an id above `after`, with up_to not above that."""
    query = select(func.count()).where(
        Vector.collection_id == collection_id, Vector.embedder == embedder, Vector.id > after
    )
    if up_to is not None:
        query = query.where(Vector.id <= up_to)
    return session.scalars(query).one()


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


def vectors_of_documents(session: Session, embedder: str, document_ids: Iterable[str]) -> list[int]:
    """The ids of the documents' vector rows."""
    wanted = list(document_ids)
    found: list[int] = []
    for first in range(0, len(wanted), _BATCH):
        query = select(Vector.id).where(
            Vector.document_id.in_(wanted[first : first + _BATCH]), Vector.embedder == embedder
        )
        found += session.scalars(query)
    return found


def count_document_vectors(session: Session, document_id: str, embedder: str) -> int:
    """How many vectors of an embedder a document has."""
    query = select(func.count()).where(Vector.document_id == document_id, Vector.embedder == embedder)
    return session.scalars(query).one()
