"""Owns the ranking of passages by their words: BM25 over postings, the k best exactly, in the time of the rare words.

The rarest words come first. What the words after them could add at most is known: once the k best so far have more,
no passage can come in by a common word alone, so the common ones are only looked up in the passages that are still
in the running. All this is done with bounds in whole numbers of two bytes, as most of what a search costs is memory
read here and there; the few passages that are left at the end are weighed exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from store.lexical.postings import Postings
from store.lexical.saturation import K1, LEVELS, SHARES, levels_of, norms, steepness, tops_of
from store.lexical.terms import LexicalHit

_LEAST = 1e-6  # weight of a word that is in more than half of the passages
_UNITS = 65_535  # of all words together, each rounded up: what two bytes hold
_DRIFT = 1 / 64  # how far a part's steepness may be from that of all parts before its levels are made anew
# Postings that choose passages. Words that would exceed it only rank those that rarer ones have chosen.
_CHOOSING = 1_000_000
# Postings of a word that are walked for each passage in the running; where it has more, each passage is looked up.
_WALKED = 15
_WALKED_FIRST = 5  # the same for each that was reached, before it is known which of them are in the running
_CLEARED = 25  # sums are cleared one by one where no more than one in so many was written
_SPARE = 4  # sums kept for the next searches, two bytes a passage each
_FEW = 20_000  # passages that a search is kept to, each of which is looked up
_BLOCK = 16_384  # passages weighed exactly at a time
_KNOWN = 10_000  # words that are not looked up again
_COUNT = attrgetter("count")


@dataclass(frozen=True, slots=True)
class _Part:
    """Postings in a ranking."""

    postings: Postings
    first: int  # place of its first passage
    levels: NDArray[np.uint8]
    tops: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Slice:
    """The postings of a word in a part."""

    part: _Part
    its: slice

    @property
    def places(self) -> NDArray[np.intp]:
        """Its passages, in order."""
        places = self.part.postings.places[self.its].astype(np.intp)  # what indexing would turn them into each time
        if self.part.first:
            places += self.part.first
        return places

    @property
    def levels(self) -> NDArray[np.uint8]:
        """What it comes to in each."""
        return self.part.levels[self.its]


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of the query."""

    weight: float  # more than it adds to any passage
    top: int  # the highest level that it has
    count: int  # passages that have it
    slices: list[_Slice]


class _Bounds:
    """What is known in a search of what passages reach, in units; words are added one after the other.

    A sum is more than its passage's score so far, by no more than `_over`.
    """

    def __init__(self, words: Sequence[_Word], k: int, most: float, least: float) -> None:
        """most, least: by how much a share may be more or less than its level's, as a factor."""
        weights = np.array([word.weight for word in words])
        weights *= (_UNITS - len(words)) / (weights.sum() * most)
        units = np.ceil(np.multiply.outer(weights, SHARES * most))
        self.tables: list[NDArray[np.uint16]] = list(units.astype(np.uint16))  # of each word, by levels
        self._tops = [int(table[word.top]) for table, word in zip(self.tables, words, strict=True)]
        self._overs = [ceil(weight * (most / LEVELS + most - least)) + 2 for weight in weights.tolist()]
        self._k = k
        self._over = 0
        self.least = 0  # reached by k passages
        self.left = sum(self._tops)  # what the words that were not added could add to any passage
        self._reached = 0  # what those that were could come to
        self.added = 0  # words

    @property
    def floor(self) -> int:
        """A sum with less is out of the running, whatever the words that are left bring."""
        return max(self.least - self.left, 0 if self.left else 1)

    def add(self) -> NDArray[np.uint16]:
        """The next word is added; -> units at each of its levels."""
        number = self.added
        self.left -= self._tops[number]
        self._reached += self._tops[number]
        self._over += self._overs[number]
        self.added += 1
        return self.tables[number]

    def learn(self, sums: NDArray[np.uint16]) -> None:
        """Of these passages, each there once, the k-th best reaches something."""
        if self._reached <= self.left:  # nothing that is known yet keeps any passage out
            return
        if self.least:  # mostly few can raise it
            sums = sums.compress(sums > self.least + self._over)
        if len(sums) >= self._k:
            self.least = max(self.least, int(np.partition(sums, -self._k)[-self._k]) - self._over)


