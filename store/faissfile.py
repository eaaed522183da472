"""Owns what FAISS is asked to do: an index built over vectors, to bytes and back. Knows no files and no rows."""

import logging
import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

    from store.generations import Buffer

log = logging.getLogger(__name__)

_TRAINING_POINTS = 64  # per list of an inverted file; FAISS asks for 39 at least


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
    # An inverted file keeps ids itself: IDMap2 around one gives wrong neighbours after a removal.
    lists = max(1, min(int(4 * count**0.5), count // 39))
    index = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, lists * _TRAINING_POINTS), replace=False)
    index.train(vectors[np.sort(sample)])
    index.add_with_ids(vectors, ids)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", max(1, lists // 16))
    return index


def to_bytes(index: "faiss.Index") -> memoryview:
    """The index as a file holds it; through memory, as FAISS hides why a write to a file failed."""
    import faiss

    return faiss.serialize_index(index).data


def from_bytes(data: "Buffer") -> "faiss.Index | None":
    """The index in memory of its own; None where another FAISS wrote it, which this one does not understand.

    FAISS could use a mapped file as it is (IO_FLAG_MMAP_IFC), but then checks no more than the header.
    """
    import faiss

    try:
        return faiss.deserialize_index(np.frombuffer(data, np.uint8))
    except RuntimeError:
        log.warning("vector index file not readable", exc_info=True)
        return None


def use_threads(count: int) -> None:
    """How many threads FAISS uses for what this thread asks of it."""
    import faiss

    faiss.omp_set_num_threads(count)
