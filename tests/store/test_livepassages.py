"""What is live of what indexes found: each row is looked up once, and none more than are wanted."""

from collections.abc import Sequence

import pytest
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading
from store.livepassages import Live
from store.types import LivePassage
from tests.store.conftest import Library


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
        known = Live(session, library.collection_id, known=found[0])
        assert known.first([ids[:2]], 2)[0] == found[0]
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
