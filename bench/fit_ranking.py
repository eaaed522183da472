"""Refits everything that ranks and abstains, each time on half of the articles, and prints what both halves reach.

    python -m bench.fit_ranking --questions FILE... [--distractors FILE...] [--paragraphs 2000]

Halves are of articles, so that no paragraph and no topic is on both sides. Every question is asked twice, the second
time of a collection without its article: then nothing should be answered. Weights are a softmax regression: among the
passages found for a question its own wins, among the sentences those with the answer. The committed weights are
rounded, and were chosen with all questions in sight: what the other half reaches says how much they owe to that.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.examples import PASSAGE_FEATURES, Example, make_examples
from bench.questions import load_questions
from bench.report import OUT, show, write
from compressor.decoders.extractive import MIDDLE, SLOPE, THRESHOLD
from compressor.decoders.rank import FEATURES, WEIGHTS
from compressor.fuse import MEANING, MEANING_UNREAD
from compressor.rerank import NEAR, SENTENCE

SHRINK = 1e-4  # of squared weights; ten times as much costs a point
SCORE = FEATURES.index("passage_score")


@dataclass(frozen=True, slots=True)
class Ranking:
    """All that is fitted."""

    passages: NDArray[np.float32]  # (PASSAGE_FEATURES,), they add up to 1
    sentences: NDArray[np.float32]  # (FEATURES,)
    slope: float
    middle: float


def committed(examples: Sequence[Example]) -> Ranking:
    """What the program uses for most of these questions: it depends on whether the embedder reads their language."""
    meaning = MEANING if np.mean([each.read for each in examples]) > 0.5 else MEANING_UNREAD
    passages = np.array([meaning, 1 - meaning, SENTENCE, NEAR], np.float32) / (1 + SENTENCE + NEAR)
    return Ranking(passages, np.array(list(WEIGHTS.values()), np.float32), SLOPE, MIDDLE)


def scored(example: Example, passages: NDArray[np.float32]) -> NDArray[np.float32]:
    """(sentences, FEATURES), their passages scored by weights."""
    rows = example.rows.copy()
    rows[:, SCORE] = (example.passages @ passages)[example.place]
    return rows


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
    known = [each for each in examples if each.known]
    weights = fit_weights([each.passages for each in known], [each.home for each in known])
    passages = weights / weights.sum()
    sentences = fit_weights([scored(each, passages) for each in known], [each.right for each in known])
    scores = best_scores(examples, Ranking(passages, sentences, 1, 0))
    has_answer = np.array([each.known for each in examples], bool)
    slope, middle = fit_confidence(scores[has_answer], scores[~has_answer])
    return Ranking(passages, sentences, slope, middle)


def best_scores(examples: Sequence[Example], ranking: Ranking) -> NDArray[np.float32]:
    """(questions,) the best sentence's score of each."""
    return np.array([(scored(each, ranking.passages) @ ranking.sentences).max() for each in examples], np.float32)


def figures(examples: Sequence[Example], ranking: Ranking) -> dict[str, float]:
    """What a ranking reaches; the first sentence before and after abstaining."""
    known = [each for each in examples if each.known]
    unknown = [each for each in examples if not each.known]
    least = ranking.middle + math.log(THRESHOLD / (1 - THRESHOLD)) / ranking.slope
    answered = best_scores(known, ranking) >= least
    first = np.array(
        [each.right[(scored(each, ranking.passages) @ ranking.sentences).argmax()] for each in known], bool
    )
    return {
        "BM25@1": float(np.mean([each.bm25_right for each in known])),
        "fused@1": float(np.mean([each.fused_right for each in known])),
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
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    chosen = load_questions(arguments.questions, arguments.distractors, paragraphs=arguments.paragraphs, absent=0)
    examples = make_examples(chosen)
    halves = [[each for each in examples if each.article % 2 == half] for half in (0, 1)]
    fitted = [fit(half) for half in halves]
    together = fit(examples)
    rows: list[dict[str, object]] = [
        {"weights": "committed", "measured on": "all", **figures(examples, committed(examples))},
        {"weights": "fitted on all", "measured on": "all", **figures(examples, together)},
    ]
    for number, ranking in enumerate(fitted):
        for half in (number, 1 - number):
            name, seen = f"fitted on half {number + 1}", "the same half" if half == number else "the other half"
            rows.append({"weights": name, "measured on": seen, **figures(halves[half], ranking)})
    others = [figures(halves[1 - number], ranking) for number, ranking in enumerate(fitted)]
    mean = {name: (others[0][name] + others[1][name]) / 2 for name in others[0]}
    rows.append({"weights": "fitted on a half", "measured on": "the other, mean", **mean})
    show(f"{len(chosen.questions)} questions on {len(chosen.paragraphs)} paragraphs; halves are of articles", rows)
    names = [*PASSAGE_FEATURES, *FEATURES, "slope", "middle"]
    columns = {"committed": committed(examples), "all": together, "half 1": fitted[0], "half 2": fitted[1]}
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
