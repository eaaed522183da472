"""Owns the joining of what several requests ask for at once: while one batch is worked on, the next one gathers.

Coroutines wait for nothing but their batch, and a batch takes one thread: threads that wait for each other, and take
turns in Python, cost a search as much again as its work.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 16  # items of a batch


class Gathered(Generic[Item, Result]):
    """Calls a function of many items, in a thread, for coroutines of one event loop that bring one each.

    One that comes alone waits for nobody. Items of different places are never in one batch.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._work = work
        self._waiting: dict[Hashable, list[tuple[Item, asyncio.Future[Result]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps none

    async def __call__(self, item: Item, place: Hashable = None) -> Result:
        """The item's result. Raises what the work on it raised."""
        mine: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if place in self._waiting:
            self._waiting[place].append((item, mine))
        else:
            self._waiting[place] = [(item, mine)]
            task = asyncio.create_task(self._run(place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await mine

    async def _run(self, place: Hashable) -> None:
        """Batch after batch, until nobody waits."""
        while waiting := self._waiting[place]:
            batch, self._waiting[place] = waiting[:MOST], waiting[MOST:]
            try:
                outcomes = await run_in_threadpool(self._outcomes, [item for item, _ in batch])
            except Exception as error:  # there is no thread for it, say
                outcomes = [error] * len(batch)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.done():  # its request is gone
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
        del self._waiting[place]

    def _outcomes(self, items: Sequence[Item]) -> list[Result | BaseException]:
        """Each one's result or error. Where a batch fails, each is tried alone: only what cannot be done may fail."""
        try:
            return list(self._work(items))
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [outcome for item in items for outcome in self._outcomes([item])]
        except BaseException as error:  # a panic of a native library, say: nobody may be left waiting for it
            return [error] * len(items)
