"""Migrations with data in place, on both databases: rows of the first tables arrive, and go on being used."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, insert, select, table, text
from sqlalchemy import column as col

from store import catalog
from store.database import MIGRATIONS, check_schema, migrate, open_database, reading, transaction
from store.models import Document, DocumentState, JobKind
from tests.store.conftest import embed

HOME, DOCUMENT = "c" * 32, "d" * 32
ROWS: dict[str, dict[str, object]] = {
    "collection": {"id": HOME, "tenant": "somebody", "name": "main", "created_at": 1.0},
    "document": {
        "id": DOCUMENT,
        "collection_id": HOME,
        "version": 1,
        "title": "a.txt",
        "sha256": "0" * 64,
        "size": 5,
        "blob": "00/00/" + "0" * 64,
        "state": "encoding",
        "warnings": "[]",
        "metadata": "{}",
        "created_at": 2.0,
    },
    "chunk": {
        "document_id": DOCUMENT,
        "ordinal": 0,
        "heading": "",
        "characters": 5,
        "text_tokens": 1,
        "text_sha256": "1" * 64,
        "layout": "[]",
        "passages": "[]",
        "state": "pending",
    },
    "vector": {
        "collection_id": HOME,
        "document_id": DOCUMENT,
        "chunk_id": 1,
        "embedder": "minilm@1",
        "start": 0,
        "end": 5,
        "data": embed("alpha"),
    },
    "job": {
        "kind": "encode",
        "document_id": DOCUMENT,
        "state": "queued",
        "attempts": 0,
        "not_before": 0.0,
        "created_at": 2.0,
        "updated_at": 2.0,
    },
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database at the first revision, with one document on its way."""
    if request.param == "sqlite":
        yield from _first(f"sqlite:///{tmp_path}/percel.db")
    else:
        with request.getfixturevalue("postgresql_server").database("template0") as url:
            yield from _first(url)


def _first(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for name, row in ROWS.items():
            cast = {"warnings", "metadata", "layout", "passages"} if engine.dialect.name == "postgresql" else set()
            values = {key: text(f"'{value}'::json") if key in cast else value for key, value in row.items()}
            connection.execute(insert(table(name, *map(col, row))).values(values))
    yield engine
    engine.dispose()


def test_rows_of_the_first_tables_go_on_being_used(first: Engine) -> None:
    migrate(first)
    migrate(first)
    check_schema(first)
    with transaction(first) as session:
        document = catalog.find_document(session, "somebody", DOCUMENT)
        assert (document.title, document.state, document.warnings) == ("a.txt", DocumentState.ENCODING, [])
        (job,) = catalog.claim_jobs(session, [JobKind.ENCODE], owner="worker", lease_seconds=60)
        assert (job.document_id, job.collection_id) == (DOCUMENT, HOME)
        catalog.complete_job(session, job.id, owner="worker")
        assert catalog.count_vectors(session, HOME, "minilm@1") == 1
        catalog.delete_document(session, DOCUMENT)
    with reading(first) as session:
        assert session.scalars(select(Document.id)).all() == []
        assert catalog.count_vectors(session, HOME, "minilm@1") == 0
