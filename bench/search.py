"""Search and answers on questions with known answers, through the real store: recall, first sentence, abstention.

    python -m bench.search --questions FILE... [--distractors FILE...] [--paragraphs 2000] [--sample 400]

Questions are files in SQuAD's JSON format. Every eighth article is left out of the collection: its questions should be
abstained from.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from api.answer import ask
from api.find import POOL, Asked, find_passages, find_words
from api.reports import AnswerReport
from api.search import search
from bench.questions import COLLECTION, Question, ingested, load_questions
from bench.report import OUT, new_plot, save_plot, show, write
from store import catalog
from store.database import reading
from workers.resources import Resources

DEPTHS = (1, 5, 20)


@dataclass(frozen=True, slots=True)
class Rankings:
    """Titles of paragraphs for one question, each ranking best first."""

    words: list[str]
    vectors: list[str]
    fused: list[str]  # words and vectors, before their texts are looked at
    search: list[str]  # what `percel search` returns
    seconds: float  # of that search, reading the hits out of their caches included


def rank(resources: Resources, question: str) -> Rankings:
    """All rankings of one question, each made anew."""
    with reading(resources.engine) as session:
        home = catalog.find_collection(session, resources.settings.tenant, COLLECTION)
        worded = [hit.vector_id for hit in find_words(resources, session, home.id, [question], POOL)[0]]
        titles = {p.vector_id: p.title for p in catalog.passages_by_vector_ids(session, home.id, worded)}
        vectors = resources.embedder.embed_queries([question])
        near = resources.index(home.id).search(vectors[0], POOL)
        fused = find_passages(resources, session, [Asked(home.id, question, k=POOL // 4)], vectors)[0]
    start = time.perf_counter()
    hits = search(resources, resources.settings.tenant, question, k=max(DEPTHS))
    seconds = time.perf_counter() - start
    return Rankings(
        words=list(dict.fromkeys(titles[vector_id] for vector_id in worded if vector_id in titles)),
        vectors=list(dict.fromkeys(hit.passage.title for hit in near)),
        fused=list(dict.fromkeys(passage.title for passage, _ in fused)),
        search=list(dict.fromkeys(hit.title for hit in hits)),
        seconds=seconds,
    )


def recall(questions: Sequence[Question], rankings: Sequence[list[str]]) -> dict[str, float]:
    """Share of questions whose paragraph is among the first 1, 5, 20."""
    return {
        f"recall@{depth}": float(
            np.mean([q.paragraph in titles[:depth] for q, titles in zip(questions, rankings, strict=True)])
        )
        for depth in DEPTHS
    }


def contains(quote: str, question: Question) -> bool:
    """Whether a quote holds one of the known answers, whatever the case."""
    return any(answer.casefold() in quote.casefold() for answer in question.answers)


def measure_search(
    questions: Sequence[Question], rankings_of: Callable[[str], Rankings]
) -> tuple[list[dict[str, object]], float]:
    """-> a row of recall per ranking, and the median seconds of a search."""
    found = [rankings_of(question.text) for question in questions]
    rankings = {
        "words (BM25)": [each.words for each in found],
        "vectors": [each.vectors for each in found],
        "fused": [each.fused for each in found],
        "search": [each.search for each in found],
    }
    rows: list[dict[str, object]] = [{"ranking": name, **recall(questions, each)} for name, each in rankings.items()]
    return rows, float(np.median([each.seconds for each in found]))


def measure_answers(questions: Sequence[Question], answer: Callable[[str], AnswerReport]) -> dict[str, float]:
    """Answers with and without abstaining, and how long they took."""
    known = [(q, answer(q.text)) for q in questions if q.known]
    unknown = [answer(q.text) for q in questions if not q.known]
    first = [bool(a.citations) and contains(a.citations[0].quote, q) for q, a in known]
    quoted = [any(contains(c.quote, q) for c in a.citations) for q, a in known]
    home = [bool(a.citations) and a.citations[0].title == q.paragraph for q, a in known]
    seconds = [a.timings["total"] for _, a in known]
    return {
        "first_sentence_has_the_answer": float(np.mean(first)),
        "a_quote_has_the_answer": float(np.mean(quoted)),
        "first_quote_is_from_the_paragraph": float(np.mean(home)),
        "answerable_abstained": float(np.mean([a.abstained for _, a in known])),
        "unanswerable_abstained": float(np.mean([a.abstained for a in unknown])) if unknown else float("nan"),
        "median_seconds": float(np.median(seconds)),
        "p95_seconds": float(np.quantile(seconds, 0.95)),
    }


def thin(questions: Sequence[Question], sample: int) -> list[Question]:
    """An even sample; 0 takes all."""
    step = -(-len(questions) // sample) if sample else 1
    return list(questions[::step])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, nargs="+", required=True, help="files in SQuAD's JSON format")
    parser.add_argument("--distractors", type=Path, nargs="*", default=[], help="text that fills the collection up")
    parser.add_argument("--paragraphs", type=int, default=2000, help="in the collection")
    parser.add_argument("--absent", type=int, default=8, help="every n-th article is left out; 0: none")
    parser.add_argument("--sample", type=int, default=400, help="questions answered; search is measured on all")
    parser.add_argument("--codec", default="native-20")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    chosen = load_questions(
        arguments.questions, arguments.distractors, paragraphs=arguments.paragraphs, absent=arguments.absent
    )
    known = [question for question in chosen.questions if question.known]
    sample = thin(chosen.questions, arguments.sample)
    with ingested(chosen.paragraphs, codec=arguments.codec) as resources:
        resources.embedder.embed(["warm"])
        rows, seconds = measure_search(known, lambda question: rank(resources, question))
        answers = measure_answers(sample, lambda question: ask(resources, resources.settings.tenant, question))
    show(f"{len(known)} questions on {len(chosen.paragraphs)} paragraphs; search {seconds * 1000:.0f} ms", rows)
    show(f"{len(sample)} of them answered", [{"figure": name, "value": value} for name, value in answers.items()])
    facts = {
        "questions": len(chosen.questions),
        "paragraphs": len(chosen.paragraphs),
        "search": rows,
        "search_median_seconds": seconds,
        "answered": len(sample),
        "answers": answers,
    }
    print(write("search", facts, arguments.out))
    print(draw(rows, answers, arguments.out))


def draw(rows: Sequence[Mapping[str, object]], answers: Mapping[str, float], out: Path) -> Path:
    """Recall by depth and ranking; the answers' shares."""
    figure = new_plot(11)
    left, right = figure.subplots(1, 2)
    for row in rows:
        left.plot(
            [str(depth) for depth in DEPTHS], [row[f"recall@{depth}"] for depth in DEPTHS], "o-", label=row["ranking"]
        )
    left.set(xlabel="paragraphs looked at", ylabel="share with the right one", title="recall", ylim=(None, 1))
    left.legend()
    shares = {name.replace("_", " "): value for name, value in answers.items() if not name.endswith("seconds")}
    right.barh(list(shares), list(shares.values()))
    right.set(title="answers", xlim=(0, 1))
    return save_plot(figure, "search", out)


if __name__ == "__main__":
    main()
