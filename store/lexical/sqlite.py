"""Owns full-text search on SQLite: FTS5, ranked by BM25.

The table is `passage_text(owner, body)` with rowid = vector.id. The collection's id is an indexed term of the `owner`
column, and no passage of another owner is ever returned. Word statistics (idf) are shared.
"""

import json
from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from store.lexical.terms import LexicalHit, Term, choices, spaced

# Passages ranked. At 70,000 passages the first hit of sixty questions was each time that of a ranking of all.
_CAP = 5_000
_OVERFETCH = 4  # hits of all collections asked for per hit wanted of one
_COUNT = (
    "(SELECT count(*) FROM (SELECT 1 FROM passage_text WHERE passage_text MATCH ? "  # noqa: S608 - a number
    f"LIMIT {_CAP + 1}))"
)
_SEARCH = (
    "SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match ORDER BY score DESC, rowid LIMIT :k"
)
_SEARCH_ALL = (
    f"SELECT found.rowid, found.score, its.owner FROM ({_SEARCH}) found "  # noqa: S608 - ours
    "JOIN passage_text its ON its.rowid = found.rowid ORDER BY found.score DESC, found.rowid"
)
_SEARCH_AMONG = (
    "SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match AND rowid IN "
    "(SELECT id FROM vector WHERE document_id IN (SELECT value FROM json_each(:documents))) "
    "ORDER BY score DESC, rowid LIMIT :k"
)


def index(session: Session, collection_id: str, texts: Mapping[int, str]) -> None:
    """Adds passages: vector id -> text."""
    rows = [{"id": key, "owner": collection_id, "body": spaced(body)} for key, body in texts.items()]
    session.execute(text("INSERT INTO passage_text(rowid, owner, body) VALUES (:id, :owner, :body)"), rows)


def search(
    session: Session,
    collection_id: str,
    terms: Sequence[Term],
    k: int,
    *,
    document_ids: AbstractCollection[str] | None,
) -> list[LexicalHit]:
    """The k best passages of the collection, best first; with document_ids only of those."""
    counts = _count(session, [f'"{term.text}" *' if term.prefix else f'"{term.text}"' for term in terms])
    hits: list[LexicalHit] = []
    for chosen in choices(counts, _CAP):
        hits = _rank(session, collection_id, chosen, [term for term in counts if counts[term]], k, document_ids)
        if len(hits) >= k:
            break
    return hits


def _count(session: Session, terms: Sequence[str]) -> dict[str, int]:
    """Term -> passages of any collection that have it, up to just over the cap."""
    matches = {f"m{place}": f"body : {term}" for place, term in enumerate(terms)}
    columns = ", ".join(_COUNT.replace("?", f":{name}") for name in matches)
    return dict(zip(terms, session.execute(text(f"SELECT {columns}"), matches).one(), strict=True))


def _rank(
    session: Session,
    collection_id: str,
    chosen: Sequence[str],
    terms: Sequence[str],
    k: int,
    document_ids: AbstractCollection[str] | None,
) -> list[LexicalHit]:
    """The k best by all terms of the passages that have a chosen one."""
    others = [term for term in terms if term not in chosen]
    words, times = _any(chosen), 1
    if others:
        # FTS5 ranks by every term of the expression, and a chosen one is in it twice: so are the others, then.
        words, times = f"({_any(chosen)}) AND ({_any([*chosen, *others, *others])})", 2
    hits = _among_all(session, collection_id, f"body : ({words})", k) if document_ids is None else None
    if hits is None:
        asked: dict[str, object] = {"match": f'(owner : "{collection_id}") AND (body : ({words}))', "k": k}
        if document_ids is not None:  # as one parameter: there may be more than a statement may have
            asked["documents"] = json.dumps(sorted(document_ids))
        rows = session.execute(text(_SEARCH if document_ids is None else _SEARCH_AMONG), asked)
        hits = [(int(row[0]), float(row[1])) for row in rows]
    return [LexicalHit(key, score / times) for key, score in hits]


def _among_all(session: Session, collection_id: str, match: str, k: int) -> list[tuple[int, float]] | None:
    """The collection's k best out of the best of all collections; None where those hold too few of its passages.

    As part of the expression the collection's id is a word that FTS5 counts in every passage, each time: half of what
    a search costs in a large collection.
    """
    fetch = _OVERFETCH * k
    rows = session.execute(text(_SEARCH_ALL), {"match": match, "k": fetch}).all()
    hits = [(int(row[0]), float(row[1])) for row in rows if row[2] == collection_id][:k]
    return hits if len(hits) == k or len(rows) < fetch else None


def _any(terms: Sequence[str]) -> str:
    return " OR ".join(terms)


def forget_document(session: Session, document_id: str) -> None:
    """Removes the document's passages."""
    statement = "DELETE FROM passage_text WHERE rowid IN (SELECT id FROM vector WHERE document_id = :id)"
    session.execute(text(statement), {"id": document_id})


def forget_collection(session: Session, collection_id: str) -> None:
    """Removes the collection's passages."""
    statement = "DELETE FROM passage_text WHERE rowid IN (SELECT id FROM vector WHERE collection_id = :id)"
    session.execute(text(statement), {"id": collection_id})


def merge(session: Session) -> None:
    """Rewrites the index without what was deleted. FTS5 only marks a deleted passage's words; this removes them."""
    session.execute(text("INSERT INTO passage_text(passage_text) VALUES ('optimize')"))
