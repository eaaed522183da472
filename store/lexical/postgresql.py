"""Owns full-text search on PostgreSQL: tsvector and GIN, ranked as BM25 does.

The table is `passage_text(id, collection_id, length, terms)`. Words are cut and folded here, not by the server's
parser, whose result depends on its locale; English stems come from the dictionary that the migration made. The
collection is a term of every passage and of every query.

Rank: the inverse document frequency, in the collection, of each term that a passage has, times `ts_rank` of that term
alone, which grows with its occurrences towards a limit (6/pi^2 of it for one, 10/12 of the rest ...), over the
passage's length. Frequencies are counted up to a cap and so are the passages that are ranked: a word that is in
almost every passage costs no more than that.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from math import log

from sqlalchemy import text
from sqlalchemy.orm import Session

from store.lexical.terms import LexicalHit, Term, choices, fold, words

_CAP = 5_000  # passages counted for one term, and ranked for one query
_LENGTH_SHARE = 0.75  # BM25's b
_ONE = 16.449340668482264  # makes ts_rank of one occurrence 1: 0.1, the weight of plain words, over pi^2/6
_MAX_POSITION = 16_383  # of a tsvector
_MAX_POSITIONS = 255  # of one word in it

_INSERT = text(
    "INSERT INTO passage_text (id, collection_id, length, terms) "
    "VALUES (:id, :collection_id, :length, CAST(:terms AS tsvector))"
)
# A collection's totals are the sum of its rows: whoever changes them adds a row, so nobody waits for anybody, and a
# publication folds those that nobody else is folding into its own.
_ADD_TOTAL = text(
    "WITH folded AS (DELETE FROM passage_text_total WHERE ctid IN "
    "(SELECT ctid FROM passage_text_total WHERE collection_id = :id FOR UPDATE SKIP LOCKED) "
    "RETURNING passages, length) "
    "INSERT INTO passage_text_total (collection_id, passages, length) "
    "SELECT :id, :passages + coalesce(sum(passages), 0), :length + coalesce(sum(length), 0) FROM folded"
)
_TOTAL = text(
    "SELECT coalesce(sum(passages), 0)::bigint AS passages, coalesce(sum(length), 0)::bigint AS length "
    "FROM passage_text_total WHERE collection_id = :id"
)
_FORGET_DOCUMENT = text(
    "WITH gone AS (DELETE FROM passage_text WHERE id IN (SELECT id FROM vector WHERE document_id = :id) "
    "RETURNING collection_id, length) "
    "INSERT INTO passage_text_total (collection_id, passages, length) "
    "SELECT collection_id, -count(*), -sum(length) FROM gone GROUP BY collection_id"
)
_COUNT_UP_TO_CAP = (
    "(SELECT count(*) FROM "  # noqa: S608 - a number
    f"(SELECT 1 FROM passage_text WHERE terms @@ CAST(? AS tsquery) LIMIT {_CAP}) AS found)"
)
_STEMS = text("SELECT word, (ts_lexize('percel_stem', word))[1] FROM unnest(CAST(:words AS text[])) AS word")


def index(session: Session, collection_id: str, texts: Mapping[int, str]) -> None:
    """Adds passages: vector id -> text."""
    split = {key: words(body) for key, body in texts.items()}
    stems = _stems(session, {word for found in split.values() for word in found})
    rows = [
        {
            "id": key,
            "collection_id": collection_id,
            "length": len(found),
            "terms": _tsvector(collection_id, [stems[word] for word in found]),
        }
        for key, found in split.items()
    ]
    session.execute(_INSERT, rows)
    length = sum(len(found) for found in split.values())
    session.execute(_ADD_TOTAL, {"id": collection_id, "passages": len(rows), "length": length})


def search(
    session: Session,
    collection_id: str,
    terms: Sequence[Term],
    k: int,
    *,
    document_ids: AbstractCollection[str] | None,
) -> list[LexicalHit]:
    """The k best passages of the collection, best first; with document_ids only of those."""
    total = session.execute(_TOTAL, {"id": collection_id}).one()
    if not total.passages:
        return []
    stems = _stems(session, {fold(term.text) for term in terms if not term.prefix})
    queries = list(dict.fromkeys(_tsquery(fold(term.text), stems, prefix=term.prefix) for term in terms))
    counts = _count(session, collection_id, queries)
    weights = {
        query: log(1 + (max(total.passages, count) - count + 0.5) / (count + 0.5))
        for query, count in counts.items()
        if count
    }
    average = max(1.0, total.length / total.passages)
    asked: dict[str, object] = {"flat": 1 - _LENGTH_SHARE, "steep": _LENGTH_SHARE / average, "k": k}
    if document_ids is not None:
        asked["documents"] = list(document_ids)
    hits: dict[int, LexicalHit] = {}
    for chosen in choices(counts, _CAP):
        match = f"{_owner(collection_id)} & ({' | '.join(chosen)})"
        for hit in _rank(session, weights, {**asked, "match": match}):
            hits.setdefault(hit.vector_id, hit)
        if len(hits) >= k:
            break
    return sorted(hits.values(), key=lambda hit: (-hit.score, hit.vector_id))[:k]


def forget_document(session: Session, document_id: str) -> None:
    """Removes the document's passages."""
    session.execute(_FORGET_DOCUMENT, {"id": document_id})


