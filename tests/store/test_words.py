"""The word index: the same passages as the full text finds, whatever happens to its files."""

from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, delete, text

from store import catalog, lexical, words
from store.database import reading, transaction
from store.errors import StoreFull
from store.models import Vector
from store.types import EncodedChunk, NewVector
from store.words import FORMAT, WordIndex
from tests.store.conftest import EMBEDDER, Library, embed

TEXTS = [f"harbour log of day {n}{' pilot' * (n % 3)}{' fog' if n % 8 == 0 else ''}" for n in range(1, 41)]


@pytest.fixture
def engine(sqlite_engine: Engine) -> Engine:
    return sqlite_engine


@pytest.fixture
def open_index(library: Library, tmp_path: Path) -> Callable[[], WordIndex]:
    return lambda: WordIndex(library.engine, tmp_path / "index", library.collection_id, EMBEDDER)


def found(index: WordIndex, query: str, k: int = 5, documents: set[str] | None = None) -> list[int]:
    hits = index.search(query, k, document_ids=documents)
    assert hits is not None
    return [hit.vector_id for hit in hits]


def by_full_text(library: Library, query: str, k: int = 5) -> list[int]:
    with reading(library.engine) as session:
        return [hit.vector_id for hit in lexical.search(session, library.collection_id, query, k)]


def live(library: Library, ids: list[int]) -> list[str]:
    with reading(library.engine) as session:
        return [row.title for row in catalog.passages_by_vector_ids(session, library.collection_id, ids)]


def files(tmp_path: Path, pattern: str = "*.words") -> list[Path]:
    return sorted((tmp_path / "index").rglob(pattern))


@pytest.mark.parametrize("in_a_file", [False, True])
@pytest.mark.parametrize("query", ["fog pilot harbour", "pilot logs", "day 17", "the harbour", "nothing of this"])
def test_it_ranks_as_the_full_text_does(
    library: Library, open_index: Callable[[], WordIndex], query: str, in_a_file: bool
) -> None:
    library.add(*TEXTS)
    if in_a_file:
        assert open_index().compact(force=True)
    assert found(open_index(), query, 12) == by_full_text(library, query, 12)


def test_words_of_any_script_are_found(library: Library, open_index: Callable[[], WordIndex]) -> None:
    document = library.add(
        "向量检索把文档变成数字。", "ذهب الكِتَابُ إلى المكتبة", "Crème brûlée", "東京タワーは赤い", "\u0308 \u0301"
    )
    library.add(*TEXTS)
    with reading(library.engine) as session:
        ids = catalog.vectors_of_documents(session, EMBEDDER, [document])
    queries = ("文档", "检", "الكتاب", "creme", "塔", "赤", "字")
    expected = [[ids[0]], [ids[0]], [ids[1]], [ids[2]], [], [ids[3]], [ids[0]]]
    for index in (open_index(), open_index()):
        assert [found(index, query) for query in queries] == expected
        index.compact(force=True)


def test_what_is_added_later_is_found_at_once_and_what_is_deleted_is_not_live(
    library: Library, open_index: Callable[[], WordIndex]
) -> None:
    library.add(*TEXTS)
    index = open_index()
    index.compact(force=True)
    for number in range(12):  # more than are kept apart
        library.add(f"capstan {number}")
        assert len(found(index, "capstan", 20)) == number + 1
    gone = library.add("capstan and anchor")
    assert live(library, found(index, "capstan anchor", 1)) == ["capstan and anchor.txt"]
    library.delete(gone)
    assert live(library, found(index, "anchor")) == []


def test_a_search_can_be_kept_to_some_documents(library: Library, open_index: Callable[[], WordIndex]) -> None:
    few = library.add("harbour of few", "fog there")
    library.add(*TEXTS)
    with reading(library.engine) as session:
        ids = catalog.vectors_of_documents(session, EMBEDDER, [few])
    assert found(open_index(), "harbour log fog", 9, {few}) == sorted(ids, reverse=True)
    assert found(open_index(), "harbour log fog", 9, set()) == []


def test_another_collection_is_not_seen(library: Library, open_index: Callable[[], WordIndex]) -> None:
    library.add("mine")
    with transaction(library.engine) as session:
        other = Library(library.engine, library.blobs, catalog.ensure_collection(session, "default", "other").id)
    other.add("theirs")
    assert found(open_index(), "theirs mine", 9) == by_full_text(library, "mine")


@pytest.mark.parametrize("harm", ["delete", "truncate", "flip", "empty"])
def test_a_damaged_file_is_set_aside_and_made_anew(
    library: Library, open_index: Callable[[], WordIndex], tmp_path: Path, harm: str
) -> None:
    library.add(*TEXTS)
    open_index().compact(force=True)
    (path,) = files(tmp_path)
    data = path.read_bytes()
    path.unlink()
    middle = len(data) // 2
    damaged = {"truncate": data[:middle], "flip": data[:middle] + b"?" + data[middle + 1 :], "empty": b""}
    if harm != "delete":
        path.write_bytes(damaged[harm])
    assert found(open_index(), "fog pilot") == by_full_text(library, "fog pilot")
    (rebuilt,) = files(tmp_path)
    assert rebuilt.read_bytes() == data
    assert [path.read_bytes() for path in files(tmp_path, "*.damaged-*")] == (
        [] if harm == "delete" else [damaged[harm]]
    )


