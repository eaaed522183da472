"""Workers whose clocks differ: what a document took is told by one clock, the database's."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from store import catalog
from store.database import open_database, transaction
from store.models import Document


@pytest.fixture
def engine(postgresql_url: str) -> Iterator[Engine]:
    opened = open_database(postgresql_url)
    yield opened
    opened.dispose()


@pytest.mark.servers
@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_document_takes_as_long_as_it_takes(engine: Engine, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    with transaction(engine) as session:
        home = catalog.ensure_collection(session, "default", "test")
        accepted = catalog.accept_document(session, home, title="a.txt", sha256="a" * 64, size=1, blob="blob")
    with monkeypatch.context() as other, transaction(engine) as session:  # another worker
        other.setattr(time, "time", lambda now=time.time: now() + ahead)
        catalog.start_parsing(session, accepted.document.id)
    with transaction(engine) as session:
        catalog.fail_document(session, accepted.document.id, "It is of no use.")
    with transaction(engine) as session:
        document = session.get(Document, accepted.document.id)
        assert document is not None
        assert document.seconds is not None
        assert 0 <= document.seconds < 60
