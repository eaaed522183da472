"""Owns the clock: seconds by step, added up over a run and told to who observes; safe to use from several threads."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from workers.tracing import span

if TYPE_CHECKING:
    from workers.resources import Resources

P = ParamSpec("P")
R = TypeVar("R")
Observer = Callable[[str, float], None]  # step, seconds


class Timings:
    """Wall-clock seconds by name, and since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._observers: tuple[Observer, ...] = ()
        self._lock = threading.Lock()

    def observe(self, observer: Observer) -> None:
        """Tells the observer of every step that ends from now on, in the thread it ended in."""
        with self._lock:
            self._observers += (observer,)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Adds the block's time to a step, which is a span of its trace."""
        start = time.perf_counter()
        try:
            with span(f"percel.{name}"):
                yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Adds to a step what took so long elsewhere."""
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
        for observer in self._observers:
            observer(name, seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by step, rounded to the millisecond, in the order of their first end."""
        with self._lock:
            return {name: round(value, 3) for name, value in self._seconds.items()}

    def with_total(self) -> dict[str, float]:
        """The same, and under `total` how long ago the clock was made; steps may overlap or leave gaps."""
        return {**self.seconds, "total": round(time.perf_counter() - self._start, 3)}


def measured(
    step: str,
) -> Callable[[Callable[Concatenate["Resources", P], R]], Callable[Concatenate["Resources", P], R]]:
    """Makes every call of a function that is given resources first a step of their timings."""

    def around(function: Callable[Concatenate["Resources", P], R]) -> Callable[Concatenate["Resources", P], R]:
        @wraps(function)
        def timed(resources: "Resources", /, *args: P.args, **kwargs: P.kwargs) -> R:
            with resources.timings.step(step):
                return function(resources, *args, **kwargs)

        return timed

    return around
