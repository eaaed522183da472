"""Finding: questions that are looked up together find what each finds alone, at hardly more than the cost of one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

import api.find as finding
from api.find import POOL, Asked, Found, find_together
from api.library import remove_document
from api.passages import worth_reading
from api.search import home_of
from store import catalog
from store.models import Document
from store.types import LivePassage
from tests.api.conftest import PLACES, QUESTIONS
from workers.resources import Resources


def asked_of(resources: Resources, questions: Sequence[str], **more: object) -> list[Asked]:
    home = home_of(resources, "default", "test").id
    return [Asked(home, text, k=3, **more) for text in questions]


def scores(found: Found) -> list[float]:
    return [passage.score for chunk in found.chunks for passage in chunk.passages]


def titles(found: Found) -> list[str]:
    return [chunk.row.title for chunk in found.chunks]


@contextmanager
def counted(resources: Resources) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(resources.engine, "before_cursor_execute", note)
    yield statements
    event.remove(resources.engine, "before_cursor_execute", note)


def test_together_they_find_what_each_finds_alone(resources: Resources, documents: dict[str, Document]) -> None:
    few = frozenset(documents[f"{PLACES[1]} {number}.txt"].id for number in (0, 2))
    asked = [
        *asked_of(resources, QUESTIONS, texts=True),
        *asked_of(resources, QUESTIONS[:2], among=few),
        *asked_of(resources, ["zebra"], among=frozenset({"nothing"})),
    ]
    alone = [find_together(resources, [one])[0] for one in asked]
    together = find_together(resources, asked)
    assert [(titles(found), found.texts) for found in together] == [(titles(found), found.texts) for found in alone]
    scores = [[[p.score for c in found.chunks for p in c.passages] for found in its] for its in (together, alone)]
    assert scores[0] == [pytest.approx(its, rel=1e-3) for its in scores[1]]  # a vector depends a little on its batch
    for place, found in zip(PLACES, alone, strict=False):
        assert {title[: len(place)] for title in titles(found)} == {place}
        assert {text.split(" was read")[0] for text in found.texts.values()} == {f"The gauge at {place}"}
    assert [set(titles(found)) for found in alone[4:]] == [{f"{PLACES[1]} {n}.txt" for n in (0, 2)}] * 2 + [set()]
    assert [found.texts for found in alone[4:]] == [{}] * 3  # nobody asked for them


def test_sixteen_ask_the_database_no_more_than_one(resources: Resources, documents: dict[str, Document]) -> None:
    asked = asked_of(resources, [f"{question} {number}" for question in QUESTIONS for number in range(4)], texts=True)
    find_together(resources, asked[:1])  # takes in what came
    with counted(resources) as one:
        find_together(resources, asked[:1])
    with counted(resources) as all_of_them:
        find_together(resources, asked)
    assert 0 < len(all_of_them) == len(one)


def test_a_second_look_needs_few_rows_and_starts_from_the_same(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is given is the beginning of what a look at every row gives."""
    looked_up: list[int] = []
    join = catalog.passages_by_vector_ids

    def noted(session: Session, collection_id: str, vector_ids: Sequence[int], **more: object) -> list[LivePassage]:
        looked_up.append(len(vector_ids))
        return join(session, collection_id, vector_ids, **more)

    monkeypatch.setattr(catalog, "passages_by_vector_ids", noted)
    for query in QUESTIONS:
        every, first = (find_together(resources, asked_of(resources, [query], texts=texts))[0] for texts in (0, 1))
        assert titles(first) == titles(every)
        for few, all_of_them in zip(first.chunks, every.chunks, strict=True):
            assert few.passages == all_of_them.passages[: len(few.passages)] != []
        assert max(looked_up[1:]) < looked_up[0]
        looked_up.clear()


@pytest.mark.parametrize("texts", [False, True])
def test_chunks_with_many_passages_do_not_keep_others_out(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch, texts: bool
) -> None:
    """As many chunks come as are asked for, and the best ones the same as with a longer list from the start."""
    monkeypatch.setattr(Asked, "pool", 2)  # passages for three chunks
    asked = asked_of(resources, QUESTIONS, texts=texts)
    few = find_together(resources, asked)
    monkeypatch.setattr(Asked, "pool", 200)
    for found, every in zip(few, find_together(resources, asked), strict=True):
        assert len(found.chunks) == len(every.chunks) == 3
        assert titles(found)[0] == titles(every)[0]


