"""Owns full-text search over passages: SQLite FTS5, ranked by BM25.

One table for all collections, `passage_text(owner, body)` with rowid = vector.id, made by a migration. The
collection's id is an indexed term of the `owner` column and part of every MATCH, so the index itself keeps
collections apart: a search walks the postings of its own collection, and no other collection's text can be returned.
Word statistics (idf) are shared.
Nothing here commits.
"""

import json
import re
import unicodedata
from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import text
from sqlalchemy.orm import Session

_MAX_TERMS = 64  # of a query; a pasted page must not become a query of thousands of terms

# Scripts written without spaces between words: unicode61 would make one token of a whole clause.
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0e7f"  # Thai
    "\u0e80-\u0eff"  # Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "]+"
)
_ARABIC_MARKS = re.compile("[\u0640\u064b-\u065f\u0670]")  # tatweel and vowel marks: written or not at will
_WORD_CATEGORIES = {"Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Co", "Mn", "Mc"}  # as the tokenizer's
# Words that are in every passage rank nothing and cost a walk through the whole index.
_COMMON = (
    "a about an and are as at be been but by can could did do does for from had has have how i if in into is it its "
    "me my not of on or our so such than that the their them then there these they this those to was we were what "
    "when where which who why will with would you your"
)
_SEARCH = (
    "SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match ORDER BY score DESC, rowid LIMIT :k"
)
_SEARCH_AMONG = (
    "SELECT rowid, -bm25(passage_text, 0.0, 1.0) AS score FROM passage_text "
    "WHERE passage_text MATCH :match AND rowid IN "
    "(SELECT id FROM vector WHERE document_id IN (SELECT value FROM json_each(:documents))) "
    "ORDER BY score DESC, rowid LIMIT :k"
)
_STOP_WORDS = frozenset(_COMMON.split())


@dataclass(frozen=True, slots=True)
class LexicalHit:
    """A passage that shares words with the query."""

    vector_id: int
    score: float  # higher is better


def index(session: Session, collection_id: str, texts: Mapping[int, str]) -> None:
    """Adds passages: vector id -> text. The ids must be new."""
    if texts:
        rows = [{"id": key, "owner": collection_id, "body": _spaced(body)} for key, body in texts.items()]
        session.execute(text("INSERT INTO passage_text(rowid, owner, body) VALUES (:id, :owner, :body)"), rows)


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
    terms = _terms(query)
    if not terms:
        return []
    words = " OR ".join(terms)
    asked: dict[str, object] = {"match": f'(owner : "{collection_id}") AND (body : ({words}))', "k": k}
    if document_ids is not None:  # as one parameter: there may be more than a statement may have
        asked["documents"] = json.dumps(sorted(document_ids))
    rows = session.execute(text(_SEARCH if document_ids is None else _SEARCH_AMONG), asked)
    return [LexicalHit(int(row[0]), float(row[1])) for row in rows]


def forget_document(session: Session, document_id: str) -> None:
    """Removes the document's passages; call it while its vector rows still exist."""
    statement = "DELETE FROM passage_text WHERE rowid IN (SELECT id FROM vector WHERE document_id = :id)"
    session.execute(text(statement), {"id": document_id})


def forget_collection(session: Session, collection_id: str) -> None:
    """Removes the collection's passages; call it while its vector rows still exist."""
    statement = "DELETE FROM passage_text WHERE rowid IN (SELECT id FROM vector WHERE collection_id = :id)"
    session.execute(text(statement), {"id": collection_id})


def merge(session: Session) -> None:
    """Rewrites the index without what was deleted. FTS5 only marks a deleted passage's words; this removes them.

    Seconds for a hundred thousand passages: for maintenance, and for a deletion that must leave no trace.
    """
    session.execute(text("INSERT INTO passage_text(passage_text) VALUES ('optimize')"))


def _spaced(body: str) -> str:
    """Normalised text with every unspaced run as overlapping pairs and its last character: 向量检 -> 向量 量检 检."""
    normal = _ARABIC_MARKS.sub("", unicodedata.normalize("NFKC", body))
    return _UNSPACED.sub(lambda run: f" {' '.join([*_pairs(run[0]), run[0][-1]])} ", normal)


def _pairs(run: str) -> list[str]:
    return [first + second for first, second in pairwise(run)]


def _terms(query: str) -> list[str]:
    """The query's distinct terms as FTS5 strings, in order: words, pairs of unspaced characters, or a lone one."""
    normal = _ARABIC_MARKS.sub("", unicodedata.normalize("NFKC", query))
    words = "".join(c if unicodedata.category(c) in _WORD_CATEGORIES else " " for c in normal)
    spaced = _UNSPACED.sub(lambda run: f" {' '.join(_pairs(run[0])) or run[0] + '*'} ", words)
    every = dict.fromkeys(spaced.lower().split())
    terms = [term for term in every if term not in _STOP_WORDS] or every
    # Only word characters are left, so no quote can be in a term. A lone character stands for words it begins.
    return [f'"{term[:-1]}" *' if term.endswith("*") else f'"{term}"' for term in terms][:_MAX_TERMS]
