"""Owns the ranking of passages by their words: BM25 over postings, the k best exactly, in the time of the rare words.

The rarest words come first. What the words after them could add at most is known: once the k best so far have more,
no passage can come in by a common word alone, so the common ones are only looked up in the passages that are still
in the running. Frequencies are weighed as FTS5's bm25() does, whose scores the weights of the fusion were fitted to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np
from numpy.typing import NDArray

from store.lexical.postings import Postings
from store.lexical.terms import LexicalHit

_K1, _B = 1.2, 0.75
_LEAST = 1e-6  # weight of a word that is in more than half of the passages
# Postings that choose passages. Words that would exceed it only rank those that rarer ones have chosen.
_CHOOSING = 1_000_000
# Postings of a word that are walked for each passage in the running; where it has more, each passage is looked up.
_WALKED = 20
_SPARE = 4  # sums kept for the next searches, four bytes a passage each
_FEW = 20_000  # passages that a search is kept to, each of which is looked up


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of the query."""

    most: float  # more than it adds to any passage
    count: int  # passages that have it
    slices: list[slice]  # of each part


class _Sums:
    """The passages reached so far and a score for each. Used again and again: new memory costs a fault a page."""

    def __init__(self, passages: int) -> None:
        self.scores = np.zeros(passages, np.float32)  # 0: not reached
        self._reached: list[NDArray[np.intp]] = []

    def put(self, places: NDArray[np.intp], scores: NDArray[np.float32], new: NDArray[np.bool_]) -> None:
        """The scores of passages, each there once, of which the `new` ones were not reached before."""
        self.scores[places] = scores
        self._reached.append(places.compress(new))

    def found(self) -> NDArray[np.intp]:
        """Places of all that was reached, in no order."""
        return np.concatenate(self._reached) if self._reached else np.empty(0, np.intp)

    def clear(self) -> None:
        """As new."""
        for places in self._reached:
            self.scores[places] = 0
        self._reached = []