def test_deleted_words_leave_the_files(library: Library, open_index: Callable[[], WordIndex], tmp_path: Path) -> None:
    library.add(*TEXTS)
    doomed = library.add("unrepeatable")
    index = open_index()
    index.compact(force=True)
    library.add("later")
    assert not index.purge()
    library.delete(doomed)
    assert index.purge()
    assert len(files(tmp_path)) == 2
    with reading(library.engine) as session:
        name = f"{FORMAT} {EMBEDDER}"
        (collection_id,) = session.execute(text("SELECT id FROM collection")).scalars()
        (node,) = session.execute(text("SELECT DISTINCT node FROM generation")).scalars()
        kept = [one.vectors for one in catalog.list_generations(session, collection_id, name, node)]
    assert kept == [41, 41]
    assert found(open_index(), "unrepeatable") == []
    assert found(open_index(), "later", 1) == by_full_text(library, "later", 1)


def written_before(open_index: Callable[[], WordIndex], tmp_path: Path) -> Path:
    """The file of a program whose index was of an earlier form."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "FORMAT", "words-1")
        patch.setattr(words, "_EARLIER", ())
        assert open_index().compact(force=True)
    (earlier,) = files(tmp_path)
    return earlier


def test_files_of_an_earlier_form_go_when_the_index_is_made_anew(
    library: Library, open_index: Callable[[], WordIndex], tmp_path: Path
) -> None:
    library.add(*TEXTS)
    earlier = written_before(open_index, tmp_path)
    assert found(open_index(), "fog pilot") == by_full_text(library, "fog pilot")  # which it knows nothing of
    assert open_index().compact(force=True)
    (path,) = files(tmp_path)
    assert path != earlier
    with reading(library.engine) as session:
        (name,) = session.execute(text("SELECT embedder FROM generation")).scalars()
    assert name == f"{FORMAT} {EMBEDDER}"


@pytest.mark.parametrize("all_of_it", [False, True])
def test_deleted_words_leave_the_files_of_an_earlier_form(
    library: Library, open_index: Callable[[], WordIndex], tmp_path: Path, all_of_it: bool
) -> None:
    """No new generation may ever be due: there are few passages, or none."""
    doomed = library.add("unrepeatable")
    if not all_of_it:
        library.add(*TEXTS)
    written_before(open_index, tmp_path)
    index = open_index()
    assert not index.compact()
    assert not index.purge()
    assert len(files(tmp_path)) == 1
    library.delete(doomed)
    assert index.purge()
    assert files(tmp_path) == []
    with reading(library.engine) as session:
        assert session.execute(text("SELECT count(*) FROM generation")).scalar() == 0
    assert not index.purge()


def test_files_of_an_earlier_form_make_room_where_the_disk_is_full(
    library: Library, open_index: Callable[[], WordIndex], tmp_path: Path
) -> None:
    library.add(*TEXTS)
    written_before(open_index, tmp_path)

    def write(*_: object) -> int:
        raise OSError(ENOSPC, "full")

    index = open_index()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", write)
        with pytest.raises(StoreFull, match=r"No space left at .*Free space there"):
            index.compact(force=True)
    assert files(tmp_path) == []
    assert found(index, "fog pilot") == by_full_text(library, "fog pilot")
    assert index.compact(force=True)
    assert len(files(tmp_path)) == 1


def test_it_says_so_where_it_does_not_hold_everything(
    library: Library, open_index: Callable[[], WordIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add(*TEXTS)
    monkeypatch.setattr(WordIndex, "LEFT_OUT", 39)
    assert open_index().search("fog", 5) is None
    assert open_index().compact(force=True)
    assert found(open_index(), "fog") == by_full_text(library, "fog")

    document = library.add("anchor")
    with transaction(library.engine) as session:  # as between a restore and what makes the full text anew
        lexical.forget_document(session, document)
    index = open_index()
    assert index.search("anchor", 5) is None
    with transaction(library.engine) as session:
        lexical.index(session, library.collection_id, dict.fromkeys(vectors_of(library, document), "anchor"))
    assert found(index, "anchor") == vectors_of(library, document)

    with transaction(library.engine) as session:
        (chunk,) = catalog.list_chunks(session, document)
        other = NewVector("another@1", 0, 6, embed("anchor"), "anchor", "anchor")
        catalog.publish(session, [EncodedChunk(chunk.id, (), (other,))])
    assert index.search("anchor", 5) is None
    with transaction(library.engine) as session:
        session.execute(delete(Vector).where(Vector.embedder == "another@1"))
    assert found(index, "anchor") == vectors_of(library, document)


def vectors_of(library: Library, document_id: str) -> list[int]:
    with reading(library.engine) as session:
        return catalog.vectors_of_documents(session, EMBEDDER, [document_id])


def test_a_generation_is_due_when_much_was_added(
    library: Library, open_index: Callable[[], WordIndex], tmp_path: Path
) -> None:
    document = library.add("seed")
    index = open_index()
    assert not index.compact()
    with transaction(library.engine) as session:
        (chunk,) = catalog.list_chunks(session, document)
        many = (f"word{n % 50} row {n}" for n in range(1, 2101))
        vectors = tuple(NewVector(EMBEDDER, n, n + 1, embed(its), its, its) for n, its in enumerate(many, 1))
        catalog.publish(session, [EncodedChunk(chunk.id, (), vectors)])
    assert index.compact()
    assert not index.compact()
    assert len(files(tmp_path)) == 1
    expected = np.flatnonzero(np.arange(1, 2101) % 50 == 7) + vectors_of(library, document)[0] + 1
    assert found(open_index(), "word7", 100) == expected.tolist()
