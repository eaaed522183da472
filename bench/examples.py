"""Owns what a ranking is fitted to: the passages and sentences found for a question, as features, and which are right.

In memory, with the program's own chunks, vectors, full text and features. Caches read back exactly, so none is made.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from api.find import POOL
from bench.questions import COLLECTION, Question, QuestionSet
from bench.search import contains
from compressor.chunk import chunk_blocks
from compressor.decoders.base import Evidence, ScoredPassage
from compressor.decoders.extractive import Candidate, read_candidates
from compressor.decoders.rank import features
from compressor.embed import Embedder
from compressor.fuse import fuse, line_up
from compressor.rerank import PASSAGES, match_words
from compressor.types import Block, BlockKind, Box
from store import lexical
from store.database import reading, transaction
from workers.resources import Resources
from workers.settings import load_settings

PASSAGE_FEATURES = ("cosine", "bm25", "in one sentence", "near")


@dataclass(frozen=True, slots=True)
class Example:
    """A question's passages and their sentences as features, and which of them are right."""

    article: int
    known: bool  # whether the collection holds its article
    read: bool  # whether the embedder reads the question's language
    bm25_right: bool  # BM25 alone puts the right passage first
    fused_right: bool  # words and meaning do, before the passages' texts are looked at
    passages: NDArray[np.float32]  # (passages, PASSAGE_FEATURES)
    home: NDArray[np.bool_]  # (passages,) of the question's paragraph
    rows: NDArray[np.float32]  # (sentences, FEATURES); the passage's score is not filled in
    place: NDArray[np.intp]  # (sentences,) index of its passage
    right: NDArray[np.bool_]  # (sentences,) holds the answer


@dataclass(frozen=True, slots=True)
class _Found:
    """A question's best passages, and its sentences in them."""

    question: Question
    known: bool
    worded: list[tuple[int, float]]
    best: list[int]
    pairs: dict[int, tuple[float, float]]
    candidates: list[Candidate]


def make_examples(chosen: QuestionSet) -> list[Example]:
    """Every question twice: asked of the whole collection, and of the collection without the question's article."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Resources(load_settings({"home": str(Path(folder) / "home")})) as resources,
    ):
        embedder = resources.embedder
        titles, texts = _passages(chosen, embedder)
        with transaction(resources.engine) as session:
            lexical.index(session, COLLECTION, dict(enumerate(texts)))
        vectors = _embed(embedder, texts).astype(np.float16).astype(np.float32)  # as they are stored
        questions = [question.text for question in chosen.questions]
        asked = embedder.embed_queries(questions)  # as passages are looked for; beside sentences they stand as texts do
        articles = {question.paragraph: question.article for question in chosen.questions}
        article_of = [articles.get(title, -1) for title in titles]
        found = []
        with reading(resources.engine) as session:
            for question, vector in zip(chosen.questions, asked, strict=True):
                worded = [(h.vector_id, h.score) for h in lexical.search(session, COLLECTION, question.text, 2 * POOL)]
                cosines = vectors @ vector
                near = [(int(i), float(cosines[i])) for i in np.argsort(-cosines, kind="stable")[: 2 * POOL]]
                for known in (True, False):
                    left_out = None if known else question.article
                    ours = [
                        [(i, score) for i, score in hits if article_of[i] != left_out][:POOL] for hits in (near, worded)
                    ]
                    found.append(_look(question, known, *ours, titles=titles, texts=texts, embedder=embedder))
        sentences = list(dict.fromkeys(c.sentence.text for each in found for c in each.candidates))
        known_vectors = dict(zip(sentences, _embed(embedder, sentences), strict=True))
        known_vectors |= dict(zip(questions, _embed(embedder, questions), strict=True))
        return [
            _example(each, titles, texts, known_vectors, read=embedder.reads(each.question.text))
            for each in found
            if each.candidates
        ]


def _passages(chosen: QuestionSet, embedder: Embedder) -> tuple[list[str], list[str]]:
    """Titles and texts of the collection's passages."""
    titles, texts = [], []
    for title, text in chosen.paragraphs.items():
        block = Block(BlockKind.TEXT, text, 1, Box(0, 0, 1, 1))
        for chunk in chunk_blocks([block], count_tokens=embedder.count_tokens):
            titles += [title] * len(chunk.passages)
            texts += [chunk.text[passage.start : passage.end] for passage in chunk.passages]
    return titles, texts


def _embed(embedder: Embedder, texts: Sequence[str], *, batch: int = 64) -> NDArray[np.float32]:
    """(texts, d), texts of a length together: those are padded least."""
    vectors = np.zeros((len(texts), embedder.dimensions), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in range(0, len(order), batch):
        places = order[first : first + batch]
        vectors[places] = embedder.embed([texts[i] for i in places])
    return vectors


def _look(
    question: Question,
    known: bool,
    near: list[tuple[int, float]],
    worded: list[tuple[int, float]],
    *,
    titles: Sequence[str],
    texts: Sequence[str],
    embedder: Embedder,
) -> _Found:
    best = [i for i, _ in fuse(near, worded, pool=POOL, read=embedder.reads(question.text))][:PASSAGES]
    evidence = [
        Evidence("", titles[i], i, "", (), (ScoredPassage(0, len(texts[i]), -place),), _reader(texts[i]))
        for place, i in enumerate(best)
    ]
    return _Found(question, known, worded, best, line_up(near, worded, pool=POOL), read_candidates(evidence))


def _reader(text: str) -> Callable[[int, int], str]:
    return lambda start, end: text[start:end]


def _example(
    found: _Found, titles: Sequence[str], texts: Sequence[str], vectors: dict[str, NDArray[np.float32]], *, read: bool
) -> Example:
    question, sentences = found.question, [candidate.sentence for candidate in found.candidates]

    def at_home(passages: Iterable[int]) -> NDArray[np.bool_]:
        return np.array([titles[i] == question.paragraph for i in passages], bool)

    matches = match_words(question.text, [texts[i] for i in found.best])
    stacked = np.stack([vectors[question.text], *(vectors[sentence.text] for sentence in sentences)])
    right = [c.evidence.title == question.paragraph and contains(c.sentence.text, question) for c in found.candidates]
    return Example(
        article=question.article,
        known=found.known,
        read=read,
        bm25_right=bool(at_home(i for i, _ in found.worded[:1]).any()),
        fused_right=bool(at_home(found.best[:1]).any()),
        passages=np.array([(*found.pairs[i], *its) for i, its in zip(found.best, matches, strict=True)], np.float32),
        home=at_home(found.best),
        rows=features(question.text, sentences, stacked, read=read),
        place=np.array([sentence.passage for sentence in sentences], np.intp),
        right=np.array(right, bool),
    )
