"""Refits everything that ranks and abstains, each time on half of the articles, and prints what both halves reach.

    python -m bench.fit_ranking --questions FILE... [--distractors FILE...] [--paragraphs 2000]

Every second article is left out of the collection, so that half of the questions have no answer there. Weights are a
softmax regression: among the passages found for a question its own wins, among the sentences those with the answer.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from api.answer import POOL, PassageTexts, find_passages, home_of, load_chunks
from bench.questions import COLLECTION, Question, ingested, load_questions
from bench.report import OUT, show, write
from bench.search import contains
from compressor.decoders.base import Evidence, ScoredPassage
from compressor.decoders.extractive import MIDDLE, SLOPE, THRESHOLD, read_candidates
from compressor.decoders.rank import FEATURES, WEIGHTS, features
from compressor.fuse import MEANING, line_up
from compressor.rerank import NEAR, PASSAGES, SENTENCE, match_words
from store import catalog, lexical
from store.database import reading
from workers.resources import Resources

SHRINK = 1e-4  # of squared weights; ten times as much costs a point
PASSAGE_FEATURES = ("cosine", "bm25", "in_one_sentence", "near")
SCORE = FEATURES.index("passage_score")


@dataclass(frozen=True, slots=True)
class Example:
    """A question's passages and their sentences as features, and which of them are right."""

    question: Question
    worded: bool  # whether BM25 alone puts the right passage first
    passages: NDArray[np.float32]  # (passages, PASSAGE_FEATURES), best first as they are fused
    home: NDArray[np.bool_]  # (passages,) of the question's paragraph
    rows: NDArray[np.float32]  # (sentences, FEATURES)
    place: NDArray[np.intp]  # (sentences,) index of its passage
    right: NDArray[np.bool_]  # (sentences,) holds the answer

    def scored(self, ranking: "Ranking") -> NDArray[np.float32]:
        """(sentences, FEATURES) with passages scored by a ranking."""
        rows = self.rows.copy()
        rows[:, SCORE] = (self.passages @ ranking.passages)[self.place]
        return rows


@dataclass(frozen=True, slots=True)
class Ranking:
    """All that is fitted."""

    passages: NDArray[np.float32]  # (PASSAGE_FEATURES,), they add up to 1
    sentences: NDArray[np.float32]  # (FEATURES,)
    slope: float
    middle: float


def committed() -> Ranking:
    """What the program uses, for languages that the embedder reads."""
    passages = np.array([MEANING, 1 - MEANING, SENTENCE, NEAR], np.float32) / (1 + SENTENCE + NEAR)
    return Ranking(passages, np.array(list(WEIGHTS.values()), np.float32), SLOPE, MIDDLE)


def example(resources: Resources, question: Question) -> Example | None:
    """What search and the decoder would rank for a question; None where nothing is found."""
    home = home_of(resources, COLLECTION)
    query = question.text
    with reading(resources.engine) as session:
        near = resources.index(home.id).search(resources.embedder.embed([query])[0], POOL)
        worded = [(hit.vector_id, hit.score) for hit in lexical.search(session, home.id, query, POOL)]
        first = catalog.passages_by_vector_ids(session, home.id, [vector_id for vector_id, _ in worded[:1]])
        found = [passage for passage, _ in find_passages(resources, session, home.id, query, POOL)][:PASSAGES]
    if not found:
        return None
    pairs = line_up([(hit.passage.vector_id, hit.score) for hit in near], worded)
    _, caches = load_chunks(resources, home.id, list(dict.fromkeys(passage.chunk_id for passage in found)))
    texts = PassageTexts(resources, caches)
    texts.read_ahead([(p.chunk_id, ScoredPassage(p.start, p.end, 0)) for p in found])
    read = [texts.read(p.chunk_id, p.start, p.end) for p in found]
    evidence = [
        Evidence("", p.title, p.chunk_id, "", (), (ScoredPassage(0, len(text), -place),), _reader(text))
        for place, (p, text) in enumerate(zip(found, read, strict=True))
    ]
    candidates = read_candidates(evidence)
    sentences = [candidate.sentence for candidate in candidates]
    vectors = resources.embedder.embed([query, *(sentence.text for sentence in sentences)])
    right = [c.evidence.title == question.paragraph and contains(c.sentence.text, question) for c in candidates]
    matches = match_words(query, read)
    return Example(
        question=question,
        worded=any(passage.title == question.paragraph for passage in first),
        passages=np.array([(*pairs[p.vector_id], *its) for p, its in zip(found, matches, strict=True)], np.float32),
        home=np.array([passage.title == question.paragraph for passage in found], bool),
        rows=features(query, sentences, vectors, read=resources.embedder.reads(query)),
        place=np.array([sentence.passage for sentence in sentences], np.intp),
        right=np.array(right, bool),
    )


def _reader(text: str) -> Callable[[int, int], str]:
    return lambda start, end: text[start:end]