class Ranker:
    """Ranks the passages of several postings, whose ids ascend from one to the next. Safe for threads."""

    def __init__(self, parts: Sequence[Postings]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part.ids) for part in parts], dtype=np.int64)
        self._count = int(self._ends[-1]) if len(parts) else 0
        average = sum(part.total_length for part in parts) / max(1, self._count)
        self._steep = np.float32(_K1 * _B / max(average, 1.0))
        self._spare: list[_Sums] = []

    def best(self, keys: Sequence[int], k: int, among: NDArray[np.int64] | None = None) -> list[LexicalHit]:
        """The k best passages, best first; with `among` (ids, ascending) only of those."""
        words = sorted(filter(None, map(self._look_up, keys)), key=lambda word: word.count)
        if among is not None and len(among) <= _FEW:
            found, least = self._places(among), 0.0
            summed = np.zeros(len(found), np.float32)
        else:
            try:
                sums = self._spare.pop()
            except IndexError:
                sums = _Sums(self._count)
            found, words, least = self._reach(sums, words, k, among)
            summed = sums.scores.take(found)
            sums.clear()
            if len(self._spare) < _SPARE:
                self._spare.append(sums)
        for number, word in enumerate(words):
            least = max(least, _kth(summed, k))
            running = summed + _most(words[number:]) >= least
            found, summed = found.compress(running), summed.compress(running)
            self._look_in(word, found, summed)
        running = (summed > 0) & (summed >= _kth(summed, k))
        found, summed = found.compress(running), summed.compress(running)
        top = np.lexsort((found, -summed))[:k]
        return [*map(LexicalHit, self._ids(found[top]).tolist(), summed[top].tolist())]

    def _reach(
        self, sums: _Sums, words: list[_Word], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.intp], list[_Word], float]:
        """Adds words up to where it is less to look up each passage.

        -> places of the passages in the running, ascending where words are left; those words; what k passages reach.
        """
        chosen, least = self._choose(words, sums, k, alone=among is None)
        found = self._found(sums, among)
        if len(found) < k and chosen < len(words):  # rare words alone bring too few
            for word in words[chosen:]:
                self._add(word, sums)
            chosen, found = len(words), self._found(sums, among)
        left = words[chosen:]
        while left:
            summed = sums.scores.take(found)
            least = max(least, _kth(summed, k))
            running = summed + _most(left) >= least
            found = found.compress(running)
            if left[0].count > _WALKED * len(found):
                break
            self._add_to_reached(left.pop(0), sums)
        return (np.sort(found) if left else found), left, least

    def _found(self, sums: _Sums, among: NDArray[np.int64] | None) -> NDArray[np.intp]:
        """Places of the passages reached, in no order; with `among` only of those."""
        found = sums.found()
        return found if among is None else found[np.isin(self._ids(found), among, assume_unique=True)]

    def _look_up(self, key: int) -> _Word | None:
        slices = [part.slice_of(key) for part in self._parts]
        count = sum(its.stop - its.start for its in slices)
        if not count:
            return None
        weight = max(_LEAST, log((self._count - count + 0.5) / (count + 0.5)))  # inverse frequency
        return _Word(weight * (_K1 + 1), count, slices)

    def _choose(self, words: Sequence[_Word], sums: _Sums, k: int, *, alone: bool) -> tuple[int, float]:
        """Adds words to the scores until the others can bring no passage in; -> how many, and what k passages reach.

        Not `alone`: only some passages count, so nothing is known of what the k best of those reach.
        """
        least, looked_at = 0.0, 0
        for number, word in enumerate(words):
            if number and (_most(words[number:]) < least or looked_at + word.count > _CHOOSING):
                return number, least
            reached = self._add(word, sums)
            looked_at += word.count
            least = max(least, _kth(reached, k)) if alone else 0.0
        return len(words), least

    def _add(self, word: _Word, sums: _Sums) -> NDArray[np.float32]:
        """Adds a word to the scores of all passages that have it; -> their scores now."""
        reached = []
        for places, counts in self._postings(word):
            before = sums.scores.take(places, mode="clip")
            summed = before + self._scores(word, counts, places)
            sums.put(places, summed, before == 0)
            reached.append(summed)
        return np.concatenate(reached)

    def _add_to_reached(self, word: _Word, sums: _Sums) -> None:
        """Adds a word to the scores of those passages only that have one."""
        for places, counts in self._postings(word):
            before = sums.scores.take(places, mode="clip")
            at = np.flatnonzero(before > 0)  # of booleans it is ten times as fast
            places = places.take(at)
            sums.scores[places] = before.take(at) + self._scores(word, counts.take(at), places)

    def _postings(self, word: _Word) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
        """The places of the passages that have a word, and how often they do, part by part."""
        first = 0
        for part, its in zip(self._parts, word.slices, strict=True):
            places = part.places[its].astype(np.intp)  # what indexing would turn them into each time
            places += first
            yield places, part.counts[its]
            first += len(part.ids)

    def _look_in(self, word: _Word, found: NDArray[np.intp], summed: NDArray[np.float32]) -> None:
        """Adds a word to the scores `summed` of the passages found, which ascend."""
        first, begin = 0, 0
        for part, its, end in zip(self._parts, word.slices, np.searchsorted(found, self._ends).tolist(), strict=True):
            places = part.places[its]
            if len(places) and end > begin:
                mine = (found[begin:end] - first).astype(np.int32)
                at = np.searchsorted(places, mine)
                has = np.flatnonzero(places.take(at, mode="clip") == mine)
                counts = part.counts[its].take(at.take(has))
                has += begin
                summed[has] += self._scores(word, counts, found.take(has))
            first, begin = first + len(part.ids), end

    def _scores(self, word: _Word, counts: NDArray[np.uint8], places: NDArray[np.intp]) -> NDArray[np.float32]:
        scores = counts.astype(np.float32)
        below = self._norms.take(places, mode="clip")
        below += scores
        scores *= np.float32(word.most)
        scores /= below
        return scores

    @cached_property
    def _norms(self) -> NDArray[np.float32]:
        """What each passage's length makes of a word's occurrences in it."""
        lengths = np.concatenate([part.lengths for part in self._parts])
        return lengths.astype(np.float32) * self._steep + np.float32(_K1 * (1 - _B))

    def _ids(self, found: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of passages by their places."""
        ids = np.empty(len(found), np.int64)
        first = 0
        for part, last in zip(self._parts, self._ends.tolist(), strict=True):
            mine = (found >= first) & (found < last)
            ids[mine] = part.ids[found[mine] - first]
            first = last
        return ids

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of those of the ids that are there, ascending."""
        found, first = [], 0
        for part in self._parts:
            found.append(first + np.flatnonzero(np.isin(part.ids, ids, assume_unique=True)))
            first += len(part.ids)
        return np.concatenate(found) if found else np.empty(0, np.int64)


def _most(words: Sequence[_Word]) -> float:
    """More than the words add to any passage."""
    return sum(word.most for word in words)


def _kth(scores: NDArray[np.float32], k: int) -> float:
    """The k-th highest score; 0 of fewer."""
    return float(np.partition(scores, -k)[-k]) if len(scores) >= k else 0.0
