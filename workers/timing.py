"""Owns the clock: seconds by step, added up over a run; safe to use from several threads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Wall-clock seconds by name."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the block's time to a step."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by step, rounded to the millisecond, in the order of their first end."""
        with self._lock:
            return {name: round(value, 3) for name, value in self._seconds.items()}
