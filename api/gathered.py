"""Owns the joining of what several requests ask for at once: while one batch is worked on, the next one gathers.

Coroutines wait for nothing but their batch, and a batch takes one thread: threads that wait for each other, and take
turns in Python, cost a search as much again as its work.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from api.errors import TooBusy
from store.errors import DatabaseUnreachable

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = TypeVar("Batch")
Outcome = TypeVar("Outcome")

MOST = 16  # items of a batch
LONG_SECONDS = 1.0  # who waited for longer may have given up: that is looked at before the work


@dataclass(frozen=True, slots=True)
class _Brought(Generic[Item, Result]):
    """A coroutine's item, and what becomes of it."""

    item: Item
    future: asyncio.Future[Result]
    context: Context  # with the id that its request's log lines carry
    gone: Callable[[], Awaitable[bool]] | None
    since: float

    async def is_gone(self) -> bool:
        """Whether nobody waits for it any more, as far as one can know."""
        return self.gone is not None and time.monotonic() - self.since > LONG_SECONDS and await self.gone()


class InThread(Protocol):
    """Does work in a thread."""

    async def __call__(self, work: Callable[[Batch], Outcome], batch: Batch, /) -> Outcome:
        """What `work` makes of a batch. Raises as `work`."""
        ...


class Gathered(Generic[Item, Result]):
    """Calls a function of many items, in a thread, for coroutines of one event loop that bring one each.

    One that comes alone waits for nobody. Items of different places are never in one batch. What a batch logs goes by
    the first one in it.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Result]], *, in_thread: InThread = run_in_threadpool
    ) -> None:
        """`in_thread`: where a batch's work is done, or else in the threads of all requests."""
        self._work = work
        self._in_thread = in_thread
        self._waiting: dict[Hashable, deque[_Brought[Item, Result]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps none

    async def __call__(
        self, item: Item, place: Hashable = None, *, gone: Callable[[], Awaitable[bool]] | None = None
    ) -> Result:
        """The item's result; `gone` tells whether its caller gave up. Raises what the work on it raised."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        mine = _Brought(item, future, copy_context(), gone, time.monotonic())
        if place in self._waiting:
            self._waiting[place].append(mine)
        else:
            self._waiting[place] = deque([mine])
            task = asyncio.create_task(self._run(place))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self, place: Hashable) -> None:
        """Batch after batch, until nobody waits."""
        while self._waiting[place]:
            batch = await self._next_batch(self._waiting[place])
            if not batch:
                continue
            try:
                outcomes = await self._in_thread(self._outcomes, batch)
            except Exception as error:  # there is no thread for it, say
                outcomes = [error] * len(batch)
            for one, outcome in zip(batch, outcomes, strict=True):
                if one.future.done():  # its request is gone
                    continue
                if isinstance(outcome, BaseException):
                    one.future.set_exception(outcome)
                else:
                    one.future.set_result(outcome)
        del self._waiting[place]

    async def _next_batch(self, waiting: deque[_Brought[Item, Result]]) -> list[_Brought[Item, Result]]:
        """The first ones that somebody still waits for: work for others would make those give up, too."""
        batch: list[_Brought[Item, Result]] = []
        while waiting and len(batch) < MOST:
            one = waiting.popleft()
            is_gone = await one.is_gone()
            if one.future.done():
                continue
            if is_gone:
                one.future.set_exception(TooBusy())  # an answer that nobody hears
            else:
                batch.append(one)
        return batch

    def _outcomes(self, batch: Sequence[_Brought[Item, Result]]) -> list[Result | BaseException]:
        """Each one's result or error. Where a batch fails, each is tried alone: only what cannot be done may fail."""
        try:
            results = batch[0].context.run(self._work, [one.item for one in batch])
            return [result for _, result in zip(batch, results, strict=True)]
        except DatabaseUnreachable as error:  # by whoever asks, and to find out takes seconds each time
            return [error] * len(batch)
        except StopIteration as error:  # no future takes one
            failed: Exception = RuntimeError(f"unexpected {error!r}")
            failed.__cause__ = error
        except Exception as error:
            failed = error
        except BaseException as error:  # a panic of a native library, say: nobody may be left waiting for it
            return [error] * len(batch)
        if len(batch) == 1:
            return [failed]
        # Here, not above: there each one's error would come out of the batch's, which is another request's.
        return [outcome for one in batch for outcome in self._outcomes([one])]
