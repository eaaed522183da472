"""Owns the ranking of sentences by how well they answer a question: meaning and words together.

The weights are a softmax regression over the sentences found for a question; `python -m bench.fit_ranking` refits them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.words import fold, has_digit, word_weights, words

WEIGHTS: dict[str, float] = {
    "sentence_cosine": 5.0,  # question and sentence mean the same
    "passage_score": 6.9,  # what search thought of its passage
    "passage_cosine": 4.6,  # question and the passage's mean sentence
    "coverage": 5.9,  # share of the question's words that the sentence has, the rare ones counting more
    "passage_coverage": 2.4,  # the same for its passage, title and headings included
    "before_coverage": 2.1,  # question words that only the sentence before it has: "He did so in 1884."
    "missing_numbers": -0.3,  # ids and numbers of the question that neither has
    "answer_kind": 2.0,  # it holds a number, date or name where one is asked for
    "is_question": -0.8,
    "length": 0.7,  # a bare heading answers nothing
}
FEATURES = tuple(WEIGHTS)
# Stands for every cosine of a language the embedder does not know; by it nine of ten unanswerable questions in Chinese,
# Russian and Arabic (XQuAD) are abstained from, as in English, and one of six answerable ones.
UNREAD = 0.48

_MONTHS = "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"  # noqa: E501
_NUMBER = (
    r"\d+(?:[.,]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fifteen|sixteen|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|half|third|quarter|dozen|once|twice)\b|"
    r"[一二三四五六七八九十百千万亿两]"
)
_DATE = (
    rf"(?<!\d)\d{{3,4}}(?!\d)|\d\d?[./-]\d\d?[./-]\d+|\b(?:{_MONTHS})\b|\bcentur|\d+(?:st|nd|rd|th)\b|"
    r"[\d一二三四五六七八九十〇零][年月日]"
)
# days and years: read, so that they are not taken for quantities
_DAY = rf"\b\d\d?(?:st|nd|rd|th)? (?:{_MONTHS})\b|\b(?:{_MONTHS}) \d\d?\b|(?<![\d.,])(?:1[1-9]|20)\d\d(?![.,]?\d)"
_ID = r"\b(?=[\w/-]*\d)[\w/-]{3,}"
_NAME = r"(?<![.!?]\s)(?<!^)\b[A-ZÀ-ÞА-Я][\w'’.-]+"
# what a question asks with -> what an answer must hold
_KINDS = (
    (
        r"\bhow (?:many|much|long|far|old|tall|large|big|high|often|fast)\b|\bwhat (?:percent|number|amount|fraction)|"
        r"多少|几|сколько|\bكم\b|\bwie ?viele?\b|\bcombien\b|\bcuánt",
        re.compile(rf"(?P<day>{_DAY})|{_NUMBER}", re.IGNORECASE),
    ),
    (
        r"\b(?:what|which) (?:(?:is|was|are|were) )?(?:[\w-]+ ){0,4}?"
        r"(?:numbers?|serial|uuid|id|code|commit|hash|version)\b",
        re.compile(_ID),
    ),
    (
        r"\bwhen\b|\b(?:what|which) (?:\w+ )?(?:year|date|day|month|century|decade|time)\b|"
        r"什么时候|何时|哪一?年|哪一?天|когда|в каком году|متى|\bعام\b|\bwann\b|\bquand\b|\bcuándo\b",
        re.compile(_DATE, re.IGNORECASE),
    ),
    (
        r"\bwho(?:m|se)?\b|\bwhere\b|\b(?:what|which) (?:\w+ )?(?:city|country|state|place|river|region|town)\b|"
        r"\bname of\b|\bnamed?\b|\bcalled\b|\bкто\b|\bwer\b|\bqui\b|\bquién",
        re.compile(_NAME),
    ),
    (r"\b(?:what|which|why|how)\b", None),  # asks for something that has no form of its own
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A candidate for an answer: a sentence, a table's row, a line of code."""

    text: str
    passage: int  # index of its passage; sentences of one passage follow each other
    score: float  # its passage's, from search
    context: str = ""  # title and headings that it stands under


def features(
    question: str, sentences: Sequence[Sentence], vectors: NDArray[np.float32], *, read: bool = True
) -> NDArray[np.float32]:
    """(sentences, FEATURES) float32; `vectors` (1 + sentences, d) are of the question and then of each sentence.

    `read` is whether the embedder reads the question (`Embedder.reads`); else no cosine counts more than another.
    """
    asked = list(dict.fromkeys(words(question)))
    found = [set(words(sentence.text)) for sentence in sentences]
    weight = word_weights(asked, found)
    kind, folded = answer_kind(question), fold(question)
    passages: dict[int, set[str]] = {}
    for sentence, its in zip(sentences, found, strict=True):
        passages.setdefault(sentence.passage, set(words(sentence.context))).update(its)
    cosines, passage_cosines = _cosines(vectors, [sentence.passage for sentence in sentences])
    if not read:
        cosines, passage_cosines = np.full_like(cosines, UNREAD), np.full_like(passage_cosines, UNREAD)

    def coverage(some: set[str]) -> float:
        return sum(share for word, share in weight.items() if word in some)

    rows = []
    for i, (sentence, its) in enumerate(zip(sentences, found, strict=True)):
        before = found[i - 1] if i and sentences[i - 1].passage == sentence.passage else set()
        rows.append(
            (
                cosines[i],
                sentence.score,
                passage_cosines[sentence.passage],
                coverage(its),
                coverage(passages[sentence.passage]),
                coverage(before - its),
                sum(has_digit(word) and word not in its | before for word in asked),
                _holds(kind, sentence.text, folded),
                sentence.text.endswith(("?", "？", "؟")),
                math.log1p(len(its)) / 4,
            )
        )
    return np.array(rows, np.float32).reshape(len(sentences), len(FEATURES))


def weigh(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(sentences, FEATURES) -> (sentences,) scores, comparable between questions."""
    return rows @ np.array(list(WEIGHTS.values()), np.float32)


def answer_kind(question: str) -> re.Pattern[str] | None:
    """What an answer must hold, by the first question word: "What sea bordered it when he died" asks for no date."""
    asked = [(match.start(), order) for order, (ask, _) in enumerate(_KINDS) if (match := _search(ask, question))]
    return _KINDS[min(asked)[1]][1] if asked else None


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE)


def _holds(kind: re.Pattern[str] | None, text: str, question: str) -> float:
    """1 when the text holds what is asked for and the question does not; 0.5 when nothing of a known form is asked."""
    if kind is None:
        return 0.5
    return float(any(match.lastgroup != "day" and fold(match.group()) not in question for match in kind.finditer(text)))


def _cosines(vectors: NDArray[np.float32], passages: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the question to each sentence, and to each passage as the mean of its sentences."""
    question, rest = vectors[0], vectors[1:]
    means = np.zeros((max(passages, default=-1) + 1, len(question)), np.float32)
    np.add.at(means, np.array(passages, np.intp), rest)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    return rest @ question, means @ question
