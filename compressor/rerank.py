"""Owns the second look at the best passages: how much of the query one sentence of them holds, and how close together.

Full text and vectors see a passage as a bag of words and as a mean of its meanings; what stands in one sentence is
seen here only.
"""

from collections import defaultdict
from collections.abc import Sequence, Set
from itertools import chain, compress, count, pairwise
from typing import NamedTuple

from compressor.references import without_parts
from compressor.sentences import split_sentences
from compressor.words import END, word_weights, words, words_apart

PASSAGES = 10  # the best ones are read; the right one is among them for 99 of 100 questions
# What a whole match adds to a fused score of 0..1, rounded from `python -m bench.fit_ranking`.
SENTENCE = 0.4  # all the query's words in one sentence, the rare ones counting more
NEAR = 0.25  # its neighbouring words next to each other
_CLOSE = 4  # words apart at most, empty words not counted, for half of that


def rerank(query: str, passages: Sequence[tuple[str, float]]) -> list[float]:
    """Passages as text and fused score -> their new scores, in the order given; 0..1 as the fused ones are."""
    matches = match_words(query, [text for text, _ in passages])
    return [
        unread(score) + (SENTENCE * sentence + NEAR * near) / (1 + SENTENCE + NEAR)
        for (_, score), (sentence, near) in zip(passages, matches, strict=True)
    ]


def unread(score: float) -> float:
    """The new score of a passage that was not read: as if it held none of the words."""
    return score / (1 + SENTENCE + NEAR)


def match_words(query: str, texts: Sequence[str]) -> list[tuple[float, float]]:
    """For each text the shares of the query's words in its best sentence, and of its neighbours close together."""
    asked = words(without_parts(query, texts))
    found = _find({*asked, END}, texts)
    weights = word_weights(list(dict.fromkeys(asked)), [its.places.keys() for its in found])
    # pairs of neighbours in the query, as heavy as the lighter word
    pairs = {pair: min(weights[word] for word in pair) for pair in pairwise(asked) if pair[0] != pair[1]}
    whole = sum(pairs.values())
    return [(_best_sentence(weights, its), _nearness(pairs, its) / whole if whole else 0.0) for its in found]


class _Found(NamedTuple):
    """Which of a query's words a text has, and where."""

    places: defaultdict[str, int]  # a bit for each, counted in words from its start
    sentences: list[list[str]]  # of each that has one, each word once


def _find(marked: Set[str], texts: Sequence[str]) -> list[_Found]:
    """Where each text has the words asked for; they are marked, and so are the ends of sentences."""
    cut = [[text[start:end] for start, end in split_sentences(text)] for text in texts]
    every = words_apart([*chain.from_iterable(cut)])
    places = compress(count(), map(marked.__contains__, every))
    found, place, before = [], -1, 0
    for sentences in cut:
        its = _Found(defaultdict(int), [])
        here: dict[str, None] = {}
        for _ in sentences:
            for place in places:
                word = every[place]
                if word == END:
                    break
                its.places[word] |= 1 << place - before
                here[word] = None
            if here:
                its.sentences.append(list(here))
                here = {}
            before += 1  # the end of a sentence is no word
        before = place + 1
        found.append(its)
    return found


def _best_sentence(weights: dict[str, float], found: _Found) -> float:
    return max([sum(map(weights.__getitem__, its)) for its in found.sentences], default=0.0)


def _nearness(pairs: dict[tuple[str, str], float], found: _Found) -> float:
    """The weight of the pairs that stand close together."""
    near, places = 0.0, found.places
    for (first, second), weight in pairs.items():
        if first in places and second in places:
            near += weight * _closeness(places[first], places[second])
    return near


def _closeness(here: int, there: int) -> float:
    """1 where two places, a bit for each, are neighbours, half where they are close."""
    for apart in range(1, _CLOSE + 1):
        if here << apart & there or there << apart & here:
            return 1.0 if apart == 1 else 0.5
    return 0.0
