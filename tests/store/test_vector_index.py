"""What every vector index must do, FAISS and pgvector through the same cases: live rows only, exact where asked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from store import catalog
from store.database import reading, transaction
from store.pgvector import PgvectorIndex
from store.types import EncodedChunk, NewVector
from store.vectors import FaissIndex, VectorIndex
from tests.store.conftest import EMBEDDER, Library, embed, ordinals_of

TEXTS = [f"passage number {number}" for number in range(30)]
PGVECTOR = pytest.mark.servers

Open = Callable[[], VectorIndex]


@pytest.fixture(
    params=[
        "faiss sqlite",
        "faiss file sqlite",
        pytest.param("faiss postgresql", marks=PGVECTOR),
        pytest.param("exact pgvector", marks=PGVECTOR),
        pytest.param("hnsw pgvector", marks=PGVECTOR),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    """An index and its database; `file` and `hnsw` are built at every compact, the others only when large."""
    return str(request.param)


@pytest.fixture
def engine(request: pytest.FixtureRequest, kind: str) -> object:
    return request.getfixturevalue(f"{kind.split()[-1]}_engine")


@pytest.fixture
def open_index(library: Library, tmp_path: Path, kind: str) -> Open:
    if kind.endswith("pgvector"):
        limit = 0 if kind.startswith("hnsw") else 20_000
        return lambda: PgvectorIndex(library.engine, library.collection_id, EMBEDDER, exact_up_to=limit)
    return lambda: FaissIndex(library.engine, tmp_path / "index", library.collection_id, EMBEDDER)


@pytest.fixture
def build(open_index: Open, kind: str) -> Callable[[], None]:
    """Puts what is there into a file or an HNSW index, where the kind has one."""

    def run() -> None:
        if kind.startswith(("faiss file", "hnsw")):
            open_index().compact(force=True)

    return run


def query_of(text: str) -> NDArray[np.float32]:
    return np.frombuffer(embed(text), "<f2").astype(np.float32)


def test_the_nearest_come_first_with_their_cosine(
    library: Library, open_index: Open, build: Callable[[], None]
) -> None:
    document_id = library.add(*TEXTS)
    build()
    vectors = np.stack([query_of(text) for text in TEXTS])
    for asked in (TEXTS[7], "something else"):
        query = query_of(asked)
        cosines = vectors @ query
        order = np.argsort(-cosines, kind="stable")[:5]
        hits = open_index().search(query, 5)
        assert ordinals_of(library.engine, (hit.passage for hit in hits)) == order.tolist()
        assert [hit.score for hit in hits] == pytest.approx(cosines[order].tolist(), abs=3e-3)
        assert {hit.passage.document_id for hit in hits} == {document_id}


def test_of_several_queries_each_gets_rows_that_hold_its_nearest(
    library: Library, open_index: Open, build: Callable[[], None]
) -> None:
    gone, kept = library.add(*TEXTS[:10]), library.add(*TEXTS[10:])
    build()
    index = open_index()
    library.delete(gone)
    queries = np.stack([query_of(TEXTS[17]), query_of("something else")])
    with reading(library.engine) as session:
        found = index.nearest_many(session, queries, 4)
        none = index.nearest_many(session, queries, 4, document_ids=set())
        few = index.nearest_many(session, queries, 3, document_ids={kept})
        theirs = set(catalog.vectors_of_documents(session, EMBEDDER, [kept]))
    for query, scores in zip(queries, found, strict=True):
        assert len(scores) >= 4
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        hits = index.search(query, 1)
        assert scores[hits[0].passage.vector_id] == pytest.approx(hits[0].score)
    assert [len(its) for its in none] == [0, 0]
    assert all(its.keys() <= theirs and len(its) >= 3 for its in few)


def test_an_empty_collection_finds_nothing(open_index: Open) -> None:
    assert open_index().search(query_of("x"), 5) == []
    assert not open_index().compact(force=True)


def test_what_is_added_later_is_found_at_once(library: Library, open_index: Open, build: Callable[[], None]) -> None:
    library.add(*TEXTS)
    build()
    index = open_index()
    index.refresh()
    for text in ("first addition", "second addition"):
        added = library.add(text)
        assert index.search(query_of(text), 1)[0].passage.document_id == added
    assert [len(index.search(query_of("x"), k)) for k in (31, 32, 33)] == [31, 32, 32]


def test_deleted_and_unfinished_documents_are_never_found(
    library: Library, open_index: Open, build: Callable[[], None]
) -> None:
    gone, kept = library.add(*TEXTS), library.add("kept")
    half = library.accept(["half", "done"]).document.id
    library.parse(half, ["half", "done"])
    library.publish(library.encode(half, ["half", "done"], limit=1))
    build()
    index = open_index()
    assert half not in {hit.passage.document_id for hit in index.search(query_of("half"), 100)}
    library.delete(gone)
    assert [hit.passage.document_id for hit in index.search(query_of(TEXTS[0]), 1)] == [kept]


def test_another_collection_and_another_embedder_are_not_seen(library: Library, open_index: Open) -> None:
    library.add("mine")
    with transaction(library.engine) as session:
        other = Library(library.engine, library.blobs, catalog.ensure_collection(session, "default", "other").id)
    other.add("theirs")
    assert [hit.passage.title for hit in open_index().search(query_of("theirs"), 9)] == ["mine.txt"]


def test_a_filter_for_few_documents_among_many_finds_all_of_theirs(
    library: Library, open_index: Open, build: Callable[[], None]
) -> None:
    crowd, few = library.add("crowd"), library.add("one", "two", "three")
    add_vectors(library, crowd, 4000)
    build()
    near_the_crowd = query_of(f"{crowd} 77")
    hits = open_index().search(near_the_crowd, 3, document_ids={few})
    assert sorted(ordinals_of(library.engine, (hit.passage for hit in hits))) == [0, 1, 2]
    assert open_index().search(near_the_crowd, 3, document_ids=set()) == []
    assert open_index().search(near_the_crowd, 1)[0].passage.start == 77


def add_vectors(library: Library, document_id: str, count: int) -> None:
    """Many passages in one chunk, by way of the publication, as a worker would."""
    with transaction(library.engine) as session:
        (chunk,) = catalog.list_chunks(session, document_id)
        vectors = tuple(
            NewVector(EMBEDDER, number, number + 1, embed(f"{document_id} {number}"), "", "")
            for number in range(1, count + 1)
        )
        catalog.publish(session, [EncodedChunk(chunk.id, (), vectors)])
