"""Lists of documents: whole, in either order, whatever arrived at one moment."""

import pytest
from sqlalchemy import Engine, update

from store import catalog
from store.database import reading, transaction
from store.errors import NotFound
from store.models import Document
from store.types import Place
from tests.store.conftest import Library


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
