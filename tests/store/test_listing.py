"""Lists of documents: whole, in either order, whatever arrived at one moment."""

import pytest
from sqlalchemy import Engine, PrimaryKeyConstraint, UniqueConstraint, event, update

from store import catalog
from store.database import reading, transaction
from store.errors import NotFound
from store.models import Base, Document, DocumentState
from store.types import Place
from tests.store.conftest import Library

DIALECTS = ("sqlite", "postgresql")


def test_documents_are_found_by_their_tenant_only_and_listed_in_pages(engine: Engine, library: Library) -> None:
    ids = [library.accept([f"text {number}"]).document.id for number in range(5)]
    with reading(engine) as session:
        assert catalog.find_document(session, "default", ids[0]).title == "text 0.txt"
        with pytest.raises(NotFound, match=f"There is no document '{ids[0]}'. List the documents"):
            catalog.find_document(session, "another", ids[0])
        page = catalog.list_documents(session, library.collection_id, limit=2)
        rest = catalog.list_documents(session, library.collection_id, after=Place(page[-1].created_at, page[-1].id))
        newest = catalog.list_documents(session, library.collection_id, newest_first=True, limit=2)
        place = Place(newest[-1].created_at, newest[-1].id)
        older = catalog.list_documents(session, library.collection_id, newest_first=True, after=place)
    assert [document.id for document in page + rest] == ids
    assert [document.id for document in newest + older] == ids[::-1]


def test_documents_of_one_moment_are_each_listed_once_in_both_orders(engine: Engine, library: Library) -> None:
    ids = sorted(library.accept([f"text {number}"]).document.id for number in range(5))
    with transaction(engine) as session:
        session.execute(update(Document).values(created_at=1.5))
    for newest_first in (False, True):
        listed: list[str] = []
        after = None
        while True:
            with reading(engine) as session:
                page = catalog.list_documents(
                    session, library.collection_id, newest_first=newest_first, after=after, limit=2
                )
            if not page:
                break
            listed += [document.id for document in page]
            after = Place(page[-1].created_at, page[-1].id)
        assert listed == ids[:: -1 if newest_first else 1]


def test_what_is_asked_again_and_again_looks_at_no_more_rows_than_it_names(engine: Engine, library: Library) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("a PostgreSQL without rows reads them all, whatever indexes there are")
    for number in range(3):
        library.accept([f"text {number}"])
    asked: list[tuple[str, object]] = []

    def note(*call: object) -> None:
        asked.append((str(call[2]), call[3]))

    place = Place(1.5, "0" * 32)
    with reading(engine) as session:
        event.listen(engine, "before_cursor_execute", note)
        for newest_first in (False, True):
            for state in (None, DocumentState.READY):
                catalog.list_documents(
                    session, library.collection_id, state=state, newest_first=newest_first, after=place, limit=2
                )
        catalog.last_progress(session)
        catalog.count_jobs(session, "default")
        catalog.store_stats(session, "default")
        event.remove(engine, "before_cursor_execute", note)
        plans = {
            statement: [
                row[3] for row in session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]
            for statement, values in asked
            if statement.startswith("SELECT")
        }
    assert len(plans) == 8
    for statement, plan in plans.items():
        slow = [step for step in plan if "TEMP B-TREE" in step or (step.startswith("SCAN") and "COVERING" not in step)]
        assert not slow, statement


def test_what_goes_with_a_row_is_found_by_an_index() -> None:
    lacking = []
    for table in Base.metadata.sorted_tables:
        constraints = [one for one in table.constraints if isinstance(one, PrimaryKeyConstraint | UniqueConstraint)]
        whole = [one for one in table.indexes if all(one.dialect_options[name]["where"] is None for name in DIALECTS)]
        first = {next(iter(one.columns)).name for one in (*constraints, *whole)}
        lacking += [str(key.parent) for key in table.foreign_keys if key.parent.name not in first]
    assert not lacking  # each delete would read the whole table
