"""Owns the vector index: FAISS files as a rebuildable view of the vector rows of one (collection, embedder).

The rows are the truth. A generation is an immutable file that holds the rows up to `max_seq`, with a manifest row
that names its sha256; rows above that are the delta, kept in memory and searched exactly. Hits are joined with live
rows before anyone sees them, so a delete counts at once and a stale file can only cost time.
"""

import logging
import threading
from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading, transaction
from store.errors import StoreFull
from store.generations import GenerationFiles, build_index, use_threads
from store.models import Generation
from store.types import LivePassage, VectorRow

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)

_OVERFETCH = 4  # hits asked for per hit wanted, as some are not live; doubled until there are enough
_DELTA_SHARE = 0.10  # of the generation; above it a new one is due
_DELTA_FREE = 2000  # vectors that never need a file


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A live passage near the query."""

    passage: LivePassage
    score: float  # cosine


class VectorIndex(Protocol):
    """Nearest passages of one collection under one embedder. Methods open their own short transactions."""

    def search(
        self, query: NDArray[np.float32], k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[VectorHit]:
        """The k nearest live passages, best first; with document_ids only of those. query: (d,). Refreshes first."""
        ...

    def refresh(self) -> None:
        """Takes in what was committed since."""
        ...

    def compact(self, *, force: bool = False) -> bool:
        """Writes a new generation if one is due (or forced). False where none is due or another process is at it."""
        ...

    def purge(self) -> bool:
        """Takes deleted vectors out of what is on disk; False where there are none (or nothing is left)."""
        ...

    def held_bytes(self) -> int:
        """Memory that it holds until it is closed."""
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
        self, query: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None
    ) -> list[tuple[int, float]]:
        """(id, score) of the k nearest rows, live or not, best first; with `among` only of those ids."""
        found: list[tuple[int, float]] = []
        if self.base is not None and self.base.ntotal:
            use_threads(1)  # searches run side by side; for one alone, a second thread mostly spins
            scores, ids = self.base.search(query[None], min(k, self.base.ntotal), params=_only(self.base, among))
            found = [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]
        delta_ids, delta = self.delta_ids, self.delta
        if among is not None and len(delta_ids):
            chosen = np.isin(delta_ids, among)
            delta_ids, delta = delta_ids[chosen], delta[chosen]
        if len(delta_ids):
            scores = delta @ query
            top = np.argpartition(-scores, k)[:k] if k < len(scores) else np.arange(len(scores))
            found += zip(delta_ids[top].tolist(), scores[top].tolist(), strict=True)
        return sorted(found, key=lambda hit: (-hit[1], hit[0]))[:k]

    @property
    def held_bytes(self) -> int:
        held = self.delta.nbytes + self.delta_ids.nbytes
        return held if self.base is None else held + self.base.ntotal * self.base.sa_code_size() + 8 * self.base.ntotal


_EMPTY = _View(None, 0, np.empty(0, np.int64), np.empty((0, 0), np.float32), 0)


def _only(base: "faiss.Index", among: NDArray[np.int64] | None) -> "faiss.SearchParameters | None":
    """Parameters of a search among some ids; an inverted file then looks at all its lists, of which most are empty."""
    if among is None:
        return None
    import faiss

    chosen = faiss.IDSelectorBatch(among)
    if isinstance(base, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=chosen, nprobe=base.nlist)  # type: ignore[call-arg]  # SWIG says less
    return faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]


class FaissIndex:
    """The vector index of one collection and embedder, in one process. Safe for threads; open it after a fork."""

    def __init__(
        self, engine: Engine, directory: Path, collection_id: str, embedder: str, *, exact_up_to: int = 200_000
    ) -> None:
        self._engine = engine
        self._files = GenerationFiles(directory, collection_id, embedder)
        self._collection_id = collection_id
        self._embedder = embedder
        self._exact_up_to = exact_up_to  # vectors; above it the generation is an inverted file of 8-bit codes
        self._view = _EMPTY
        self._refreshing = threading.Lock()

    def search(
        self, query: NDArray[np.float32], k: int, *, document_ids: AbstractCollection[str] | None = None
    ) -> list[VectorHit]:
        self.refresh()
        view = self._view
        query = _unit(query[None].astype(np.float32))[0]
        fetch = k * _OVERFETCH
        with reading(self._engine) as session:
            among = None
            if document_ids is not None:
                among = np.array(catalog.vectors_of_documents(session, self._embedder, document_ids), np.int64)
            while True:
                scores = dict(view.nearest(query, fetch, among))
                passages = self._live(session, list(scores), k, document_ids)
                if len(passages) >= k or len(scores) < fetch:
                    return [VectorHit(passage, scores[passage.vector_id]) for passage in passages[:k]]
                fetch *= 4

    def _live(
        self, session: Session, vector_ids: Sequence[int], k: int, document_ids: AbstractCollection[str] | None
    ) -> list[LivePassage]:
        """The first k live passages, if there are so many; a join costs more than the search, so no more are joined."""
        passages: list[LivePassage] = []
        for first in range(0, len(vector_ids), k):
            passages += catalog.passages_by_vector_ids(
                session, self._collection_id, vector_ids[first : first + k], document_ids=document_ids
            )
            if len(passages) >= k:
                break
        return passages

    def refresh(self) -> None:
        with self._refreshing:
            damaged = self._take_in()
        if damaged:
            self._rewrite()

    def _take_in(self) -> bool:
        """Replaces the view by the current one; True if a generation was found damaged."""
        damaged: list[Generation] = []
        with reading(self._engine) as session:
            generations = catalog.list_generations(session, self._collection_id, self._embedder, self._files.node)
            view = self._view
            for generation in generations:
                if generation.number == view.number:
                    break
                index = self._files.load(generation)
                if index is not None:
                    view = _View(index, generation.number, _EMPTY.delta_ids, _EMPTY.delta, generation.max_seq)
                    break
                damaged.append(generation)
            self._view = self._with_delta(session, view)
        for generation in damaged:
            with transaction(self._engine) as session:
                catalog.forget_generation(session, generation)
        return bool(damaged)

    def held_bytes(self) -> int:
        return self._view.held_bytes

    def _with_delta(self, session: Session, view: _View) -> _View:
        rows = catalog.vectors_after(session, self._collection_id, self._embedder, view.max_seq)
        ids, vectors = _arrays(list(rows))
        if not len(ids):
            return view
        if len(view.delta_ids):
            ids, vectors = np.concatenate([view.delta_ids, ids]), np.concatenate([view.delta, vectors])
        return _View(view.base, view.number, ids, vectors, int(ids[-1]))

    def _rewrite(self) -> None:
        """After damage. The delta stands in for the file, so a full disk is no reason to fail a search."""
        try:
            self.compact(force=True)
        except (StoreFull, OSError):
            log.warning("vector index not rewritten", extra={"collection_id": self._collection_id}, exc_info=True)

    def compact(self, *, force: bool = False) -> bool:
        with self._files.writing(wait=force) as mine:
            if not mine:
                return False
            with reading(self._engine) as session:
                generations = catalog.list_generations(session, self._collection_id, self._embedder, self._files.node)
                if not force and not self._is_due(session, generations[0] if generations else None):
                    return False
                rows = catalog.vectors_after(session, self._collection_id, self._embedder, 0)
                ids, vectors = _arrays(list(rows))
            if not len(ids):
                self._drop(generations)
                return False
            number = generations[0].number + 1 if generations else 1
            index = build_index(ids, vectors, exact=len(ids) <= self._exact_up_to)
            generation = self._files.write(index, number, max_seq=int(ids[-1]))
            with transaction(self._engine) as session:
                catalog.record_generation(session, generation)
                for old in generations[1:]:  # the previous one stays: a reader may be about to open it
                    catalog.forget_generation(session, old)
            for old in generations[1:]:
                self._files.remove(old)
        self.refresh()
        return True

    def _drop(self, generations: list[Generation]) -> None:
        """Nothing is left to index."""
        with transaction(self._engine) as session:
            for old in generations:
                catalog.forget_generation(session, old)
        for old in generations:
            self._files.remove(old)
        self._view = _EMPTY

    def _is_due(self, session: Session, generation: Generation | None) -> bool:
        """Asked after every document, so only what came since is counted; deleted rows are `purge`'s business."""
        since, vectors = (0, 0) if generation is None else (generation.max_seq, generation.vectors)
        delta = catalog.count_vectors(session, self._collection_id, self._embedder, after=since)
        return delta > max(_DELTA_FREE, _DELTA_SHARE * vectors)

    def purge(self) -> bool:
        """Writes a new generation where the present one, or the one before it, still holds deleted vectors."""
        with reading(self._engine) as session:
            generations = catalog.list_generations(session, self._collection_id, self._embedder, self._files.node)
            held = [
                catalog.count_vectors(session, self._collection_id, self._embedder, up_to=generation.max_seq)
                for generation in generations
            ]
        stale = any(kept < old.vectors for kept, old in zip(held, generations, strict=True))
        # Twice, as an index keeps its last two generations.
        return stale and self.compact(force=True) and self.compact(force=True)


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