def fit_weights(rows: Sequence[NDArray[np.float32]], right: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
    """(features,) that make the right rows likely among their question's."""
    usable = [place for place, its in enumerate(right) if its.any()]
    examples = [(torch.from_numpy(rows[place]), torch.from_numpy(right[place])) for place in usable]
    weights = torch.zeros(rows[0].shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        losses = []
        for its, good in examples:
            scores = its @ weights
            losses.append(scores.logsumexp(0) - scores[good].logsumexp(0))
        value = torch.stack(losses).mean() + SHRINK * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach().numpy()


def fit_confidence(known: NDArray[np.float32], unknown: NDArray[np.float32]) -> tuple[float, float]:
    """Slope and middle of the logistic curve that tells best scores with an answer from those without."""
    scores = torch.from_numpy(np.concatenate([known, unknown]))
    labels = torch.cat([torch.ones(len(known)), torch.zeros(len(unknown))])
    line = torch.tensor([1.0, float(scores.mean())], requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(line[0] * (scores - line[1]), labels)
        value.backward()
        return value

    optimiser.step(loss)
    slope, middle = line.detach().tolist()
    return slope, middle


def fit(examples: Sequence[Example]) -> Ranking:
    """Everything, on these questions only."""
    known = [each for each in examples if each.question.known]
    weights = fit_weights([each.passages for each in known], [each.home for each in known])
    passages = weights / weights.sum()
    half_done = Ranking(passages, np.zeros(len(FEATURES), np.float32), 1, 0)
    sentences = fit_weights([each.scored(half_done) for each in known], [each.right for each in known])
    scores = best_scores(examples, Ranking(passages, sentences, 1, 0))
    has_answer = np.array([each.question.known for each in examples], bool)
    slope, middle = fit_confidence(scores[has_answer], scores[~has_answer])
    return Ranking(passages, sentences, slope, middle)


def best_scores(examples: Sequence[Example], ranking: Ranking) -> NDArray[np.float32]:
    """(questions,) the best sentence's score of each."""
    return np.array([(each.scored(ranking) @ ranking.sentences).max() for each in examples], np.float32)


def figures(examples: Sequence[Example], ranking: Ranking) -> dict[str, float]:
    """What a ranking reaches; the first sentence before and after abstaining."""
    known = [each for each in examples if each.question.known]
    unknown = [each for each in examples if not each.question.known]
    least = ranking.middle + math.log(THRESHOLD / (1 - THRESHOLD)) / ranking.slope
    answered = best_scores(known, ranking) >= least
    first = np.array([each.right[(each.scored(ranking) @ ranking.sentences).argmax()] for each in known], bool)
    return {
        "BM25@1": float(np.mean([each.worded for each in known])),
        "recall@1": float(np.mean([each.home[(each.passages @ ranking.passages).argmax()] for each in known])),
        "first_right": float(first.mean()),
        "first_right_and_answered": float((first & answered).mean()),
        "answerable_abstained": float(1 - answered.mean()),
        "unanswerable_abstained": float(np.mean(best_scores(unknown, ranking) < least)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="files in SQuAD's JSON format")
    parser.add_argument("--distractors", type=Path, nargs="*", default=[], help="text that fills the collection up")
    parser.add_argument("--paragraphs", type=int, default=2000)
    parser.add_argument("--codec", default="native-20")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    chosen = load_questions(arguments.questions, arguments.distractors, paragraphs=arguments.paragraphs, absent=2)
    with ingested(chosen.paragraphs, codec=arguments.codec) as resources:
        examples = [each for each in (example(resources, question) for question in chosen.questions) if each]
    halves = [[each for each in examples if each.question.article // 2 % 2 == half] for half in (0, 1)]
    fitted = [fit(half) for half in halves]
    together = fit(examples)
    rows: list[dict[str, object]] = [
        {"weights": "committed", "measured on": "all", **figures(examples, committed())},
        {"weights": "fitted on all", "measured on": "all", **figures(examples, together)},
    ]
    for number, ranking in enumerate(fitted):
        for half in (number, 1 - number):
            name, seen = f"fitted on half {number + 1}", "the same half" if half == number else "the other half"
            rows.append({"weights": name, "measured on": seen, **figures(halves[half], ranking)})
    show(f"{len(examples)} questions on {len(chosen.paragraphs)} paragraphs; halves are of articles", rows)
    names = [*PASSAGE_FEATURES, *FEATURES, "slope", "middle"]
    columns = {"committed": committed(), "all": together, "half 1": fitted[0], "half 2": fitted[1]}
    values = {name: [*r.passages, *r.sentences, r.slope, r.middle] for name, r in columns.items()}
    show("Weights", [{"of": name, **{k: float(v[i]) for k, v in values.items()}} for i, name in enumerate(names)])
    print(
        write(
            "fit_ranking",
            {"figures": rows, "weights": {k: [float(x) for x in v] for k, v in values.items()}},
            arguments.out,
        )
    )


if __name__ == "__main__":
    main()
