"""Owns what must happen now and then whatever else runs: the dead are succeeded, words that got lost are said again,
what was deleted is wiped. Running it twice at once changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from store import catalog, lexical
from store.database import reading, take_in_log, transaction, truncate_log
from store.generations import remove_gone
from store.models import JobKind
from store.sweep import sweep_blobs
from workers.resources import Resources
from workers.runner import recover

log = logging.getLogger(__name__)

TICK_SECONDS = 5.0
LOG_SECONDS = 5.0
WIPE_SECONDS = 600.0  # between wipes of full text and index files: each rewrites them
LONGEST_PAUSE = 60.0  # seconds between wake-ups for work that nobody takes up


@dataclass(frozen=True, slots=True)
class Waking:
    """When work of a kind was last said to be due, and how long until it is said again if none of it is done."""

    count: int  # of jobs due then
    said_at: float
    pause: float


class Tender:
    """Tends one store, tick by tick; several may, on any number of machines."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self._wiped_at = self._cleaned_at = time.monotonic()
        self._unwiped = True  # what the one before may have left: it knew only by itself what it had swept
        self._waking: dict[JobKind, Waking] = {}

    def tick(self) -> None:
        """One round."""
        recover(self.resources)
        with reading(self.resources.engine) as session:
            due = catalog.count_due(session)
        self._wake(due)
        try:
            self._unwiped |= sweep_blobs(self.resources.engine, self.resources.blobs) > 0
        except Exception:  # a blob that cannot be deleted is no reason to leave what can
            self._unwiped = True
            raise
        finally:
            self._tidy(idle=not due)

    def _tidy(self, *, idle: bool) -> None:
        """What is done every ten minutes."""
        # Each is noted before: what fails, as a bucket's owner allows no list say, waits as long as what went well.
        if self._unwiped and idle and time.monotonic() - self._wiped_at > WIPE_SECONDS:
            self._wiped_at = time.monotonic()
            wipe(self.resources)
            self._unwiped = False
        if time.monotonic() - self._cleaned_at > WIPE_SECONDS:
            self._cleaned_at = time.monotonic()
            clean(self.resources)

    def _wake(self, due: Mapping[JobKind, int]) -> None:
        """Says what is due, ever more rarely while nothing of it is taken up: unread messages would pile up."""
        now = time.monotonic()
        for kind, count in due.items():
            last = self._waking.get(kind)
            if last is None or count < last.count:
                pause = TICK_SECONDS
            elif now < last.said_at + last.pause:
                continue
            else:
                pause = min(2 * last.pause, LONGEST_PAUSE)
            # Where it cannot be said the next tick tries again: a broker that comes back hears of it at once.
            if self.resources.wake(kind):
                self._waking[kind] = Waking(count, now, pause)
        self._waking = {kind: waking for kind, waking in self._waking.items() if kind in due}

    def run(self, stop: threading.Event) -> None:
        """Ticks until told to stop; a tick that fails (a database that restarts, say) is one that the next makes up."""
        repeat("tending", self.tick, stop, seconds=TICK_SECONDS)


def wipe(resources: Resources) -> None:
    """Overwrites what deletes left in the full-text index and the database's log."""
    with transaction(resources.engine) as session:
        lexical.merge(session)
    truncate_log(resources.engine)


def clean(resources: Resources) -> None:
    """Removes what nobody needs: old messages and answers, and what lies on this node."""
    with transaction(resources.engine) as session:
        catalog.forget_deliveries(session)
        catalog.forget_replies(session)
    clean_node(resources)


def clean_node(resources: Resources) -> None:
    """Removes what nobody needs on this node: indexes of collections that are gone, half-written files, unused copies.

    Each node does it, as another one may have deleted the collection, or been killed during an upload.
    """
    with reading(resources.engine) as session:
        kept = catalog.all_collections(session)
    resources.close_gone(kept)
    remove_gone(resources.index_directory, kept)
    resources.blobs.remove_partial()


def repeat(what: str, work: Callable[[], object], stop: threading.Event, *, seconds: float) -> None:
    """Does something every so often until `stop`; a failure is logged, and the next time makes up for it.

    With its traceback once: a database that is away for an hour would fill the log with the same one.
    """
    failure: type[Exception] | None = None
    while not stop.wait(seconds):
        try:
            work()
            failure = None
        except Exception as error:
            log.warning("%s failed", what, exc_info=type(error) is not failure, extra={"reason": str(error)})
            failure = type(error)


def keep_log_short(resources: Resources, stop: threading.Event) -> None:
    """Takes the database's log in now and then. Done here, no upload waits for it, and a loss of power loses less."""
    repeat("taking the log in", lambda: take_in_log(resources.engine), stop, seconds=LOG_SECONDS)


def start_thread(name: str, run: Callable[[threading.Event], None], stop: threading.Event) -> threading.Thread:
    """Runs something beside the caller until `stop`."""
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    return thread