def test_a_ranking_without_hits_to_spare_is_asked_for_more(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL gives as many of the nearest as it is asked for, and a question in another script shares no word."""
    monkeypatch.setattr(Asked, "pool", 2)
    monkeypatch.setattr("store.vectors.with_spare", lambda wanted: wanted)
    (found,) = find_together(resources, asked_of(resources, ["水位何时读取"]))
    assert len(found.chunks) == 3


def test_where_there_is_no_more_nothing_is_asked_for_again(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter may leave fewer chunks than are wanted: all their passages are there after the first look."""
    monkeypatch.setattr(Asked, "pool", 4)
    few = frozenset(documents[f"{PLACES[1]} {number}.txt"].id for number in (0, 2))
    ones = [replace(*asked_of(resources, QUESTIONS[:1], among=few), k=k) for k in (2, 3)]
    find_together(resources, ones)  # takes in what came
    statements = []
    for one in ones:
        with counted(resources) as noted:
            assert len(find_together(resources, [one])[0].chunks) == 2
        statements.append(len(noted))
    assert statements[0] == statements[1]


def test_a_longer_list_looks_up_only_what_is_new(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[int] = []
    join = catalog.passages_by_vector_ids

    def noted(session: Session, collection_id: str, vector_ids: Sequence[int], **more: object) -> list[LivePassage]:
        looked_up.extend(vector_ids)
        return join(session, collection_id, vector_ids, **more)

    monkeypatch.setattr(catalog, "passages_by_vector_ids", noted)
    monkeypatch.setattr(Asked, "pool", 2)
    (found,) = find_together(resources, asked_of(resources, QUESTIONS[:1], texts=True))
    assert len(found.chunks) == 3
    assert len(looked_up) == len(set(looked_up)) > 2


def test_deleted_documents_hide_nothing(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best by words and by meaning are gone, and the indexes still hold them: what comes after them is found."""
    monkeypatch.setattr(finding, "POOL", 2)
    before = asked_of(resources, QUESTIONS)
    assert before[0].pool == 12 < POOL
    find_together(resources, before)
    for name, document in documents.items():
        if not name.startswith(PLACES[0]):
            remove_document(resources, document.id)
    quick = find_together(resources, asked_of(resources, QUESTIONS, texts=True))
    for found, first in zip(find_together(resources, before), quick, strict=True):
        assert {title[: len(PLACES[0])] for title in titles(found)} == {PLACES[0]}
        assert len(found.chunks) == 3
        assert [chunk.row for chunk in first.chunks] == [chunk.row for chunk in found.chunks]
        assert scores(first) == pytest.approx(scores(found), abs=1e-5)  # vectors are of batches of other sizes
        assert set(first.texts) == worth_reading(found.chunks)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_filter_that_leaves_much_finds_what_a_look_at_every_passage_finds(
    resources: Resources, documents: dict[str, Document], monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Without that look, unless others match so much better that too few of its own are among the hits.

    It leaves three quarters: all places but the first question's.
    """
    monkeypatch.setattr(finding, "POOL", 2)
    left = frozenset(document.id for name, document in documents.items() if not name.startswith(PLACES[0]))
    asked = replace(*asked_of(resources, [question], texts=True, among=left), k=1)
    find_together(resources, [asked])  # takes in what came
    found = {}
    monkeypatch.setattr(finding, "_one_in", lambda session, place: 1)  # of so few documents half would be asked for
    first, second = asked.pool, 4 * asked.pool
    for most in (0, first, second):
        monkeypatch.setattr(finding, "PASSED_OVER", most)
        with counted(resources) as statements:
            (found[most],) = find_together(resources, [asked])
        looked_up = any("FROM vector WHERE document_id IN" in statement for statement in statements)
        assert looked_up == (most == 0 or (most == first and question == QUESTIONS[0]))
    exact, *others = found.values()
    assert len(exact.chunks) == 1
    assert not any(title.startswith(PLACES[0]) for title in titles(exact))
    for other in others:
        assert [chunk.row for chunk in other.chunks] == [chunk.row for chunk in exact.chunks]
        assert scores(other) == pytest.approx(scores(exact), abs=1e-5)
        assert other.texts == exact.texts
