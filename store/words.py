"""Owns the word index: full text on SQLite as postings in memory, a rebuildable view of the full-text rows.

FTS5 walks through all passages of every word of a query, and finds out each time how many there are: at 700,000
passages that is most of what a search costs. Here the rare words choose and the common ones are looked up. FTS5 stays
the truth, and answers where this index does not hold nearly everything: before its first generation, say.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading, transaction
from store.errors import StoreFull
from store.generated import Built, GeneratedIndex
from store.generations import Buffer, GenerationFiles
from store.lexical import postings
from store.lexical.bm25 import Ranker
from store.lexical.cut import Cutter
from store.lexical.postings import Postings
from store.lexical.terms import LexicalHit, query_terms
from store.models import Generation
from store.types import PassageWords

FORMAT = "words-2"  # of the files, the tokenizer included: another one is made anew under its own name
_EARLIER = ("words-1",)  # whose files are of no more use
_PAGE = 5_000  # passages cut at a time
_SMALL_PARTS = 8  # beside the generation; more are joined


@dataclass(frozen=True)
class _View:
    """What searches run on. Never changed, only replaced."""

    base: Postings | None
    number: int  # of the generation, 0 without one
    since: tuple[Postings, ...]  # what came after it
    max_seq: int  # the highest id in them
    complete: bool  # whether nothing is left out: too much came at once, or has no full text

    @cached_property
    def ranker(self) -> Ranker:
        """Ranks all that is here."""
        return Ranker(self.parts)

    @property
    def parts(self) -> list[Postings]:
        return [*([] if self.base is None else [self.base]), *self.since]

    @property
    def held_bytes(self) -> int:
        return sum(part.nbytes for part in self.parts)


_EMPTY = _View(None, 0, (), 0, True)


class WordIndex(GeneratedIndex[_View]):
    """The words of one collection's passages, in one process. Safe for threads; open it after a fork."""

    DELTA_MOST: ClassVar[int] = 10_000  # its rows are cut again by every process that starts
    LEFT_OUT: ClassVar[int] = 20_000  # that many at once are not cut while somebody waits for a search

    def __init__(self, engine: Engine, directory: Path, collection_id: str, embedder: str) -> None:
        files, *self._earlier = (
            GenerationFiles(directory, collection_id, f"{form} {embedder}", kind="words")
            for form in (FORMAT, *_EARLIER)
        )
        super().__init__(engine, files, collection_id, embedder, _EMPTY)

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter()

    def search(
        self, query: str, k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[LexicalHit] | None:
        """The k best passages, live or not, best first; with document_ids only of those. Refreshes first.

        None where the index does not hold everything, and the full text has to be asked instead.
        """
        with reading(self._engine) as session:
            found = self.search_many(session, [query], k, document_ids=document_ids)
        return None if found is None else found[0]

    def search_many(
        self,
        session: Session,
        queries: Sequence[str],
        k: int,
        *,
        document_ids: AbstractCollection[str] | None = None,
    ) -> list[list[LexicalHit]] | None:
        """The same for each of several queries, as of the session's snapshot or later."""
        view = self._refresh_in(session)
        if not view.complete or catalog.has_other_embedders(session, self._collection_id, self._embedder):
            return None
        among = None
        if document_ids is not None:
            ids = catalog.vectors_of_documents(session, self._embedder, document_ids)
            among = np.sort(np.array(ids, np.int64))
        return [view.ranker.best(keys, k, among) for keys in self._cutter.keys([*map(query_terms, queries)])]

    def compact(self, *, force: bool = False) -> bool:
        """Writes a new generation if one is due (or forced), and removes those of earlier forms.

        False where none is due or another process is at it. Raises: StoreFull; the next try has the room of those.
        """
        try:
            written = super().compact(force=force)
        except StoreFull:
            self._remove_earlier()
            raise
        if written:  # what is deleted later would stay in them
            self._remove_earlier()
        return written

    def purge(self) -> bool:
        """Takes what was deleted out of what is on disk; False where there is nothing (or nothing is left)."""
        with reading(self._engine) as session:
            stale = self._holds_deleted(session, [old for _, old in self._earlier_generations(session)])
        if stale:  # a generation of this form, with which they would go, may never be due
            self._remove_earlier()
        return super().purge() or stale

    def _remove_earlier(self) -> None:
        with transaction(self._engine) as session:
            old = self._earlier_generations(session)
            for _, generation in old:
                catalog.forget_generation(session, generation)
        for files, generation in old:
            files.remove(generation)

    def _earlier_generations(self, session: Session) -> list[tuple[GenerationFiles, Generation]]:
        return [
            (files, generation)
            for files in self._earlier
            for generation in catalog.list_generations(session, self._collection_id, files.name, files.node)
        ]

    def _open(self, data: Buffer, generation: Generation) -> _View | None:
        base = postings.from_bytes(data)
        return None if base is None else _View(base, generation.number, (), generation.max_seq, True)

    def _with_delta(self, session: Session, view: _View) -> _View:
        place = (self._collection_id, self._embedder)
        count = catalog.count_vectors(session, *place, after=view.max_seq, most=self.LEFT_OUT + 1)
        if count > self.LEFT_OUT:
            return _View(view.base, view.number, view.since, view.max_seq, False)
        since = [*view.since]
        rows = catalog.words_after(session, *place, view.max_seq, limit=count)
        if rows:
            since.append(_cut(self._cutter, rows))
        if len(since) > _SMALL_PARTS:
            since = [postings.join(since)]
        max_seq = rows[-1].id if rows else view.max_seq
        return _View(view.base, view.number, tuple(since), max_seq, len(rows) == count)

    def _build(self, session: Session, *, anew: bool) -> Built | None:
        place = (self._collection_id, self._embedder)
        view = _EMPTY
        if not anew:
            with self._refreshing:
                self._take_in(session)  # what is damaged is cut again below
                view = self._view
        cutter = Cutter()  # of its own: a search must not wait for a page
        parts, max_seq = view.parts, view.max_seq
        while rows := catalog.words_after(session, *place, max_seq, limit=_PAGE):
            parts.append(_cut(cutter, rows))
            max_seq = rows[-1].id
        if not parts:
            return None
        whole = postings.join(parts)
        live = np.array(catalog.vector_ids(session, *place), np.int64)
        whole = postings.without(whole, np.isin(whole.ids, live, assume_unique=True))
        if not len(whole.ids):
            return None
        return Built(postings.to_bytes(whole), int(whole.ids[-1]), len(whole.ids), FORMAT)

    def _is_due(self, session: Session) -> bool:
        """Not while the next passage has no full text: after a restore it comes later."""
        generations = self._generations(session)
        since = generations[0].max_seq if generations else 0
        return super()._is_due(session) and bool(
            catalog.words_after(session, self._collection_id, self._embedder, since, limit=1)
        )


def _cut(cutter: Cutter, rows: list[PassageWords]) -> Postings:
    ids = np.array([row.id for row in rows], np.int64)
    return postings.of_cut(ids, cutter.cut([row.body for row in rows]))
