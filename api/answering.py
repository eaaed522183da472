"""Owns the threads that answers take at the service, apart from those of all other requests.

An answer waits until its model is through with the one before, and a stream goes on in a thread for each piece. Were
these the same few threads, those that wait would take all of them, and the one that they wait for could not go on.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import closing
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from api.errors import TooBusy
from api.reports import AnswerReport, Step

ANSWERS = 32  # begun at once, and as many that go on; the others wait without a thread

Result = TypeVar("Result")


class Answering:
    """The threads of one application's answers. Made and used in its event loop."""

    def __init__(self) -> None:
        self._begin = CapacityLimiter(ANSWERS)
        self._go_on = CapacityLimiter(ANSWERS)

    async def begin(self, work: Callable[[], Result]) -> Result:
        """What `work` returns: an answer, or its first step. It may wait for a model. Raises as `work`."""
        return await to_thread.run_sync(work, limiter=self._begin)

    async def whole(self, steps: Generator[Step], *, gone: Callable[[], Awaitable[bool]]) -> AnswerReport:
        """All of an answer; `gone` tells whether its caller gave up: then the rest is not made.

        Raises as `steps`, and TooBusy, which nobody hears.
        """
        with closing(steps):
            last = await self.begin(lambda: next(steps))
            async for step in self.go_on(steps):
                last = step
                if await gone():
                    raise TooBusy
        assert isinstance(last, AnswerReport), "the whole answer comes last"
        return last

    async def go_on(self, steps: Iterator[Result]) -> AsyncIterator[Result]:
        """What else there is of an answer that has begun; it waits for no other answer. Raises as `steps`."""
        while (step := await to_thread.run_sync(lambda: next(steps, None), limiter=self._go_on)) is not None:
            yield step


def answering_of(request: Request) -> Answering:
    """The threads that answers of this process take."""
    answering = request.app.state.answering
    assert isinstance(answering, Answering)
    return answering
