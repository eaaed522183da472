"""The vector index: right whatever happens to its files, and only ever live rows."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading, transaction
from store.generations import node_of, remove_index_files
from store.models import Vector
from store.types import LivePassage
from store.vectors import FaissIndex
from tests.store.conftest import EMBEDDER, Library, embed, ordinals_of

TEXTS = [f"passage number {number}" for number in range(30)]


@pytest.fixture
def document_id(library: Library) -> str:
    return library.add(*TEXTS)


@pytest.fixture
def open_index(library: Library, tmp_path: Path) -> Callable[[], FaissIndex]:
    return lambda: FaissIndex(library.engine, tmp_path / "index", library.collection_id, EMBEDDER)


def _query(text: str) -> NDArray[np.float32]:
    return np.frombuffer(embed(text), "<f2").astype(np.float32)


def _found(index: FaissIndex, text: str, k: int = 5) -> list[int]:
    return ordinals_of(index._engine, [hit.passage for hit in index.search(_query(text), k)])


def _expected(text: str, k: int = 5) -> list[int]:
    vectors = np.stack([_query(passage) for passage in TEXTS])
    return [int(row) for row in np.argsort(-(vectors @ _query(text)), kind="stable")[:k]]


def _files(tmp_path: Path, pattern: str = "*.faiss") -> list[Path]:
    return sorted((tmp_path / "index").rglob(pattern))


def test_no_more_rows_are_joined_than_are_wanted(
    library: Library, open_index: Callable[[], FaissIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[int] = []
    join = catalog.passages_by_vector_ids

    def noted(session: Session, collection_id: str, vector_ids: Sequence[int], **more: object) -> list[LivePassage]:
        joined.append(len(vector_ids))
        return join(session, collection_id, vector_ids, **more)

    monkeypatch.setattr(catalog, "passages_by_vector_ids", noted)
    near, far = library.add(*TEXTS[:3]), library.add(*TEXTS[3:])
    index = open_index()
    assert len(index.search(_query(TEXTS[0]), 3)) == 3
    assert joined == [3]
    index = open_index()
    index.refresh()
    library.delete(near)
    assert [hit.passage.document_id for hit in index.search(_query(TEXTS[0]), 3)] == [far] * 3
    assert sum(joined) - 3 <= 9  # a few more, where some are not live


def test_search_is_exact_with_and_without_a_file(
    document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    index = open_index()
    assert _found(index, TEXTS[7]) == _expected(TEXTS[7])
    assert _files(tmp_path) == []
    assert not index.compact()  # so few need no file
    assert index.compact(force=True)
    for reader in (index, open_index()):
        assert _found(reader, TEXTS[7]) == _expected(TEXTS[7])
        best = reader.search(_query(TEXTS[7]), 1)[0]
        assert (best.passage.document_id, best.passage.title) == (document_id, f"{TEXTS[0]}.txt")
        assert best.score == pytest.approx(1.0, abs=2e-3)
    assert len(_files(tmp_path)) == 1


def test_an_empty_collection_finds_nothing(library: Library, open_index: Callable[[], FaissIndex]) -> None:
    assert open_index().search(_query("x"), 5) == []
    assert not open_index().compact(force=True)


def test_new_rows_are_found_at_once_beside_the_file(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex]
) -> None:
    index = open_index()
    index.compact(force=True)
    for text in ("first addition", "second addition"):
        added = library.add(text)
        assert index.search(_query(text), 1)[0].passage.document_id == added
    assert _found(index, TEXTS[3], 1) == [3]
    assert [len(index.search(_query("x"), k)) for k in (31, 32, 33)] == [31, 32, 32]


def test_deleted_and_unfinished_documents_are_never_found(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex]
) -> None:
    kept = library.add("kept")
    half = library.accept(["half", "done"]).document.id
    library.parse(half, ["half", "done"])
    library.publish(library.encode(half, ["half", "done"], limit=1))
    index = open_index()
    index.compact(force=True)
    assert half not in {hit.passage.document_id for hit in index.search(_query("half"), 100)}
    library.delete(document_id)
    # 30 of the 32 rows in the file are dead, and nearer: the search goes on until it has what lives
    assert [hit.passage.document_id for hit in index.search(_query(TEXTS[0]), 1)] == [kept]


def test_a_search_can_be_kept_to_some_documents(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex]
) -> None:
    other = library.add("another one")
    hits = open_index().search(_query(TEXTS[0]), 5, document_ids={other})
    assert [hit.passage.document_id for hit in hits] == [other]


@pytest.mark.parametrize("harm", ["delete", "truncate", "flip", "replace"])
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_is_set_aside_and_rebuilt_from_the_rows(
    document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path, harm: str
) -> None:
    open_index().compact(force=True)
    (path,) = _files(tmp_path)
    data = path.read_bytes()
    middle = len(data) // 2
    path.unlink()
    if harm != "delete":
        damaged = {
            "truncate": data[:middle],
            "flip": data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :],
            "replace": b"",
        }[harm]
        path.write_bytes(damaged)
    assert _found(open_index(), TEXTS[7]) == _expected(TEXTS[7])
    (rebuilt,) = _files(tmp_path)
    assert rebuilt.read_bytes() == data
    aside = _files(tmp_path, "*.damaged-*")
    assert [path.read_bytes() for path in aside] == ([] if harm == "delete" else [damaged])


def test_a_damaged_file_does_not_fall_back_past_the_previous_generation(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    open_index().compact(force=True)
    added = library.add("added later")
    open_index().compact(force=True)
    _files(tmp_path)[1].write_bytes(b"damaged")
    assert open_index().search(_query("added later"), 1)[0].passage.document_id == added


def test_two_generations_are_kept(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    reader = open_index()
    for number in range(4):
        library.add(f"addition {number}")
        assert open_index().compact(force=True)
        assert reader.search(_query(f"addition {number}"), 1)[0].score == pytest.approx(1.0, abs=2e-3)
    assert [path.name for path in _files(tmp_path)] == ["00000003.faiss", "00000004.faiss"]
    with reading(library.engine) as session:
        generations = catalog.list_generations(session, library.collection_id, EMBEDDER, node_of(tmp_path / "index"))
    assert [(found.number, found.vectors) for found in generations] == [(4, 34), (3, 33)]


def test_a_file_that_a_killed_writer_had_no_time_to_delete_goes_with_the_next_one(
    document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    index = open_index()
    index.compact(force=True)
    (first,) = _files(tmp_path)
    data = first.read_bytes()
    index.compact(force=True)
    index.compact(force=True)
    first.write_bytes(data)  # its row went before it did
    first.with_name("00000009.partial").write_bytes(data)
    index.compact(force=True)
    assert [path.name for path in _files(tmp_path)] == ["00000003.faiss", "00000004.faiss"]
    assert _files(tmp_path, "*.partial") == []


def test_a_generation_is_due_when_much_was_added_and_purged_when_anything_was_deleted(
    engine: Engine, library: Library, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    document_id = library.add("seed")
    _add_vectors(library, document_id, 2100)
    index = open_index()
    assert index.compact()
    assert not index.compact()
    _add_vectors(library, document_id, 2100, first=5000)
    assert index.compact()
    doomed = library.add("doomed")
    _add_vectors(library, doomed, 1500)
    index.compact(force=True)
    library.delete(doomed)
    assert not index.compact()
    assert index.purge()
    with reading(engine) as session:
        assert (
            catalog.list_generations(session, library.collection_id, EMBEDDER, node_of(tmp_path / "index"))[0].vectors
            == 4201
        )


def _add_vectors(library: Library, document_id: str, count: int, *, first: int = 1) -> None:
    with transaction(library.engine) as session:
        (chunk,) = catalog.list_chunks(session, document_id)
        rows = [
            {
                "collection_id": library.collection_id,
                "document_id": document_id,
                "chunk_id": chunk.id,
                "embedder": EMBEDDER,
                "start": first + number,
                "end": first + number + 1,
                "data": embed(f"{document_id} {first + number}"),
            }
            for number in range(count)
        ]
        session.execute(insert(Vector), rows)


def test_above_the_limit_an_inverted_file_finds_the_same(library: Library, tmp_path: Path) -> None:
    document_id = library.add("seed")
    _add_vectors(library, document_id, 1500)
    exact, inverted = (
        FaissIndex(library.engine, tmp_path / name, library.collection_id, EMBEDDER, exact_up_to=limit)
        for name, limit in (("exact", 10_000), ("inverted", 100))
    )
    queries = [_query(f"{document_id} {number}") for number in range(1, 21)]
    truth = [exact.search(query, 1)[0].passage.vector_id for query in queries]
    inverted.compact(force=True)
    found = [inverted.search(query, 1)[0].passage.vector_id for query in queries]
    assert found == truth
    assert len({hit.passage.vector_id for hit in inverted.search(queries[0], 50)}) == 50


def test_a_vector_cannot_be_there_twice(library: Library) -> None:
    document_id = library.add("seed")
    _add_vectors(library, document_id, 1)
    with pytest.raises(IntegrityError, match=r"(?i)unique constraint.*vector.chunk_id"):
        _add_vectors(library, document_id, 1)


def test_one_process_writes_at_a_time(library: Library, document_id: str, tmp_path: Path) -> None:
    index = FaissIndex(library.engine, tmp_path / "index", library.collection_id, EMBEDDER)
    index.compact(force=True)
    _add_vectors(library, library.add("seed"), 2100)
    script = f"""
