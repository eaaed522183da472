"""FAISS indexes: what a search finds, among all vectors and among some, and in files of an earlier program."""

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from store import faissfile
from store.faissfile import build_index, from_bytes, search_index, to_bytes

COUNT, WIDTH = 4_000, 96


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vectors_like_passages(width: int = WIDTH) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids with gaps, and vectors in crowds."""
    rng = np.random.default_rng(0)
    crowds = rng.standard_normal((COUNT // 20, width))
    vectors = crowds[rng.integers(len(crowds), size=COUNT)] + 0.7 * rng.standard_normal((COUNT, width))
    return np.sort(rng.choice(50_000, COUNT, replace=False)), unit(vectors.astype(np.float32))


def nearest(ids: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[int]:
    return ids[np.argsort(-(vectors @ query))[:k]].tolist()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("width", [WIDTH, 25, 101])
def test_the_nearest_are_found_with_their_cosines(exact: bool, width: int) -> None:
    ids, vectors = vectors_like_passages(width)
    index = from_bytes(to_bytes(build_index(ids, vectors, exact=exact)))
    assert index is not None
    found = 0
    for query in vectors[::100]:
        hits = search_index(index, query[None], 10)[0]
        assert list(hits.values()) == sorted(hits.values(), reverse=True)
        for vector_id, score in hits.items():
            assert score == pytest.approx(float(vectors[ids == vector_id][0] @ query), abs=0.02)
        found += len(set(hits) & set(nearest(ids, vectors, query, 10)))
    assert found >= (400 if exact else 380)


@pytest.mark.parametrize("exact", [True, False])
def test_a_search_among_some_finds_those_only(exact: bool) -> None:
    ids, vectors = vectors_like_passages()
    index = build_index(ids, vectors, exact=exact)
    chosen = np.arange(0, COUNT, 13)
    among = np.append(ids[chosen], 60_000)  # one that came after the index was made
    for query in vectors[:20]:
        found = search_index(index, query[None], 5, among=among)[0]
        assert len(set(found) & set(nearest(ids[chosen], vectors[chosen], query, 5))) >= (5 if exact else 4)
        assert set(found) <= set(ids[chosen].tolist())
    assert search_index(index, vectors[0][None], 5, among=np.array([60_000]))[0] == {}


def test_more_than_there_are_are_asked_for() -> None:
    ids, vectors = vectors_like_passages()
    index = build_index(ids[:50], vectors[:50], exact=False)
    assert sorted(search_index(index, vectors[0][None], 240)[0]) == ids[:50].tolist()


def test_what_is_looked_at_again_is_bounded_by_what_there_is() -> None:
    """Memory is taken for as many as are asked for, though there may not be so many."""
    ids, vectors = vectors_like_passages()
    index = build_index(ids, vectors, exact=False)
    looked_at = {k: k * faissfile._parameters(index, k, None).k_factor for k in (1, 10, 50, 500, 3_000, COUNT)}
    expected = {1: 200, 10: 200, 50: 350, 500: 3_500, 3_000: 2 * COUNT, COUNT: 2 * COUNT}
    assert looked_at == pytest.approx(expected, rel=1e-6)


def test_an_index_of_an_earlier_program_is_searched_as_it_is() -> None:
    ids, vectors = vectors_like_passages()
    earlier = faiss.index_factory(WIDTH, "IVF64,SQ8", faiss.METRIC_INNER_PRODUCT)
    earlier.train(vectors)
    earlier.add_with_ids(vectors, ids)
    earlier.nprobe = 16
    index = from_bytes(to_bytes(earlier))
    assert index is not None
    assert list(search_index(index, vectors[7][None], 1)[0]) == [ids[7]]
    among = ids[::50]
    found = search_index(index, vectors[7][None], 3, among=among)[0]
    assert list(found) == nearest(among, vectors[::50], vectors[7], 3)
