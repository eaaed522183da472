"""Owns the second look at the best passages: how much of the query one sentence of them holds, and how close together.

Full text and vectors see a passage as a bag of words and as a mean of its meanings; what stands in one sentence is
seen here only.
"""

from collections.abc import Sequence
from itertools import chain, pairwise

from compressor.sentences import split_sentences
from compressor.words import word_weights, words

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
    asked = words(query)
    sentences = [[words(text[start:end]) for start, end in split_sentences(text)] for text in texts]
    found = [list(chain.from_iterable(its)) for its in sentences]  # no word goes on in the next sentence
    weights = word_weights(list(dict.fromkeys(asked)), [set(its) for its in found])
    return [
        (_best_sentence(weights, apart), _nearness(weights, asked, its))
        for apart, its in zip(sentences, found, strict=True)
    ]


def _best_sentence(weights: dict[str, float], sentences: Sequence[Sequence[str]]) -> float:
    return max((sum(weights[word] for word in weights.keys() & set(its)) for its in sentences), default=0.0)


def _nearness(weights: dict[str, float], asked: Sequence[str], found: Sequence[str]) -> float:
    """Share of the query's pairs of neighbours that stand close together, by the lighter word's weight."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(found):
        if word in weights:
            places.setdefault(word, []).append(place)
    total = near = 0.0
    for first, second in dict.fromkeys(pairwise(asked)):
        if first != second:
            weight = min(weights[first], weights[second])
            total += weight
            apart = min((abs(a - b) for a in places.get(first, ()) for b in places.get(second, ())), default=_CLOSE + 1)
            near += weight * (1 if apart == 1 else 0.5 if apart <= _CLOSE else 0)
    return near / total if total else 0.0
