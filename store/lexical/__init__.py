"""Owns full-text search over passages: what others call, whichever the database. Nothing here commits.

One table for all collections, `passage_text`, made by a migration; its rows are named by vector ids.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping

from sqlalchemy.orm import Session

from store.lexical import postgresql, sqlite
from store.lexical.terms import LexicalHit, query_terms

__all__ = ["LexicalHit", "forget_collection", "forget_document", "index", "merge", "search"]


def index(session: Session, collection_id: str, texts: Mapping[int, str]) -> None:
    """Adds passages: vector id -> text. The ids must be new."""
    if texts:
        (postgresql if _on_postgresql(session) else sqlite).index(session, collection_id, texts)


def search(
    session: Session,
    collection_id: str,
    query: str,
    k: int,
    *,
    document_ids: AbstractCollection[str] | None = None,
) -> list[LexicalHit]:
    """The k best passages of the collection, best first; with document_ids only of those.

    The query is plain words; operators mean nothing in it.
    """
    terms = query_terms(query)
    if not terms:
        return []
    if _on_postgresql(session):
        return postgresql.search(session, collection_id, terms, k, document_ids=document_ids)
    return sqlite.search(session, collection_id, terms, k, document_ids=document_ids)


def forget_document(session: Session, document_id: str) -> None:
    """Removes the document's passages; call it while its vector rows still exist."""
    (postgresql if _on_postgresql(session) else sqlite).forget_document(session, document_id)


def forget_collection(session: Session, collection_id: str) -> None:
    """Removes the collection's passages; call it while its vector rows still exist."""
    (postgresql if _on_postgresql(session) else sqlite).forget_collection(session, collection_id)


def merge(session: Session) -> None:
    """For maintenance, and for a deletion that must leave no trace: rewrites SQLite's index without what was deleted.

    Seconds for a hundred thousand passages. On PostgreSQL there is nothing to call: its (auto)vacuum does this.
    """
    if not _on_postgresql(session):
        sqlite.merge(session)


def _on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"
