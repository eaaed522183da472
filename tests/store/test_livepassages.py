"""What is live of what indexes found: each row is looked up once, and none more than are wanted."""

from collections.abc import Sequence
from itertools import islice

import pytest
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading
from store.livepassages import Live
from store.types import LivePassage
from tests.store.conftest import Library
from tests.store.test_vector_index import add_vectors


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids of every statement."""
    statements: list[list[int]] = []
    join = catalog.passages_by_vector_ids

    def noted(session: Session, collection_id: str, vector_ids: Sequence[int], **more: object) -> list[LivePassage]:
        statements.append(sorted(vector_ids))
        return join(session, collection_id, vector_ids, **more)

    monkeypatch.setattr(catalog, "passages_by_vector_ids", noted)
    return statements


def ids_of(library: Library, document_id: str) -> list[int]:
    with reading(library.engine) as session:
        return sorted(catalog.vectors_of_documents(session, "minilm@1", [document_id]))


def test_rankings_are_looked_up_together_and_each_row_once(library: Library, looked_up: list[list[int]]) -> None:
    ids = ids_of(library, library.add(*(f"text {number}" for number in range(8))))
    with reading(library.engine) as session:
        live = Live(session, library.collection_id)
        found = live.first([ids[:5], [ids[1], ids[0], ids[6]], [], [ids[7]]], 2)
        assert [[passage.vector_id for passage in its] for its in found] == [ids[:2], [ids[1], ids[0]], [], [ids[7]]]
        assert looked_up == [[*ids[:2], ids[7]]]
        assert [passage.vector_id for passage in live.first([ids], 3)[0]] == ids[:3]
        assert looked_up[1:] == [[ids[2]]]
        assert live.first([ids[:2]], 2)[0] == found[0]
        assert len(looked_up) == 2


def test_behind_what_is_not_live_the_next_ones_are_found(library: Library, looked_up: list[list[int]]) -> None:
    gone = library.add(*(f"gone {number}" for number in range(4)))
    dead, ids = ids_of(library, gone), ids_of(library, library.add(*(f"kept {number}" for number in range(3))))
    library.delete(gone)
    ranking = [*dead[:3], ids[0], dead[3], *ids[1:]]
    with reading(library.engine) as session:
        live = Live(session, library.collection_id)
        found = live.first([ranking, ids[:2], dead], 2)
        assert [[passage.vector_id for passage in its] for its in found] == [ids[:2], ids[:2], []]
        asked = [vector_id for statement in looked_up for vector_id in statement]
        assert len(asked) == len(set(asked))  # what is not live is not asked for again either
        assert [len(its) for its in Live(session, library.collection_id, {gone}).first([ranking], 2)] == [0]


def test_the_first_passages_are_looked_up_until_they_have_enough_chunks(
    library: Library, looked_up: list[list[int]]
) -> None:
    ids = ids_of(library, library.add(*(f"text {number}" for number in range(8))))
    with reading(library.engine) as session:
        live = Live(session, library.collection_id)
        found = live.leading([ids, ids[6:], []], 2, needed=[ids[7:], [], []])
        assert [[passage.vector_id for passage in its or []] for its in found] == [ids[:3], ids[6:], []]
        assert looked_up == [[*ids[:3], *ids[6:]]]
        assert len(live.leading([ids], 5, needed=[[]])[0] or []) == 7
        assert looked_up[1:] == [ids[3:6]]  # the others are known
        everything = live.leading([ids], 20, needed=[[]])[0]
    assert [passage.vector_id for passage in everything or []] == ids


def test_passages_of_one_chunk_count_once(library: Library, looked_up: list[list[int]]) -> None:
    long, short = library.add("text 0"), library.add("text 1")
    add_vectors(library, long, 6)  # beside its own one
    ranking = ids_of(library, long) + ids_of(library, short)
    with reading(library.engine) as session:
        (found,) = Live(session, library.collection_id).leading([ranking], 2, needed=[[]])
    assert [passage.vector_id for passage in found or []] == ranking
    assert looked_up == [sorted(ranking[:3]), sorted(ranking[3:6]), sorted(ranking[6:])]


def test_one_that_is_not_live_among_the_first_passages_is_said(library: Library) -> None:
    gone, kept = library.add("gone"), library.add("one", "two", "three", "four")
    dead, ids = ids_of(library, gone), ids_of(library, kept)
    library.delete(gone)
    rankings = [[*dead, *ids], ids, ids, [*ids, *dead]]
    with reading(library.engine) as session:
        found = Live(session, library.collection_id).leading(rankings, 2, needed=[[], dead, ids[3:], []])
        among = Live(session, library.collection_id, {gone}).leading([ids], 2, needed=[[]])
    assert [its and [passage.vector_id for passage in its] for its in found] == [None, None, ids[:3], ids[:3]]
    assert among == [None]


def test_the_best_are_asked_for_again_where_too_few_are_live(library: Library) -> None:
    gone, kept = library.add(*(f"gone {number}" for number in range(9))), library.add("one", "two", "three")
    dead, ids = ids_of(library, gone), ids_of(library, kept)
    library.delete(gone)
    whole = [{key: 1 / place for place, key in enumerate([*dead, *ids], 1)}, {ids[2]: 3.0, ids[0]: 2.0, ids[1]: 1.0}]
    asked: list[tuple[list[int], int]] = []

    def deeper(numbers: Sequence[int], count: int) -> list[dict[int, float]]:
        asked.append((list(numbers), count))
        return [dict(islice(whole[number].items(), count)) for number in numbers]

    with reading(library.engine) as session:
        found = Live(session, library.collection_id).best(deeper([0, 1], 2), 2, deeper)
    assert asked[1:] == [([0], 8), ([0], 32)]
    assert [[(passage.vector_id, score) for passage, score in its] for its in found] == [
        [(ids[0], 1 / 10), (ids[1], 1 / 11)],
        [(ids[2], 3.0), (ids[0], 2.0)],
    ]
