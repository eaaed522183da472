"""Owns the joining of what several threads ask a network at once: while one batch runs, the next one gathers."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 16  # items of a batch


class _Asked(Generic[Item, Result]):
    """One thread's item, and what becomes of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: list[Result] = []  # one, once it is there
        self.error: BaseException | None = None


class Together(Generic[Item, Result]):
    """Calls a function of many items for callers of one each. One that comes alone waits for nobody."""

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._work = work
        self._waiting: list[_Asked[Item, Result]] = []
        self._gathering = threading.Lock()
        self._running = threading.Lock()

    def __call__(self, item: Item) -> Result:
        """The item's result. Raises what the work on its batch raised."""
        mine: _Asked[Item, Result] = _Asked(item)
        with self._gathering:
            self._waiting.append(mine)
        while not mine.result and mine.error is None:
            with self._running:
                if not mine.result and mine.error is None:
                    self._run()
        if mine.error is not None:
            raise mine.error
        return mine.result[0]

    def _run(self) -> None:
        """One batch: of those that wait the first ones."""
        with self._gathering:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if not batch:
            return
        try:
            results = self._work([asked.item for asked in batch])
            for asked, result in zip(batch, results, strict=True):
                asked.result.append(result)
        except BaseException as error:  # a panic of a native library too: nobody may be left waiting for it
            for asked in batch:
                asked.error = error
