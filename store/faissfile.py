"""Owns what FAISS is asked to do: an index built over vectors, searched, to bytes and back. Knows no files and no rows.

Above a size it is an inverted file that is looked through by 4 bits for every 4 dimensions, small enough to stay near
the core; the best of it are looked at again by 8 bits for each. At 700,000 vectors that takes less than half the time
of 8 bits throughout, with twice as many lists looked through.
"""

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

    from store.generations import Buffer

log = logging.getLogger(__name__)

_TRAINING_POINTS = 64  # per list of an inverted file; FAISS asks for 39 at least
# Of 60,000 passages, a real question's ten nearest are found to 98.4 %, with a sixteenth of the lists to 96.8 %.
_LISTS_SHARE = 8  # one list in so many is looked through
_SECOND_LOOKS = 7  # vectors looked at again per hit asked for, and
_LEAST_LOOKS = 200  # of few hits
# Above so many numbers FAISS compares vectors with the lists' middles by matrix products: of 384 dimensions, four
# vectors, while its own bound is 128,000, where every vector reads all the middles for itself.
_MULTIPLIED = 1_500
_CODED_TOGETHER = 4  # dimensions, fewer where that gives less than
_LEAST_CODES = 96


def build_index(ids: NDArray[np.int64], vectors: NDArray[np.float32], *, exact: bool) -> "faiss.Index":
    """An inner-product index over (n, d) unit vectors under their ids."""
    import faiss

    use_threads(os.cpu_count() or 1)
    count, width = vectors.shape
    if exact:
        # 16 bits are what the rows hold, so nothing is lost against 32, at half the memory.
        index = faiss.index_factory(width, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:1])
        index.add_with_ids(vectors, ids)
        return index
    lists = max(1, min(int(4 * count**0.5), count // 39))
    most_codes = max(width // _CODED_TOGETHER, min(width, _LEAST_CODES))
    codes = next(codes for codes in range(most_codes, 0, -1) if width % codes == 0)
    first_look = f"PQ{codes}x4fs" if 2 * codes >= most_codes else "SQ8"  # a width may have no divisor that is near
    index = faiss.index_factory(width, f"IDMap2,IVF{lists},{first_look},Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, lists * _TRAINING_POINTS), replace=False)
    index.train(vectors[np.sort(sample)])
    index.add_with_ids(vectors, ids)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", max(1, lists // _LISTS_SHARE))
    return index


def search_index(
    index: "faiss.Index", queries: NDArray[np.float32], k: int, *, among: NDArray[np.int64] | None = None
) -> list[dict[int, float]]:
    """Scores of the k nearest to each of (n, d) vectors by id, best first; with `among` only of those ids."""
    use_threads(1)  # beside it others embed and read; for one alone, a second thread mostly spins
    import_module("faiss").cvar.distance_compute_blas_threshold = _MULTIPLIED
    k = min(k, index.ntotal)
    scores, ids = index.search(queries, k, params=_parameters(index, k, among))
    found = [dict(zip(*both, strict=True)) for both in zip(ids.tolist(), scores.tolist(), strict=True)]
    for its in found:
        its.pop(-1, None)  # where there are fewer
    return found


def _parameters(index: "faiss.Index", k: int, among: NDArray[np.int64] | None) -> "faiss.SearchParameters | None":
    """How to look for the k nearest. Among some ids all lists are looked through, most of which are empty then."""
    swig = import_module("faiss")  # so named, it may have more than its stubs know
    outer, inner = _layers(index)
    found: faiss.SearchParameters | None = None
    if isinstance(inner, swig.IndexRefine):
        within = None
        if among is not None:  # what lies within knows places, not ids
            places = np.flatnonzero(np.isin(swig.vector_to_array(outer.id_map), among, assume_unique=True))
            lists = swig.downcast_index(inner.base_index).nlist
            within = swig.SearchParametersIVF(sel=swig.IDSelectorBatch(places), nprobe=lists)
        # where many hits were not live, nearly all are asked for: FAISS takes memory for more than there are
        looks = min(max(_SECOND_LOOKS, _LEAST_LOOKS / k), 2 * index.ntotal / k)
        found = swig.IndexRefineSearchParameters(k_factor=looks, base_index_params=within)
    elif among is not None and isinstance(inner, swig.IndexIVF):  # of an earlier program: under its own ids
        found = swig.SearchParametersIVF(sel=swig.IDSelectorBatch(among), nprobe=inner.nlist)
    elif among is not None:
        found = swig.SearchParameters(sel=swig.IDSelectorBatch(among))
    return found


def to_bytes(index: "faiss.Index") -> memoryview:
    """The index as a file holds it; through memory, as FAISS hides why a write to a file failed."""
    import faiss

    return faiss.serialize_index(index).data


def from_bytes(data: "Buffer") -> "faiss.Index | None":
    """The index in memory of its own; None where another FAISS wrote it, which this one does not understand.

    FAISS could use a mapped file as it is (IO_FLAG_MMAP_IFC), but then checks no more than the header.
    """
    swig = import_module("faiss")
    try:
        index: faiss.Index = swig.deserialize_index(np.frombuffer(data, np.uint8))
    except RuntimeError:
        log.warning("vector index file not readable", exc_info=True)
        return None
    return index


def _layers(index: "faiss.Index") -> "tuple[Any, Any]":
    """What knows the ids, and what is within it; an inverted file of an earlier program knows them itself."""
    swig = import_module("faiss")
    outer = swig.downcast_index(index)
    return outer, outer if isinstance(outer, swig.IndexIVF) else swig.downcast_index(outer.index)


def use_threads(count: int) -> None:
    """How many threads FAISS uses for what this thread asks of it."""
    import faiss

    faiss.omp_set_num_threads(count)
