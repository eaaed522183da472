"""Owns the cutting of text into words as the full text does it: by SQLite's own tokenizer, in a database in memory.

So a word here is the same word there: folded, without accents, English endings off. A lone character of an unspaced
script stands for the words that it begins; those are listed under the character and a star as well.
"""

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from store.lexical.terms import Term, begins_unspaced

TOKENIZE = "porter unicode61 remove_diacritics 2 categories ''L* N* Co Mn Mc''"
_KNOWN, _LONGEST = 50_000, 64  # terms whose keys are remembered, and their characters


@dataclass(frozen=True, slots=True)
class Cut:
    """Which words are in which texts: one entry an occurrence, in no order."""

    words: NDArray[np.uint64]  # (distinct,) keys
    word: NDArray[np.int64]  # (occurrences,) index in `words`
    text: NDArray[np.int64]  # (occurrences,) index in the texts; a word under its star counts there too
    lengths: NDArray[np.int32]  # (texts,) words


class Cutter:
    """Cuts texts. Safe for threads, which take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Term, tuple[int, ...]] = {}
        self._database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute(
            f"CREATE VIRTUAL TABLE cut USING fts5(body, content='', columnsize=0, tokenize='{TOKENIZE}')"
        )
        self._database.execute("CREATE VIRTUAL TABLE words USING fts5vocab(cut, 'instance')")

    def cut(self, texts: Sequence[str]) -> Cut:
        """The words of texts, which are as the full text stores them (`spaced`)."""
        found = self._occurrences(texts)
        place: dict[str, int] = {}
        word = np.fromiter((place.setdefault(term, len(place)) for term, _ in found), np.int64, len(found))
        text = np.fromiter((row for _, row in found), np.int64, len(found))
        lengths = np.bincount(text, minlength=len(texts)).astype(np.int32)
        for term in [term for term in place if begins_unspaced(term)]:
            mine = np.flatnonzero(word == place[term])
            starred = place.setdefault(f"{term[0]}*", len(place))
            word, text = np.concatenate([word, np.full(len(mine), starred)]), np.concatenate([text, text[mine]])
        return Cut(np.fromiter(map(key_of, place), np.uint64, len(place)), word, text, lengths)

    def keys(self, queries: Sequence[Sequence[Term]]) -> list[list[int]]:
        """The keys of each query's terms, each once; the terms that are new are cut together."""
        known = self._known
        mine = {term: known.get(term) for terms in queries for term in terms}
        unknown = [term for term, keys in mine.items() if keys is None]
        if unknown:
            new = self._cut_terms(unknown)
            mine |= new
            if len(known) > _KNOWN:
                self._known = known = {}  # other threads go on with the old one
            known.update({term: keys for term, keys in new.items() if len(term.text) <= _LONGEST})
        return [list(dict.fromkeys(key for term in terms for key in mine[term] or ())) for terms in queries]

    def _cut_terms(self, terms: Sequence[Term]) -> dict[Term, tuple[int, ...]]:
        """The keys of each term."""
        cuts: dict[int, list[str]] = {}
        for word, row in self._occurrences([term.text for term in terms]):
            cuts.setdefault(row, []).append(word)
        return {
            term: tuple(key_of(f"{word[0]}*" if term.prefix else word) for word in cuts.get(row, ()))
            for row, term in enumerate(terms)
        }

    def _occurrences(self, texts: Sequence[str]) -> list[tuple[str, int]]:
        """(word, index of its text), ordered by word."""
        with self._lock:
            try:
                self._database.executemany("INSERT INTO cut(rowid, body) VALUES (?, ?)", enumerate(texts))
                # A lone accent is a word of no letters, which comes back as NULL.
                return self._database.execute("SELECT term, doc FROM words WHERE term <> ''").fetchall()
            finally:
                self._database.execute("INSERT INTO cut(cut) VALUES ('delete-all')")


def key_of(word: str) -> int:
    """64 bits that stand for a word: an index holds no text, and is joined without one."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
