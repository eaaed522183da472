"""Owns the looking after pages before a request runs: found, of the right model and size, and whole, in the background.

What fails here fails one request; what fails while the model runs stops the engine. Knows nothing of vLLM.
"""

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from percel_vllm.blobs import Blobs
from percel_vllm.names import PageError, PlaceDownError, read_name
from percel_vllm.pages import Page, load_page, open_page, read_parts

log = logging.getLogger("vllm.percel")

KNOWN = 100_000  # names of pages whose check is remembered
THREADS = 4
PAUSE_SECONDS = 0.1  # before a place that was down is tried again; then twice as long each time
LONGEST_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class _Found:
    """A page that is whole."""

    rows: int
    at: float  # seconds of the monotonic clock


@dataclass(frozen=True, slots=True)
class _Check:
    """What was or is being found out of a page."""

    found: Future[_Found]
    known: bool  # it was sound before: what already runs goes by that until this is done

    def is_older_than(self, at: float) -> bool:
        """Whether what was found is from before, in seconds of the monotonic clock."""
        done = self.found.done() and self.found.exception() is None
        return done and self.found.result().at < at


class CheckedPages:
    """Pages of one model in one store of blobs. Safe for several threads."""

    def __init__(self, blobs: Blobs, model: str) -> None:
        self.blobs = blobs
        self.model = model
        self._checks: OrderedDict[str, _Check] = OrderedDict()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="percel-pages")
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def find(self, name: str) -> Page:
        """The page behind a name, by its file's header. Raises PageError."""
        known = read_name(name)
        if known.model != self.model:
            raise PageError(f"{name} is of {known.model}; this server reads pages of {self.model}")
        page = open_page(self.blobs.open(known.blob), known.entry)
        if page.model != self.model:
            raise PageError(f"{name} was made by {page.model}; this server reads pages of {self.model}")
        return page

    def is_there(self, name: str) -> bool:
        """Whether a page was checked and its file, as far as that can be told, has not gone since."""
        check = self._checks.get(name)
        if check is None:
            return False
        sound = check.found.exception() is None if check.found.done() else check.known
        return sound and not self.blobs.has_gone(read_name(name).blob)

    def check(self, name: str, rows: int, *, since: float | None = None) -> bool:
        """True for a page that is whole and has so many rows, False while that is being found out. Raises PageError.

        `since` is when its request came, in seconds of the monotonic clock, now by default: what was found since, or
        little before, counts until the request is through, else one of many pages would never have them all.
        """
        oldest = (time.monotonic() if since is None else since) - self.blobs.known_seconds
        with self._lock:
            check = self._checks.get(name)
            if check is None or check.is_older_than(oldest):
                check = self._checks[name] = _Check(self._pool.submit(self._check, name), known=check is not None)
            self._checks.move_to_end(name)
            while len(self._checks) > KNOWN:
                self._checks.popitem(last=False)
        if not check.found.done():
            return False
        error = check.found.exception()
        if error is None and not self.is_there(name):
            error = PageError(f"the file of {name} has gone")
        if error is not None:
            with self._lock:
                self._checks.pop(name, None)  # a file may be put back
            raise error if isinstance(error, PageError) else PageError(f"{name} cannot be checked: {error}")
        found = check.found.result()
        if found.rows != rows:
            raise PageError(f"{name} has {found.rows} rows; the grid in the request asks for {rows}")
        return True

    def load(self, name: str, *, device: str, dtype: torch.dtype, until: float = 0.0) -> Tensor:
        """Its numbers, as `load_page`. Raises PageError.

        Where the place of pages is down it is tried again `until` then, in seconds of the monotonic clock, or until
        `close`. A try that has begun by then goes on to its own end.
        """
        pause = PAUSE_SECONDS
        while True:
            try:
                return load_page(self.find(name), device=device, dtype=dtype)
            except PlaceDownError as error:
                left = until - time.monotonic()
                if left <= 0 or self._closed.is_set():
                    raise
                log.warning("waiting for the place of pages: %s", error)
                if self._closed.wait(min(pause, left)):
                    raise
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Waits for nothing, and ends the waiting of others."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.blobs.close()

    def _check(self, name: str) -> _Found:
        page = self.find(name)
        read_parts(page)
        return _Found(page.rows, time.monotonic())
