"""Owns the `extractive` decoder: answers with sentences quoted out of the caches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.decoders.base import Answer, Evidence, cite
from compressor.decoders.rank import Sentence, features, weigh
from compressor.embed import Embedder
from compressor.references import without_parts
from compressor.sentences import split_sentences

PASSAGES = 10  # the best ones are read; more of them answer hardly anything more
QUOTES = 3  # at most
CLOSE = 1.5  # a further quote may score so much less than the best one
ABSTAINED = "Nothing in these documents answers this."

# Confidence is a logistic regression of the best sentence's score on "its question has an answer here"; below the
# threshold the decoder abstains. `python -m bench.fit_ranking` refits both and prints what other thresholds cost.
SLOPE, MIDDLE = 0.9, 13.7
THRESHOLD = 0.3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence, row or line, and where it stands in its chunk."""

    evidence: Evidence
    start: int
    end: int
    sentence: Sentence


class ExtractiveDecoder:
    """Reads the best passages out of the caches and quotes what answers, or abstains."""

    name = "extractive"
    passages = PASSAGES

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def answer(self, question: str, evidence: Sequence[Evidence]) -> Answer:
        """One to three verbatim quotes, best first; the text is the quotes, one a line."""
        candidates = read_candidates(evidence)
        if not candidates or not question.strip():
            return Answer(ABSTAINED, True, (), 0.0)
        sentences = [candidate.sentence for candidate in candidates]
        question = without_parts(question, [sentence.text for sentence in sentences])
        vectors = self._embedder.embed([question, *(sentence.text for sentence in sentences)])
        scores = weigh(features(question, sentences, vectors, read=self._embedder.reads(question)))
        order = np.argsort(-scores, kind="stable")
        best = float(scores[order[0]])
        confidence = 1 / (1 + math.exp(-SLOPE * (best - MIDDLE)))
        if confidence < THRESHOLD:
            return Answer(ABSTAINED, True, (), confidence)
        citations = []
        for i in order[:QUOTES]:
            if scores[i] > best - CLOSE:
                chosen = candidates[i]
                text = chosen.sentence.text
                citations.append(cite(chosen.evidence, chosen.start, chosen.end, quote=text, score=float(scores[i])))
        return Answer("\n".join(citation.quote for citation in citations), False, tuple(citations), confidence)


def read_candidates(evidence: Sequence[Evidence]) -> list[Candidate]:
    """The sentences of the best passages; those of one passage together. A repeated sentence is taken once."""
    found = [(passage, chunk) for chunk in evidence for passage in chunk.passages]
    best = sorted(found, key=lambda pair: -pair[0].score)[:PASSAGES]
    candidates: dict[str, Candidate] = {}
    for index, (passage, chunk) in enumerate(best):
        text = chunk.read(passage.start, passage.end)
        context = f"{chunk.title} {chunk.heading}"
        for start, end in split_sentences(text):
            stripped = text[start:end].strip()
            if stripped and stripped not in candidates:
                offset = passage.start + start + text[start:end].index(stripped)
                sentence = Sentence(stripped, index, passage.score, context)
                candidates[stripped] = Candidate(chunk, offset, offset + len(stripped), sentence)
    return list(candidates.values())
