"""Refits the extractive decoder's weights and threshold, and prints them with what they reach on held-out articles.

    python -m bench.fit_ranking --questions FILE... [--distractors FILE...] [--paragraphs 2000]

Every second article is left out of the collection, so that half of the questions have no answer there. The weights are
a softmax regression: among the sentences found for a question, those of its paragraph with the answer in them win.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from api.answer import find_chunks, gather, home_of, load_chunks
from bench.questions import COLLECTION, Question, ingested, load_questions
from bench.report import show
from bench.search import contains
from compressor.decoders.extractive import PASSAGES, read_candidates
from compressor.decoders.rank import FEATURES, features, weigh
from store.database import reading
from workers.resources import Resources

SHRINK = 1e-4  # of squared weights; ten times as much costs a point
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True, slots=True)
class Example:
    """A question's sentences as features, and which of them answer it."""

    question: Question
    rows: NDArray[np.float32]  # (sentences, FEATURES)
    right: NDArray[np.bool_]  # (sentences,)


def example(resources: Resources, question: Question) -> Example:
    """What the decoder would rank for a question."""
    home = home_of(resources, resources.settings.tenant, COLLECTION)
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, home.id, question.text, k=8)
    _, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    candidates = read_candidates(gather(resources, found, caches, ahead=PASSAGES))
    sentences = [candidate.sentence for candidate in candidates]
    vectors = resources.embedder.embed([question.text, *(sentence.text for sentence in sentences)])
    right = [c.evidence.title == question.paragraph and contains(c.sentence.text, question) for c in candidates]
    rows = features(question.text, sentences, vectors, read=resources.embedder.reads(question.text))
    return Example(question, rows, np.array(right, bool))


def fit_weights(examples: Sequence[Example]) -> NDArray[np.float32]:
    """(FEATURES,) that make the right sentences likely among their question's."""
    usable = [each for each in examples if each.right.any()]
    rows = [torch.from_numpy(each.rows) for each in usable]
    right = [torch.from_numpy(each.right) for each in usable]
    weights = torch.zeros(len(FEATURES), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        losses = []
        for its, good in zip(rows, right, strict=True):
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


def first_is_right(examples: Sequence[Example], weights: NDArray[np.float32] | None = None) -> float:
    """Share of questions whose best sentence answers; the committed weights unless others are given."""
    scores = [weigh(each.rows) if weights is None else each.rows @ weights for each in examples]
    return float(np.mean([each.right[its.argmax()] for each, its in zip(examples, scores, strict=True)]))


def best_scores(examples: Sequence[Example], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(questions,) the best sentence's score of each."""
    return np.array([(each.rows @ weights).max() for each in examples], np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="files in SQuAD's JSON format")
    parser.add_argument("--distractors", type=Path, nargs="*", default=[], help="text that fills the collection up")
    parser.add_argument("--paragraphs", type=int, default=2000)
    parser.add_argument("--codec", default="native-20")
    arguments = parser.parse_args()
    chosen = load_questions(arguments.questions, arguments.distractors, paragraphs=arguments.paragraphs, absent=2)
    with ingested(chosen.paragraphs, codec=arguments.codec) as resources:
        examples = [each for each in (example(resources, q) for q in chosen.questions) if len(each.rows)]
    known = [each for each in examples if each.question.known]
    unknown = [each for each in examples if not each.question.known]
    halves = [[each for each in known if each.question.article // 2 % 2 == half] for half in (0, 1)]
    held_out = [first_is_right(halves[1 - half], fit_weights(halves[half])) for half in (0, 1)]
    weights = fit_weights(known)
    scores, other = best_scores(known, weights), best_scores(unknown, weights)
    slope, middle = fit_confidence(scores, other)
    show(
        f"first sentence right: {first_is_right(known):.3f} with the committed weights, {np.mean(held_out):.3f} "
        "refitted and held out",
        [{"feature": name, "weight": float(w)} for name, w in zip(FEATURES, weights, strict=True)],
    )
    rows = []
    for threshold in THRESHOLDS:
        least = middle + np.log(threshold / (1 - threshold)) / slope
        answered, wrongly = float(np.mean(scores >= least)), float(np.mean(other >= least))
        rows.append({"threshold": threshold, "answerable_answered": answered, "unanswerable_answered": wrongly})
    show(f"confidence: slope {slope:.2f}, middle {middle:.2f}", rows)


if __name__ == "__main__":
    main()
