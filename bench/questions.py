"""Owns the question sets of benchmarks: questions with known answers, and a collection of paragraphs around them."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compressor.codec.corpus import load_texts
from compressor.sentences import split_sentences
from workers.events import Event
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import load_settings

PARAGRAPH_CHARACTERS = 800
COLLECTION = "questions"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the paragraph that answers it."""

    text: str
    answers: tuple[str, ...]
    article: int
    paragraph: str  # title of its document
    known: bool  # whether its article is in the collection


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Paragraphs by title, and questions about some of them."""

    paragraphs: dict[str, str]
    questions: tuple[Question, ...]


def load_questions(files: Sequence[Path], distractors: Sequence[Path], *, paragraphs: int, absent: int) -> QuestionSet:
    """Articles in SQuAD's JSON format, filled up with distractors to `paragraphs`.

    Every `absent`-th article is left out of the collection (0: none): its questions have no answer there.
    """
    kept: dict[str, str] = {}
    questions: list[Question] = []
    articles = [article for file in files for article in json.loads(file.read_text("utf-8"))["data"]]
    for number, article in enumerate(articles):
        known = not absent or number % absent != absent - 1
        for paragraph in article["paragraphs"]:
            title = f"paragraph-{len(kept) if known else 'absent'}.txt"
            if known:
                kept[title] = " ".join(paragraph["context"].split())  # a document of one block
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                if answers:
                    questions.append(Question(asked["question"], answers, number, title, known))
    for text in cut_paragraphs(distractors, paragraphs - len(kept)):
        kept[f"paragraph-{len(kept)}.txt"] = text
    return QuestionSet(kept, tuple(questions))


def cut_paragraphs(files: Sequence[Path], count: int) -> list[str]:
    """Paragraphs of about 800 characters, taken evenly from all prose in the files."""
    if count <= 0 or not files:
        return []
    found: list[str] = []
    for kind, text in load_texts(list(files)):
        if kind not in ("prose", "text", "txt", "md"):
            continue
        for line in text.split("\n"):
            start = 0
            for _, end in split_sentences(line):
                if end - start >= PARAGRAPH_CHARACTERS or end == len(line):
                    if end - start >= PARAGRAPH_CHARACTERS // 3:
                        found.append(line[start:end].strip())
                    start = end
    return found[:: max(1, len(found) // count)][:count]


@contextmanager
def ingested(paragraphs: dict[str, str], *, codec: str) -> Iterator[Resources]:
    """A home of its own with every paragraph as a document; removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"home": str(Path(folder) / "home"), "codec": codec, "collection": COLLECTION})
        with Resources(settings) as resources:
            for title, text in paragraphs.items():
                path = Path(folder) / title
                path.write_text(text, "utf-8")
                accept(resources, resources.settings.tenant, COLLECTION, Offer(path, title, external_id=title))
            run_due_jobs(resources, _refuse_failures)
            yield resources


def _refuse_failures(event: Event) -> None:
    if event.error:
        raise RuntimeError(f"{event.title} did not ingest: {event.error}")