import sys
from pathlib import Path
from store.generations import GenerationFiles
with GenerationFiles(Path({str(tmp_path / "index")!r}), {library.collection_id!r}, {EMBEDDER!r}).writing(wait=True):
    print("locked", flush=True)
    sys.stdin.readline()
"""
    other = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    assert not index.compact()
    assert _found(index, TEXTS[7], 1) == [7]  # readers do not care
    other.communicate("go\n")
    assert index.compact()


def test_threads_search_while_rows_and_generations_come(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex]
) -> None:
    index = open_index()

    def search(number: int) -> list[int]:
        return _found(index, TEXTS[number % 30], 1)

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search, number) for number in range(60)]
        for number in range(3):
            library.add(f"meanwhile {number}")
            index.compact(force=True)
    assert [done.result() for done in searches] == [[number % 30] for number in range(60)]


def test_a_deleted_collection_leaves_no_index_files(
    library: Library, document_id: str, open_index: Callable[[], FaissIndex], tmp_path: Path
) -> None:
    open_index().compact(force=True)
    with transaction(library.engine) as session:
        catalog.delete_collection(session, library.collection_id)
    remove_index_files(tmp_path / "index", library.collection_id)
    remove_index_files(tmp_path / "index", library.collection_id)
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["node"]
    assert open_index().search(_query("x"), 5) == []


def test_a_full_disk_does_not_stop_searches(library: Library, tmp_path: Path) -> None:
    """A file size limit stands in for the disk's end: the damaged file cannot be made anew, the answer comes."""
    document_id = library.add("seed")
    _add_vectors(library, document_id, 6000)
    FaissIndex(library.engine, tmp_path / "index", library.collection_id, EMBEDDER).compact(force=True)
    _files(tmp_path)[0].write_bytes(b"damaged")
    library.engine.dispose()
    np.save(tmp_path / "query.npy", _query(f"{document_id} 77"))
    script = f"""
import resource
import numpy as np
from pathlib import Path
from store.database import open_database
from store.vectors import FaissIndex
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
engine = open_database({library.engine.url.render_as_string(hide_password=False)!r})
index = FaissIndex(engine, Path({str(tmp_path / "index")!r}), {library.collection_id!r}, {EMBEDDER!r})
print(index.search(np.load({str(tmp_path / "query.npy")!r}), 1)[0].passage.start)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "77\n"
    assert f"No space left at {tmp_path / 'index'}" in done.stderr  # in the log
    assert [path.name.split("-")[0] for path in _files(tmp_path, "*.*") if path.suffix != ".lock"] == [
        "00000001.faiss.damaged"
    ]
