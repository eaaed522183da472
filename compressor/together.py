"""Owns the joining of what several threads ask for at once: while one batch is worked on, the next one gathers."""

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
        self.woken = threading.Event()  # once it has ended, or its thread is to run the next batch
        self.result: list[Result] = []  # one, once it is there
        self.error: BaseException | None = None


class Together(Generic[Item, Result]):
    """Calls a function of many items for callers of one each. One that comes alone waits for nobody.

    Whoever finds nobody at work works, on all that wait by then. Afterwards the first of those that came meanwhile is
    woken to do the same, so nobody whose result is there waits for another batch.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._work = work
        self._waiting: list[_Asked[Item, Result]] = []
        self._gathering = threading.Lock()
        self._busy = False

    def __call__(self, item: Item) -> Result:
        """The item's result. Raises what the work on it raised."""
        mine: _Asked[Item, Result] = _Asked(item)
        with self._gathering:
            self._waiting.append(mine)
            others, self._busy = self._busy, True
        if others:
            mine.woken.wait()
        if not mine.result and mine.error is None:
            self._run()
        if mine.error is not None:
            raise mine.error
        return mine.result[0]

    def _run(self) -> None:
        """One batch: of those that wait the first ones, this thread's item among them."""
        with self._gathering:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            self._work_on(batch)
        except BaseException as error:  # a panic of a native library, say: nobody may be left waiting for it
            for asked in batch:
                asked.error = error
        with self._gathering:
            self._busy = bool(self._waiting)
            following = self._waiting[:1]
        for asked in [*following, *batch]:
            asked.woken.set()

    def _work_on(self, batch: Sequence[_Asked[Item, Result]]) -> None:
        """Where a batch fails, each is tried alone: only what cannot be done itself may fail."""
        try:
            results = self._work([asked.item for asked in batch])
            for asked, result in zip(batch, results, strict=True):
                asked.result.append(result)
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for asked in batch:
                self._work_on([asked])
