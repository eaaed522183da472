"""Nearest vectors in PostgreSQL: what only this index has. The rest is in test_vector_index.py."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from store import catalog, embeddings
from store.blobs import DirectoryBlobs
from store.database import migrate, open_database, reading, transaction
from store.errors import DatabaseUnusable, VectorsUnusable
from store.pgvector import PgvectorIndex
from tests.servers.postgresql import Server
from tests.store.conftest import EMBEDDER, Library
from tests.store.test_vector_index import add_vectors, query_of

pytestmark = pytest.mark.servers


@pytest.fixture
def engine(pgvector_engine: Engine) -> Engine:
    return pgvector_engine


def _count(engine: Engine, table: str = "passage_embedding") -> int:
    with reading(engine) as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def _indexes(engine: Engine) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(text("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")))


def test_what_was_there_before_is_taken_in_and_what_is_deleted_goes(pgvector_url: str, tmp_path: Path) -> None:
    engine = open_database(pgvector_url)
    with transaction(engine) as session:
        home = catalog.ensure_collection(session, "default", "main")
    library = Library(engine, DirectoryBlobs(tmp_path / "blobs"), home.id)
    before = library.add("before", "as well")
    embeddings.prepare(engine)
    embeddings.prepare(engine)
    library.add("afterwards")
    index = PgvectorIndex(engine, home.id, EMBEDDER)
    assert [hit.passage.title for hit in index.search(query_of("before"), 1)] == ["before.txt"]
    assert (_count(engine), _count(engine, "vector")) == (3, 3)
    library.delete(before)
    assert (_count(engine), _count(engine, "vector")) == (1, 1)
    engine.dispose()


def test_a_large_collection_gets_an_index_of_its_own_and_searches_use_it(engine: Engine, library: Library) -> None:
    document_id = library.add("seed")
    add_vectors(library, document_id, 3000)
    index = PgvectorIndex(engine, library.collection_id, EMBEDDER, exact_up_to=2000)
    assert not PgvectorIndex(engine, library.collection_id, EMBEDDER).compact(force=True)  # it is small for that one
    assert index.compact()
    assert not index.compact(force=True)
    (name,) = _indexes(engine)
    with reading(engine) as session:
        embeddings.use_extension(session)
        statement = index._query(query_of("x"), 5, None, exact=False).compile(
            engine, compile_kwargs={"literal_binds": True}
        )
        plan = "\n".join(session.scalars(text(f"EXPLAIN {statement}".replace(":", "\\:"))))
    assert f"using {name}" in plan
    found = [index.search(query_of(f"{document_id} {number}"), 1)[0].passage.start for number in range(1, 200, 10)]
    assert found == list(range(1, 200, 10))


def test_the_index_of_a_collection_that_is_gone_is_dropped(engine: Engine, library: Library) -> None:
    library.add("text")
    assert PgvectorIndex(engine, library.collection_id, EMBEDDER, exact_up_to=0).compact()
    with transaction(engine) as session:
        catalog.delete_collection(session, library.collection_id)
        other = catalog.ensure_collection(session, "default", "other")
    assert len(_indexes(engine)) == 1
    assert not PgvectorIndex(engine, other.id, EMBEDDER).compact()
    assert (_indexes(engine), _count(engine)) == ([], 0)


def test_one_process_builds_at_a_time(engine: Engine, library: Library) -> None:
    library.add("text")
    index = PgvectorIndex(engine, library.collection_id, EMBEDDER, exact_up_to=0)
    with engine.connect() as other:
        assert index._lock(other, wait=False)
        assert not index.compact()
        other.invalidate()  # it died
    assert index.compact(force=True)


def test_a_database_without_the_extension_is_refused_by_name(postgresql_engine: Engine) -> None:
    with pytest.raises(
        VectorsUnusable, match=r"postgresql\+psycopg://percel:\*\*\*@.*\. Install pgvector 0\.8 or newer"
    ):
        embeddings.prepare(postgresql_engine)


def test_sqlite_is_refused_by_name(sqlite_engine: Engine) -> None:
    with pytest.raises(VectorsUnusable, match=r"it is not PostgreSQL\. Set PERCEL_DATABASE_URL=postgresql://"):
        embeddings.prepare(sqlite_engine)


def test_an_extension_that_is_in_the_way_of_our_tables_is_named(pgvector_server: Server) -> None:
    with pgvector_server.database("template0") as url:
        engine = open_database(url)
        with transaction(engine) as session:
            session.execute(text("CREATE EXTENSION vector"))
        with pytest.raises(DatabaseUnusable, match=r"pgvector is in its schema public.* SET SCHEMA pgvector"):
            migrate(engine)
        with transaction(engine) as session:
            session.execute(text("CREATE SCHEMA pgvector"))
            session.execute(text("ALTER EXTENSION vector SET SCHEMA pgvector"))
        migrate(engine)
        embeddings.prepare(engine)
        engine.dispose()
