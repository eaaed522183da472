"""Owns what waiting for a document means: when it is over, how long to pause, what to tell meanwhile."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from percel_client.errors import ConnectionFailed, DocumentFailed, WaitTimeout
from percel_client.models import FAILED, Document

Progress = Callable[[Document], None]

SILENCE = 60.0  # seconds without a byte before a stream of events counts as dead
_SIGNS = 15.0  # seconds between two signs that the server is still there
_LAST_LOOK = 2.0  # seconds that a look may take at least, also at the end of a wait
_FIRST_PAUSE = 0.25  # seconds between two looks; grows by half each time
_LONGEST_PAUSE = 5.0


class Watch:
    """One wait for one document."""

    def __init__(self, document_id: str, *, timeout: float | None, on_progress: Progress | None) -> None:
        self.document_id = document_id
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        self._on_progress = on_progress
        self._last: Document | None = None
        self._pause = _FIRST_PAUSE

    @property
    def document(self) -> Document:
        """The document as it was last seen."""
        assert self._last is not None
        return self._last

    def saw(self, document: Document | None) -> bool:
        """Takes note of the document as it is now (None: nothing new); -> whether it is ready.

        Raises DocumentFailed and WaitTimeout.
        """
        if document is None:
            self._check()
            return False
        changed = document != self._last
        self._last = document
        if changed and self._on_progress is not None:
            self._on_progress(document)
        if document.state == FAILED:
            raise DocumentFailed(document)
        if not document.ended:
            self._check()
        return document.ended

    def _check(self) -> None:
        if self._timeout is not None and self._left() <= 0:
            raise WaitTimeout(self.document_id, self._timeout, self._last)

    def silence(self) -> float:
        """Seconds that a stream of events may say nothing."""
        return max(0.001, min(SILENCE, self._left()))

    def outlasts(self, silence: float) -> bool:
        """Whether a stream that may be silent for so long, and just was not, could go on beyond the end of the wait."""
        return self._left() < min(_SIGNS, silence - 1)

    @contextmanager
    def looking(self) -> Iterator[float]:
        """Seconds that a look may take. Raises WaitTimeout for one that got no answer and was the last."""
        try:
            yield max(_LAST_LOOK, self._left())
        except ConnectionFailed:
            self._check()
            raise

    def pause(self) -> float:
        """Seconds until the next look."""
        pause = min(self._pause, max(0.0, self._left()))
        self._pause = min(_LONGEST_PAUSE, self._pause * 1.5)
        return pause

    def _left(self) -> float:
        return float("inf") if self._until is None else self._until - time.monotonic()
