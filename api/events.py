"""Owns server-sent events: a document that is followed, an answer as it is made."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing
from dataclasses import asdict

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.answering import Answering
from api.problems import fault_of
from api.reports import AnswerReport, Step
from api.schemas import AnswerOut, ContextOut, DocumentOut
from store.errors import NotFound

POLL_SECONDS = 0.3  # between two looks at a document; a fifth more after each that finds nothing new
LONGEST_POLL = 2.0  # so that some hundred who wait for documents do not hold up those who ask
ENDED = ("ready", "failed")


async def document_events(look: Callable[[], DocumentOut], request: Request) -> EventSourceResponse:
    """`document` at each change; the stream ends with its journey. Raises NotFound for one that is not there now."""
    first = await run_in_threadpool(look)  # before the answer starts: what is wrong has a status

    async def follow() -> AsyncIterator[ServerSentEvent]:
        current = first
        yield _event("document", current.model_dump_json())
        pause = POLL_SECONDS
        while current.state not in ENDED and not await request.is_disconnected():
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.2)
            try:
                found = await run_in_threadpool(look)
            except NotFound as error:
                yield _event("deleted", json.dumps({"detail": str(error)}))
                return
            if found != current:
                current, pause = found, POLL_SECONDS
                yield _event("document", current.model_dump_json())

    return EventSourceResponse(follow(), ping=15)


async def answer_events(steps: Generator[Step], answering: Answering) -> EventSourceResponse:
    """`search` with what was loaded, `answer` piece by piece as it is made, `done` with the whole answer.

    What goes wrong before the first piece is raised here and has a status; later it is an `error` with the problem.
    """
    loaded = await answering.begin(lambda: next(steps))

    async def tell() -> AsyncIterator[ServerSentEvent]:
        with closing(steps):  # whoever hangs up in the middle must not keep the decoder from the next question
            yield _step_event(loaded)
            try:
                async for step in answering.go_on(steps):
                    yield _step_event(step)
            except Exception as error:
                yield _event("error", json.dumps(asdict(fault_of(error))))

    return EventSourceResponse(tell(), ping=15)


def _step_event(step: Step) -> ServerSentEvent:
    if isinstance(step, str):
        return _event("answer", json.dumps({"text": step}))
    if isinstance(step, AnswerReport):
        return _event("done", AnswerOut.of(step).model_dump_json())
    return _event("search", ContextOut.of(step).model_dump_json())


def _event(name: str, data: str) -> ServerSentEvent:
    return ServerSentEvent(data=data, event=name)
