"""Owns the queries about full-text rows as rows: which vectors have none (after a restore), what SQLite's hold."""

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from store.models import Chunk, Vector
from store.types import PassageWords, UnwordedPassage

_WORDS_AFTER = text(
    "SELECT v.id, p.body FROM (SELECT id FROM vector WHERE collection_id = :collection AND embedder = :embedder "
    "AND id > :seq ORDER BY id LIMIT :limit) v LEFT JOIN passage_text p ON p.rowid = v.id ORDER BY v.id"
)


def words_after(session: Session, collection_id: str, embedder: str, seq: int, *, limit: int) -> list[PassageWords]:
    """SQLite's full-text rows of the vectors above `seq`, in order of id, up to the first one that has none."""
    asked = {"collection": collection_id, "embedder": embedder, "seq": seq, "limit": limit}
    found: list[PassageWords] = []
    for vector_id, body in session.execute(_WORDS_AFTER, asked):
        if body is None:
            break
        found.append(PassageWords(vector_id, body))
    return found


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
