"""Owns the queries about vectors that the full text has no passage of: after a restore it is made anew."""

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from store.models import Chunk, Vector
from store.types import UnwordedPassage


def count_unworded(session: Session) -> int:
    """How many passages have a vector and no full text."""
    return session.scalars(select(func.count()).select_from(Vector).where(_unworded(session))).one()


def unworded_documents(session: Session) -> list[str]:
    """The documents of such passages."""
    return list(session.scalars(select(Vector.document_id).distinct().where(_unworded(session))))


def unworded_passages(session: Session, document_id: str) -> list[UnwordedPassage]:
    """Such passages of a document, in order."""
    query = (
        select(Vector.id, Vector.collection_id, Chunk.ordinal, Chunk.heading, Vector.start, Vector.end)
        .join(Chunk, Chunk.id == Vector.chunk_id)
        .where(Vector.document_id == document_id, _unworded(session))
    )
    return [UnwordedPassage(*row) for row in session.execute(query.order_by(Chunk.ordinal, Vector.id))]


def _unworded(session: Session) -> TextClause:
    name = "id" if session.get_bind().dialect.name == "postgresql" else "rowid"
    return text(f"NOT EXISTS (SELECT 1 FROM passage_text p WHERE p.{name} = vector.id)")  # noqa: S608 - from above