class Ranker:
    """Ranks the passages of several postings, whose ids ascend from one to the next. Safe for threads."""

    def __init__(self, parts: Sequence[Postings]) -> None:
        parts = [part for part in parts if len(part.ids)]
        self._count = sum(len(part.ids) for part in parts)
        self._steep = steepness(sum(part.total_length for part in parts), self._count)
        self._most = self._least = 1.0  # a share here by the share at its level
        self._parts: list[_Part] = []
        first = 0
        for part in parts:
            self._parts.append(self._part(part, first))
            first += len(part.ids)
        self._ends = np.cumsum([len(part.ids) for part in parts], dtype=np.int64)
        self._spare: list[NDArray[np.uint16]] = []
        self._known: dict[int, _Word] = {}

    def _part(self, postings: Postings, first: int) -> _Part:
        drift = postings.steep / self._steep
        if abs(drift - 1) > _DRIFT:  # of a few passages, or beside nearly as many others
            levels = levels_of(postings.places, postings.counts, postings.lengths, self._steep)
            return _Part(postings, first, levels, tops_of(levels, postings.starts))
        self._most, self._least = max(self._most, drift), min(self._least, drift)
        return _Part(postings, first, postings.levels, postings.tops)

    def best(self, keys: Sequence[int], k: int, among: NDArray[np.int64] | None = None) -> list[LexicalHit]:
        """The k best passages, best first; with `among` (ids, ascending) only of those."""
        words = self._look_up(keys)
        if not words:
            return []
        bounds = _Bounds(words, k, self._most, self._least)
        if among is not None and len(among) <= _FEW:
            found = self._places(among)
            sums = np.zeros(len(found), np.uint16)
        else:
            found, sums = self._reach(bounds, words, k, among)
        for word in words[bounds.added :]:
            self._look_in(word, found, sums, bounds.add())
            bounds.learn(sums)
            running = (sums >= bounds.floor).nonzero()[0]
            if len(running) < len(found):
                found, sums = found.take(running), sums.take(running)
        scores = self._weigh(words, found)
        if len(scores) > k:
            running = (scores >= np.partition(scores, -k)[-k]).nonzero()[0]
            found, scores = found.take(running), scores.take(running)
        top = np.lexsort((found, -scores))[:k]
        return [*map(LexicalHit._make, zip(self._ids(found[top]).tolist(), scores[top].tolist(), strict=True))]

    def _look_up(self, keys: Sequence[int]) -> list[_Word]:
        """The words that any passage has, rarest first."""
        known = self._known
        new = [key for key in keys if key not in known]
        if new:
            if len(known) + len(new) > _KNOWN:  # other threads go on with the old one
                self._known = known = {key: known[key] for key in keys if key in known}
            known.update(zip(new, self._find(new), strict=True))
        return sorted([word for key in keys if (word := known[key]).count], key=_COUNT)

    def _find(self, keys: Sequence[int]) -> list[_Word]:
        """Words as the postings have them."""
        slices: list[list[_Slice]] = [[] for _ in keys]
        tops = [0] * len(keys)
        for part in self._parts:
            at = part.postings.index_of(np.array(keys, np.uint64))
            has = np.flatnonzero(at >= 0)
            at = at.take(has)
            starts = part.postings.starts
            its = map(slice, starts.take(at).tolist(), starts.take(at + 1).tolist())
            for number, one, top in zip(has.tolist(), its, part.tops.take(at).tolist(), strict=True):
                slices[number].append(_Slice(part, one))
                tops[number] = max(tops[number], top)
        words = []
        for those, top in zip(slices, tops, strict=True):
            count = sum(one.its.stop - one.its.start for one in those)
            weight = max(_LEAST, log((self._count - count + 0.5) / (count + 0.5)))  # inverse frequency
            words.append(_Word(weight * (K1 + 1), top, count, those))
        return words

    def _reach(
        self, bounds: _Bounds, words: Sequence[_Word], k: int, among: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Adds words up to where it is less to look up each passage.

        -> places of the passages in the running, ascending, and their sums.
        """
        try:
            sums = self._spare.pop()  # new memory costs a fault a page
        except IndexError:
            sums = np.zeros(self._count, np.uint16)  # 0: not reached
        reached = self._choose(bounds, words, sums, alone=among is None)
        following = words[bounds.added : bounds.added + 1] if bounds.left < bounds.least else ()
        if following and following[0].count <= _WALKED_FIRST * sum(map(len, reached)):
            self._add_to_reached(following[0], bounds, sums)
        found = self._running(bounds, sums, reached, among)
        if len(found) < k and bounds.added < len(words):  # rare words alone bring too few
            for word in words[bounds.added :]:
                self._add(word, bounds, sums, reached)
            found = self._running(bounds, sums, reached, among)
        while True:
            mine = sums.take(found)
            bounds.learn(mine)
            running = (mine >= bounds.floor).nonzero()[0]
            found, mine = found.take(running), mine.take(running)
            if bounds.added == len(words) or words[bounds.added].count > _WALKED * len(found):
                break
            self._add_to_reached(words[bounds.added], bounds, sums)
        if sum(map(len, reached)) > len(sums) // _CLEARED:
            sums.fill(0)
        else:
            for places in reached:
                sums[places] = 0
        if len(self._spare) < _SPARE:
            self._spare.append(sums)
        return found, mine

    def _choose(
        self, bounds: _Bounds, words: Sequence[_Word], sums: NDArray[np.uint16], *, alone: bool
    ) -> list[NDArray[np.intp]]:
        """Adds words to the sums until the others can bring no passage in; -> places written, some more than once.

        Not `alone`: only some passages count, so nothing is known of what the k best of those reach.
        """
        reached: list[NDArray[np.intp]] = []
        looked_at = 0
        for word in words:
            if reached and (bounds.left < bounds.least or looked_at + word.count > _CHOOSING):
                break
            for summed in self._add(word, bounds, sums, reached):
                if alone:
                    bounds.learn(summed)
            looked_at += word.count
        return reached

    def _add(
        self, word: _Word, bounds: _Bounds, sums: NDArray[np.uint16], reached: list[NDArray[np.intp]]
    ) -> list[NDArray[np.uint16]]:
        """Adds a word to the sums of all passages that have it; -> these sums."""
        table = bounds.add()
        every = []
        for one in word.slices:
            places = one.places
            summed = table.take(one.levels, mode="clip")
            summed += sums.take(places, mode="clip")
            sums[places] = summed
            reached.append(places)
            every.append(summed)
        return every

    def _add_to_reached(self, word: _Word, bounds: _Bounds, sums: NDArray[np.uint16]) -> None:
        """Adds a word to the sums of those passages only that are in the running."""
        floor = max(1, bounds.floor)
        table = bounds.add()
        for one in word.slices:
            places = one.places
            before = sums.take(places, mode="clip")
            at = (before >= floor).nonzero()[0]  # of booleans it is ten times as fast
            sums[places.take(at)] = before.take(at) + table.take(one.levels.take(at))

    def _running(
        self,
        bounds: _Bounds,
        sums: NDArray[np.uint16],
        reached: Sequence[NDArray[np.intp]],
        among: NDArray[np.int64] | None,
    ) -> NDArray[np.int32]:
        """Places that were reached and are in the running, ascending; with `among` only of those."""
        floor = bounds.floor
        found = [places.take((sums.take(places, mode="clip") >= floor).nonzero()[0]) for places in reached]
        every = np.sort(np.concatenate(found).astype(np.int32))
        every = np.append(every[:-1].compress(every[1:] != every[:-1]), every[-1:])
        return every if among is None else every[np.isin(self._ids(every), among, assume_unique=True)]

    def _look_in(
        self, word: _Word, found: NDArray[np.int32], sums: NDArray[np.uint16], table: NDArray[np.uint16]
    ) -> None:
        """Adds a word to the sums of the passages found, which ascend."""
        for one in word.slices:
            begin, end = self._of_part(one.part, found)
            if end > begin:
                mine = found[begin:end] - np.int32(one.part.first)
                places = one.part.postings.places[one.its]
                at = places.searchsorted(mine)
                has = places.take(at, mode="clip") == mine
                sums[begin:end] += table.take(one.levels.take(at, mode="clip")) * has

    def _weigh(self, words: Sequence[_Word], found: NDArray[np.int32]) -> NDArray[np.float32]:
        """The scores of the passages found, which ascend."""
        scores = np.zeros(len(found), np.float32)
        for part in self._parts:
            its = [(word, one.its) for word in words for one in word.slices if one.part is part]
            begin, end = self._of_part(part, found)
            for start in range(begin, end if its else begin, _BLOCK):
                these = slice(start, min(end, start + _BLOCK))
                for shares in _scores(part.postings, its, found[these] - np.int32(part.first), self._steep):
                    scores[these] += shares
        return scores

    def _of_part(self, part: _Part, found: NDArray[np.int32]) -> tuple[int, int]:
        """Where those of a part begin and end in places that ascend."""
        if len(self._parts) == 1:
            return 0, len(found)
        begin, end = np.searchsorted(found, (part.first, part.first + len(part.postings.ids))).tolist()
        return begin, end

    def _ids(self, found: NDArray[np.int32]) -> NDArray[np.int64]:
        """The ids of passages by their places."""
        if len(self._parts) == 1:
            return self._parts[0].postings.ids.take(found)
        ids = np.empty(len(found), np.int64)
        for part, last in zip(self._parts, self._ends.tolist(), strict=True):
            mine = (found >= part.first) & (found < last)
            ids[mine] = part.postings.ids[found[mine] - part.first]
        return ids

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """The places of those of the ids, which ascend, that are there."""
        found = []
        for part in self._parts:
            at = np.searchsorted(part.postings.ids, ids)
            found.append(part.first + at.compress(part.postings.ids.take(at, mode="clip") == ids))
        return np.concatenate(found).astype(np.int32)


def _scores(
    postings: Postings, words: Sequence[tuple[_Word, slice]], places: NDArray[np.int32], steep: float
) -> Iterator[NDArray[np.float32]]:
    """What each word adds to each of some passages."""
    at = np.array([postings.places[its].searchsorted(places) for _, its in words])
    at += np.array([[its.start] for _, its in words])
    np.minimum(at, np.array([[its.stop - 1] for _, its in words]), out=at)
    often = postings.counts.take(at).astype(np.float32)
    often *= postings.places.take(at) == places
    below = often + norms(postings.lengths.take(places), steep)
    often *= np.array([[word.weight] for word, _ in words], np.float32)
    often /= below
    yield from often
