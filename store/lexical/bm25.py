"""Owns the ranking of passages by their words: BM25 over postings, the k best exactly, in the time of the rare words.

The rarest words come first. What the words after them could add at most is known: once the k best so far have more,
no passage can come in by a common word alone, so the common ones are only looked up in the passages that are still
in the running. Frequencies are weighed as FTS5's bm25() does, whose scores the weights of the fusion were fitted to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from store.lexical.postings import Postings
from store.lexical.terms import LexicalHit

_K1, _B = 1.2, 0.75
_LEAST = 1e-6  # weight of a word that is in more than half of the passages
# Postings that choose passages. Words that would exceed it only rank those that rarer ones have chosen.
_CHOOSING = 1_000_000
_FEW = 20_000  # passages that a search is kept to, each of which is looked up


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of the query."""

    weight: float  # inverse frequency
    count: int  # passages that have it
    slices: list[slice]  # of each part

    @property
    def most(self) -> float:
        """More than it adds to any passage."""
        return self.weight * (_K1 + 1)


class Ranker:
    """Ranks the passages of several postings, whose ids ascend from one to the next."""

    def __init__(self, parts: Sequence[Postings]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part.ids) for part in parts], dtype=np.int64)
        self._count = int(self._ends[-1]) if len(parts) else 0
        average = sum(part.total_length for part in parts) / max(1, self._count)
        self._steep = np.float32(_K1 * _B / max(average, 1.0))

    def best(self, keys: Sequence[int], k: int, among: NDArray[np.int64] | None = None) -> list[LexicalHit]:
        """The k best passages, best first; with `among` (ids, ascending) only of those."""
        words = sorted(filter(None, map(self._look_up, keys)), key=lambda word: word.count)
        if among is not None and len(among) <= _FEW:
            found, chosen, least = self._places(among), 0, 0.0
            summed = np.zeros(len(found), np.float32)
        else:
            scores = np.zeros(self._count, np.float32)
            chosen, least = self._choose(words, scores, k, alone=among is None)
            found = self._reached(scores, among)
            if len(found) < k and chosen < len(words):  # rare words alone bring too few
                for word in words[chosen:]:
                    self._add(word, scores)
                chosen, found = len(words), self._reached(scores, among)
            summed = scores[found]
        for number, word in enumerate(words[chosen:], chosen):
            least = max(least, _kth(summed, k))
            running = summed + sum(other.most for other in words[number:]) >= least
            found, summed = found[running], summed[running]
            summed = summed + self._looked_up(word, found)
        running = (summed > 0) & (summed >= _kth(summed, k))
        found, summed = found[running], summed[running]
        top = np.lexsort((found, -summed))[:k]
        return [LexicalHit(i, s) for i, s in zip(self._ids(found[top]).tolist(), summed[top].tolist(), strict=True)]

    def _reached(self, scores: NDArray[np.float32], among: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Places of the passages that have a score, ascending; with `among` only of those."""
        found = np.flatnonzero(scores > 0)  # of booleans it is ten times as fast
        return found if among is None else found[np.isin(self._ids(found), among, assume_unique=True)]

    def _look_up(self, key: int) -> _Word | None:
        slices = [part.slice_of(key) for part in self._parts]
        count = sum(its.stop - its.start for its in slices)
        if not count:
            return None
        return _Word(max(_LEAST, log((self._count - count + 0.5) / (count + 0.5))), count, slices)

    def _choose(self, words: Sequence[_Word], scores: NDArray[np.float32], k: int, *, alone: bool) -> tuple[int, float]:
        """Adds words to the scores until the others can bring no passage in; -> how many, and what k passages reach.

        Not `alone`: only some passages count, so nothing is known of what the k best of those reach.
        """
        least, looked_at = 0.0, 0
        for number, word in enumerate(words):
            left = sum(other.most for other in words[number:])
            if number and (left < least or looked_at + word.count > _CHOOSING):
                return number, least
            reached = self._add(word, scores)
            looked_at += word.count
            least = max(least, _kth(reached, k)) if alone else 0.0
        return len(words), least

    def _add(self, word: _Word, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Adds a word to the scores of all passages that have it; -> their scores now."""
        reached, first = [], 0
        for part, its in zip(self._parts, word.slices, strict=True):
            places = part.places[its]
            mine = scores[first : first + len(part.ids)]
            summed = mine[places] + self._scores(word, part.counts[its], part.lengths[places])
            mine[places] = summed
            reached.append(summed)
            first += len(part.ids)
        return np.concatenate(reached)

    def _looked_up(self, word: _Word, found: NDArray[np.int64]) -> NDArray[np.float32]:
        """What a word adds to the passages found, which ascend."""
        added, first, begin = [], 0, 0
        for part, its, end in zip(self._parts, word.slices, np.searchsorted(found, self._ends).tolist(), strict=True):
            mine = (found[begin:end] - first).astype(np.int32)
            places = part.places[its]
            at = np.searchsorted(places, mine)
            has = at < len(places)
            has[has] = places[at[has]] == mine[has]
            scores = np.zeros(len(mine), np.float32)
            scores[has] = self._scores(word, part.counts[its][at[has]], part.lengths[mine[has]])
            added.append(scores)
            first, begin = first + len(part.ids), end
        return np.concatenate(added)

    def _scores(self, word: _Word, counts: NDArray[np.uint8], lengths: NDArray[np.int32]) -> NDArray[np.float32]:
        often = counts.astype(np.float32)
        norm = lengths.astype(np.float32) * self._steep + np.float32(_K1 * (1 - _B))
        scores = np.float32(word.most) * often / (often + norm)
        return scores.astype(np.float32, copy=False)

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


def _kth(scores: NDArray[np.float32], k: int) -> float:
    """The k-th highest score; 0 of fewer."""
    return float(np.partition(scores, -k)[-k]) if len(scores) >= k else 0.0
