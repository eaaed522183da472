"""Owns what every index on this node's disk does: generations written, checked, taken up, made anew when damaged.

Rows are the truth. A generation is an immutable file that holds the rows up to `max_seq`, with a manifest row that
names its sha256; what came since is the delta, kept in memory. Readers replace their view as a whole, so any number
of threads may search it.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from store import catalog
from store.database import reading, transaction
from store.errors import StoreFull
from store.generations import Buffer, GenerationFiles
from store.models import Generation

log = logging.getLogger(__name__)

_DELTA_FREE = 2000  # rows that never need a file


class KeptIndex(Protocol):
    """A view of rows that a process keeps open and current. Methods open their own short transactions."""

    def refresh(self) -> None:
        """Takes in what was committed since."""
        ...

    def compact(self, *, force: bool = False) -> bool:
        """Writes a new generation if one is due (or forced). False where none is due or another process is at it."""
        ...

    def purge(self) -> bool:
        """Takes what was deleted out of what is on disk; False where there is nothing (or nothing is left)."""
        ...

    def held_bytes(self) -> int:
        """Memory that it holds until it is closed."""
        ...


class View(Protocol):
    """What searches run on. Never changed, only replaced."""

    @property
    def number(self) -> int:
        """Of the generation, 0 without one."""

    @property
    def max_seq(self) -> int:
        """The highest id in it."""

    @property
    def held_bytes(self) -> int:
        """Memory that it holds."""


V = TypeVar("V", bound=View)


@dataclass(frozen=True, slots=True)
class Built:
    """A generation that is ready to be written."""

    data: Buffer
    max_seq: int
    count: int  # rows in it
    version: str  # of the library that must understand it


class GeneratedIndex(ABC, Generic[V]):
    """One index of one collection and embedder, in one process. Safe for threads; open it after a fork."""

    DELTA_SHARE: ClassVar[float] = 0.10  # of the generation; above it a new one is due
    DELTA_MOST: ClassVar[int] = 1 << 62  # rows; above them too

    def __init__(self, engine: Engine, files: GenerationFiles, collection_id: str, embedder: str, empty: V) -> None:
        self._engine = engine
        self._files = files
        self._collection_id = collection_id
        self._embedder = embedder
        self._empty = empty
        self._view = empty
        self._refreshing = threading.Lock()

    @abstractmethod
    def _open(self, data: Buffer, generation: Generation) -> V | None:
        """A view of a generation; None where this program does not understand its bytes."""

    @abstractmethod
    def _with_delta(self, session: Session, view: V) -> V:
        """The view and what came after it."""

    @abstractmethod
    def _build(self, session: Session, *, anew: bool) -> Built | None:
        """A generation of all live rows; `anew` out of the rows alone. None where there are none."""

    def refresh(self) -> None:
        """Takes in what was committed since."""
        with reading(self._engine) as session:
            self._refresh_in(session)

    def _refresh_in(self, session: Session) -> V:
        """The current view, as of the session's snapshot or later; asked before every search."""
        view = self._view
        place = (self._collection_id, self._embedder)
        state = catalog.index_state(session, *place, name=self._files.name, node=self._files.node)
        if state.number == view.number and state.max_seq <= view.max_seq:
            return view
        with self._refreshing, reading(self._engine) as newer:  # than what any thread before has taken in
            damaged = self._take_in(newer)
            view = self._view
        if damaged:
            self._rewrite(damaged)
        return view

    def _take_in(self, session: Session) -> list[Generation]:
        """Replaces the view by the current one; -> generations that were found damaged."""
        damaged: list[Generation] = []
        generations = self._generations(session)
        view = self._view if generations or not self._view.number else self._empty
        for generation in generations:
            if generation.number == view.number:
                break
            data = self._files.load(generation)
            opened = None if data is None else self._open(data, generation)
            if opened is not None:
                view = opened
                break
            if data is not None:
                self._files.set_aside(generation)
            damaged.append(generation)
        self._view = self._with_delta(session, view)
        return damaged

    def _generations(self, session: Session) -> list[Generation]:
        return catalog.list_generations(session, self._collection_id, self._files.name, self._files.node)

    def held_bytes(self) -> int:
        """Memory that it holds until it is closed."""
        return self._view.held_bytes

    def _rewrite(self, damaged: Sequence[Generation]) -> None:
        """After damage. The delta stands in for the file, so a full disk is no reason to fail a search."""
        for generation in damaged:
            with transaction(self._engine) as session:
                catalog.forget_generation(session, generation)
        try:
            self.compact(force=True)
        except (StoreFull, OSError):
            log.warning("index not rewritten", extra={"collection_id": self._collection_id}, exc_info=True)

    def compact(self, *, force: bool = False) -> bool:
        """Writes a new generation if one is due (or forced). False where none is due or another process is at it."""
        return self._compact(force=force, anew=force)

    def _compact(self, *, force: bool, anew: bool) -> bool:
        if not force:
            with reading(self._engine) as session:  # before the lock: asked after every document
                if not self._is_due(session):
                    return False
        with self._files.writing(wait=force) as mine:
            if not mine:
                return False
            with reading(self._engine) as session:
                generations = self._generations(session)
                if not force and not self._is_due(session):
                    return False
                built = self._build(session, anew=anew)
            if built is None:
                self._drop(generations)
                return False
            number = generations[0].number + 1 if generations else 1
            generation = self._files.write(
                built.data, number, max_seq=built.max_seq, count=built.count, version=built.version
            )
            with transaction(self._engine) as session:
                catalog.record_generation(session, generation)
                for old in generations[1:]:  # the previous one stays: a reader may be about to open it
                    catalog.forget_generation(session, old)
            self._files.remove_others([generation, *generations[:1]])
        self.refresh()
        return True

    def _drop(self, generations: list[Generation]) -> None:
        """Nothing is left to index."""
        with transaction(self._engine) as session:
            for old in generations:
                catalog.forget_generation(session, old)
        self._files.remove_others([])
        self._view = self._empty

    def _is_due(self, session: Session) -> bool:
        """Asked after every document, so only what came since is counted; deleted rows are `purge`'s business."""
        generations = self._generations(session)
        since, held = (generations[0].max_seq, generations[0].vectors) if generations else (0, 0)
        delta = catalog.count_vectors(session, self._collection_id, self._embedder, after=since)
        return delta > min(self.DELTA_MOST, max(_DELTA_FREE, int(self.DELTA_SHARE * held)))

    def purge(self) -> bool:
        """Writes a new generation where the present one, or the one before it, still holds deleted rows."""
        with reading(self._engine) as session:
            stale = self._holds_deleted(session, self._generations(session))
        # Twice, as an index keeps its last two generations.
        return stale and self._compact(force=True, anew=False) and self._compact(force=True, anew=False)

    def _holds_deleted(self, session: Session, generations: Sequence[Generation]) -> bool:
        """Whether any of them still holds deleted rows."""
        held = [
            catalog.count_vectors(session, self._collection_id, self._embedder, up_to=generation.max_seq)
            for generation in generations
        ]
        return any(kept < old.vectors for kept, old in zip(held, generations, strict=True))
