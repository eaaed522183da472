"""Owns the vector index: FAISS files as a rebuildable view of the vector rows of one (collection, embedder).

The rows are the truth. A generation is an immutable file that holds the rows up to `max_seq`, with a manifest row
that names its sha256; rows above that are the delta, kept in memory and searched exactly. Hits are joined with live
rows before anyone sees them, so a delete counts at once and a stale file can only cost time.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading
from store.faissfile import build_index, from_bytes, search_index, to_bytes
from store.generated import Built, GeneratedIndex, KeptIndex
from store.generations import Buffer, GenerationFiles
from store.livepassages import Live, with_spare
from store.models import Generation
from store.types import LivePassage, VectorRow

if TYPE_CHECKING:
    import faiss


class VectorHit(NamedTuple):
    """A live passage near the query."""

    passage: LivePassage
    score: float  # cosine


class VectorIndex(KeptIndex, Protocol):
    """Nearest passages of one collection under one embedder."""

    def search(
        self, query: NDArray[np.float32], k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[VectorHit]:
        """The k nearest live passages, best first; with document_ids only of those. query: (d,). Refreshes first."""
        ...

    def nearest_many(
        self,
        session: Session,
        queries: NDArray[np.float32],
        k: int,
        *,
        document_ids: AbstractCollection[str] | None = None,
    ) -> list[dict[int, float]]:
        """Vector id -> cosine of the rows nearest to each query, best first; with document_ids only of those.

        At least k, or all there are; some may not be live. queries: (n, d). As of the session's snapshot or later.
        """
        ...


@dataclass(frozen=True, slots=True)
class _View:
    """What searches run on. Never changed, only replaced, so any number of threads may search."""

    base: "faiss.Index | None"
    number: int  # of the generation, 0 without one
    delta_ids: NDArray[np.int64]  # (m,)
    delta: NDArray[np.float32]  # (m, d), length 1
    max_seq: int  # the highest id in base or delta

    def nearest(
        self, queries: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> list[dict[int, float]]:
        """Scores of the k rows nearest to each query by id, live or not, best first; with `among` only of those."""
        found: list[dict[int, float]] = [{} for _ in queries]
        if self.base is not None and self.base.ntotal:
            found = search_index(self.base, queries, k, among=among)
        delta_ids, delta = self.delta_ids, self.delta
        if among is not None and len(delta_ids):
            chosen = np.isin(delta_ids, among)
            delta_ids, delta = delta_ids[chosen], delta[chosen]
        if len(delta_ids):
            for number, scores in enumerate(queries @ delta.T):
                top = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
                its = found[number] | dict(zip(delta_ids[top].tolist(), scores[top].tolist(), strict=True))
                found[number] = dict(sorted(its.items(), key=lambda hit: (-hit[1], hit[0]))[:k])
        return found

    @property
    def held_bytes(self) -> int:
        held = self.delta.nbytes + self.delta_ids.nbytes
        return held if self.base is None else held + self.base.ntotal * self.base.sa_code_size() + 8 * self.base.ntotal


_EMPTY = _View(None, 0, np.empty(0, np.int64), np.empty((0, 0), np.float32), 0)


class FaissIndex(GeneratedIndex[_View]):
    """The vector index of one collection and embedder, in one process. Safe for threads; open it after a fork."""

    def __init__(
        self, engine: Engine, directory: Path, collection_id: str, embedder: str, *, exact_up_to: int = 200_000
    ) -> None:
        super().__init__(engine, GenerationFiles(directory, collection_id, embedder), collection_id, embedder, _EMPTY)
        self._exact_up_to = exact_up_to  # vectors; above it the generation is an inverted file

    def search(
        self, query: NDArray[np.float32], k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[VectorHit]:
        """The k nearest live passages, best first; with document_ids only of those."""

        with reading(self._engine) as session:

            def nearest(_: Sequence[int], wanted: int) -> list[dict[int, float]]:
                return self.nearest_many(session, query[None], wanted, document_ids=document_ids)

            (hits,) = Live(session, self._collection_id, document_ids).best(nearest([0], k), k, nearest)
        return [VectorHit(passage, score) for passage, score in hits]

    def nearest_many(
        self,
        session: Session,
        queries: NDArray[np.float32],
        k: int,
        *,
        document_ids: AbstractCollection[str] | None = None,
    ) -> list[dict[int, float]]:
        """Vector id -> cosine of the rows nearest to each of (n, d) queries, more than k, as some may not be live."""
        view = self._refresh_in(session)
        among = None
        if document_ids is not None:
            among = np.array(catalog.vectors_of_documents(session, self._embedder, document_ids), np.int64)
        return view.nearest(_unit(queries.astype(np.float32)), with_spare(k), among)

    def _open(self, data: Buffer, generation: Generation) -> _View | None:
        index = from_bytes(data)
        if index is None:
            return None
        return _View(index, generation.number, _EMPTY.delta_ids, _EMPTY.delta, generation.max_seq)

    def _with_delta(self, session: Session, view: _View) -> _View:
        rows = catalog.vectors_after(session, self._collection_id, self._embedder, view.max_seq)
        ids, vectors = _arrays(list(rows))
        if not len(ids):
            return view
        if len(view.delta_ids):
            ids, vectors = np.concatenate([view.delta_ids, ids]), np.concatenate([view.delta, vectors])
        return _View(view.base, view.number, ids, vectors, int(ids[-1]))

    def _build(self, session: Session, *, anew: bool) -> Built | None:
        """Always out of the rows: FAISS would not give back what it was given."""
        import faiss

        ids, vectors = _arrays(list(catalog.vectors_after(session, self._collection_id, self._embedder, 0)))
        if not len(ids):
            return None
        index = build_index(ids, vectors, exact=len(ids) <= self._exact_up_to)
        return Built(to_bytes(index), int(ids[-1]), index.ntotal, faiss.__version__)


def _arrays(rows: list[VectorRow]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """ids (n,) and vectors (n, d) of length 1."""
    if not rows:
        return _EMPTY.delta_ids, _EMPTY.delta
    ids = np.fromiter((row.id for row in rows), np.int64, len(rows))
    flat = np.frombuffer(b"".join(row.data for row in rows), "<f2")
    return ids, _unit(flat.reshape(len(rows), -1).astype(np.float32))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(norms, np.float32(1e-12))
    return unit
