"""Figures of a collection that are shown again and again: right, and added up only when something changed."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, event

from store import catalog
from store.database import reading
from store.sums import CollectionSums
from tests.store.conftest import Library


@pytest.fixture
def sums_run(engine: Engine) -> Iterator[list[str]]:
    """Statements that add up caches, as they run."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.extend([statement] if "sum(cache.cache_bytes)" in statement else [])

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_sums_are_made_anew_only_where_documents_changed(library: Library, sums_run: list[str]) -> None:
    sums = CollectionSums()

    def shown() -> tuple[int, int, int]:
        with reading(library.engine) as session:
            figures = sums.of(session, library.collection_id)
            assert figures == catalog.count_collection(session, library.collection_id)
        sums_run.pop()  # the comparison's own
        return figures.documents, figures.ready, figures.cache_bytes

    assert shown() == (0, 0, 0)
    first = library.add("one", "two")
    assert shown() == (1, 1, 200)
    sums_run.clear()
    library.accept(["on its way"])
    assert shown() == (2, 1, 200)
    assert sums_run == []
    library.delete(first)
    assert shown() == (1, 0, 0)
    library.add("three")
    assert shown() == (2, 1, 100)
    assert len(sums_run) == 2


def test_what_changes_no_document_is_seen_after_a_while(library: Library, sums_run: list[str]) -> None:
    library.add("one")
    sums = CollectionSums(keep_seconds=0)
    with reading(library.engine) as session:
        for _ in range(2):
            sums.of(session, library.collection_id)
    assert len(sums_run) == 2
