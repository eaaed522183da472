"""Owns figures of collections that are shown again and again: sums over caches, made anew where something changed."""

import threading
import time
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from store import catalog
from store.types import CollectionFigures, ReadyDocuments

KEEP_SECONDS = 30.0  # page caches come to documents that stay as they are: seen so much later at most


@dataclass(frozen=True, slots=True)
class _Sum:
    """What was added up, over which documents, and when."""

    ready: ReadyDocuments
    figures: CollectionFigures
    added_at: float


class CollectionSums:
    """Figures by collection, for the threads of one process. A sum reads every cache row of its collection."""

    def __init__(self, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._keep_seconds = keep_seconds
        self._sums: dict[str, _Sum] = {}
        self._lock = threading.Lock()

    def of(self, session: Session, collection_id: str) -> CollectionFigures:
        """As `catalog.count_collection`; documents are always counted."""
        documents, ready = catalog.count_documents(session, collection_id)
        now = time.monotonic()
        known = self._sums.get(collection_id)
        if known is None or known.ready != ready or now - known.added_at > self._keep_seconds:
            known = _Sum(ready, catalog.count_collection(session, collection_id), now)
            with self._lock:
                self._sums = {key: one for key, one in self._sums.items() if now - one.added_at < self._keep_seconds}
                self._sums[collection_id] = known
        return replace(known.figures, documents=documents, ready=ready.count)
