"""Owns full-text search on SQLite: FTS5, ranked by BM25.

The table is `passage_text(owner, body)` with rowid = vector.id. The collection's id is an indexed term of the `owner`
column, and no passage of another owner is ever returned. Word statistics (idf) are shared.

What a search costs is bounded, however large the index: so many passages are ranked, by so many words. FTS5's bm25()
walks through all passages of every word that it ranks by, each time, to count them; the commonest words, which say
least, are therefore left out once there are enough rarer ones.
"""

import json
import time
from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from store.lexical.terms import LexicalHit, Term, spaced

# Passages ranked. At 70,000 passages the first hit of sixty questions was each time that of a ranking of all.
_CAP = 5_000
_WEIGHED = 200_000  # passages that the ranking words are in, together; beyond, the commonest of them say too little
_OVERFETCH = 4  # hits of all collections asked for per hit wanted of one
_COUNT = "(SELECT count(*) FROM (SELECT 1 FROM passage_text WHERE passage_text MATCH ? LIMIT :limit))"
_COMMON_SECONDS = 600.0  # for which a common word's count is remembered; a rare one may be in a new passage at any time
_COMMON_WORDS = 10_000  # remembered at most
_COMMON: WeakKeyDictionary[Engine, dict[str, tuple[int, float]]] = WeakKeyDictionary()  # term -> count, until when
_SEARCH = (
    "SELECT rowid, score FROM (SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match LIMIT :cap) ORDER BY score DESC, rowid LIMIT :k"
)
_SEARCH_ALL = (
    f"SELECT found.rowid, found.score, its.owner FROM ({_SEARCH}) found "  # noqa: S608 - ours
    "JOIN passage_text its ON its.rowid = found.rowid ORDER BY found.score DESC, found.rowid"
)
_SEARCH_AMONG = (
    "SELECT rowid, score FROM (SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match AND rowid IN "
    "(SELECT id FROM vector WHERE document_id IN (SELECT value FROM json_each(:documents))) LIMIT :cap) "
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
    ranking = _ranking(counts)
    for chosen, its in _choices(counts, ranking):
        words, times = _expression(chosen, its, ranking)
        found = _rank(session, collection_id, words, k, document_ids)
        hits = [LexicalHit(key, score / times) for key, score in found]
        if len(hits) >= k:
            break
    return hits


def _count(session: Session, terms: Sequence[str]) -> dict[str, int]:
    """Term -> passages of any collection that have it, the rarest first; none for terms that no passage has.

    Counted up to just over what ranking looks at. The count of a common word may be minutes old.
    """
    now = time.monotonic()
    common = _COMMON.setdefault(session.get_bind().engine, {})
    counts = {term: count for term in terms for count, until in [common.get(term, (0, 0.0))] if until > now}
    asked = [term for term in terms if term not in counts]
    if asked:
        matches = {f"m{place}": f"body : {term}" for place, term in enumerate(asked)}
        columns = ", ".join(_COUNT.replace("?", f":{name}") for name in matches)
        limit = {"limit": max(_CAP, _WEIGHED) + 1}
        found = session.execute(text(f"SELECT {columns}"), matches | limit).one()
        counts |= dict(zip(asked, found, strict=True))
        if len(common) > _COMMON_WORDS:
            common.clear()
        common |= {term: (counts[term], now + _COMMON_SECONDS) for term in asked if counts[term] > _CAP}
    return {term: counts[term] for term in sorted(terms, key=lambda term: counts[term]) if counts[term]}


def _ranking(counts: Mapping[str, int]) -> list[str]:
    """The terms that passages are ranked by: the rarest, and more while their passages are not too many to count."""
    ranking: list[str] = []
    weighed = 0
    for term, count in counts.items():
        weighed += count
        if ranking and weighed > _WEIGHED:
            break
        ranking.append(term)
    return ranking


def _choices(counts: Mapping[str, int], ranking: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Which passages are ranked: expressions and their terms, each for where the one before it finds too little.

    First those with a rare term, as many terms as the cap allows; then also those with the two rarest of the common
    ones; then those with any of the ranking ones.
    """
    rare: list[str] = []
    chosen = 0
    for term, count in counts.items():
        chosen += count
        if chosen > _CAP:
            break
        rare.append(term)
    choices = [(_any(rare), rare)] if rare else []
    common = list(counts)[len(rare) :]
    if len(common) > 1:
        choices.append((_any([*rare, f"({common[0]} AND {common[1]})"]), [*rare, *common[:2]]))
    if len(ranking) > len(rare):
        choices.append((_any(ranking), list(ranking)))
    return choices


def _expression(chosen: str, terms: Sequence[str], ranking: Sequence[str]) -> tuple[str, int]:
    """Passages that are chosen, to be ranked by all terms; how many times each term is in the expression."""
    if chosen == _any(ranking):
        return chosen, 1
    # FTS5 ranks by every term of the expression, and a chosen one is in it twice: so are the others, then.
    others = [term for term in ranking if term not in terms]
    return f"({chosen}) AND ({_any([*terms, *others, *others])})", 2


def _rank(
    session: Session, collection_id: str, words: str, k: int, document_ids: AbstractCollection[str] | None
) -> list[tuple[int, float]]:
    """The k best of the collection's passages that match, or of as many of those as the cap allows."""
    hits = _among_all(session, collection_id, f"body : ({words})", k) if document_ids is None else None
    if hits is not None:
        return hits
    match = f'(owner : "{collection_id}") AND (body : ({words}))'
    asked: dict[str, object] = {"match": match, "k": k, "cap": max(_CAP, k)}
    if document_ids is not None:  # as one parameter: there may be more than a statement may have
        asked["documents"] = json.dumps(sorted(document_ids))
    rows = session.execute(text(_SEARCH if document_ids is None else _SEARCH_AMONG), asked)
    return [(int(row[0]), float(row[1])) for row in rows]


def _among_all(session: Session, collection_id: str, match: str, k: int) -> list[tuple[int, float]] | None:
    """The collection's k best out of the best of all collections; None where those hold too few of its passages.

    As part of the expression the collection's id is a word that FTS5 counts in every passage, each time: half of what
    a search costs in a large collection.
    """
    fetch = _OVERFETCH * k
    rows = session.execute(text(_SEARCH_ALL), {"match": match, "k": fetch, "cap": max(_CAP, fetch)}).all()
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