def forget_collection(session: Session, collection_id: str) -> None:
    """Removes the collection's passages."""
    rows = "DELETE FROM passage_text WHERE id IN (SELECT id FROM vector WHERE collection_id = :id)"
    session.execute(text(rows), {"id": collection_id})
    session.execute(text("DELETE FROM passage_text_total WHERE collection_id = :id"), {"id": collection_id})


def _stems(session: Session, found: set[str]) -> dict[str, str]:
    """Word -> its English stem, or itself."""
    stems = {word: word for word in found}
    english = [word for word in found if word.isascii() and word.isalpha()]
    if english:
        stems |= {word: stem or word for word, stem in session.execute(_STEMS, {"words": english})}
    return stems


def _tsvector(collection_id: str, stems: Sequence[str]) -> str:
    """The passage as a tsvector literal. Stems hold word characters only, so nothing in them needs escaping."""
    positions: dict[str, list[str]] = {}
    for position, stem in enumerate(stems, 1):
        places = positions.setdefault(stem, [])
        if len(places) < _MAX_POSITIONS:
            places.append(str(min(position, _MAX_POSITION)))
    return " ".join([_owner(collection_id), *(f"'{stem}':{','.join(places)}" for stem, places in positions.items())])


def _tsquery(word: str, stems: Mapping[str, str], *, prefix: bool) -> str:
    return f"'{word}':*" if prefix else f"'{stems[word]}'"


def _owner(collection_id: str) -> str:
    return f"'@{collection_id}'"  # no word has an @


def _count(session: Session, collection_id: str, queries: Sequence[str]) -> dict[str, int]:
    """Query term -> passages of the collection that have it, counted up to the cap."""
    matches = {f"q{place}": f"{_owner(collection_id)} & {query}" for place, query in enumerate(queries)}
    columns = ", ".join(_COUNT_UP_TO_CAP.replace("?", f":{name}") for name in matches)
    counts = session.execute(text(f"SELECT {columns}"), matches).one()
    return dict(zip(queries, counts, strict=True))


def _rank(session: Session, weights: Mapping[str, float], asked: Mapping[str, object]) -> list[LexicalHit]:
    """The k best of (at most the cap's) passages that match; all terms count."""
    ranked = " + ".join(f":w{place} * ts_rank(p.terms, CAST(:t{place} AS tsquery))" for place, _ in enumerate(weights))
    among = "AND id IN (SELECT id FROM vector WHERE document_id = ANY(:documents)) " if "documents" in asked else ""
    statement = text(  # made of numbers and names; what was asked travels beside it
        f"SELECT p.id, {_ONE} * ({ranked}) / (:flat + :steep * p.length) AS score "  # noqa: S608
        "FROM (SELECT id, length, terms FROM passage_text "
        f"WHERE terms @@ CAST(:match AS tsquery) {among}LIMIT {_CAP}) p "
        "ORDER BY score DESC, p.id LIMIT :k"
    )
    values = dict(asked)
    for place, (query, weight) in enumerate(weights.items()):
        values |= {f"t{place}": query, f"w{place}": weight}
    return [LexicalHit(int(row[0]), float(row[1])) for row in session.execute(statement, values)]
