"""Owns server-sent events: a document that is followed, an answer as it is made."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator

from fastapi import Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.answer import AnswerReport
from api.schemas import AnswerOut, DocumentOut
from store.errors import NotFound

POLL_SECONDS = 0.3
ENDED = ("ready", "failed")


async def document_events(look: Callable[[], DocumentOut], request: Request) -> EventSourceResponse:
    """`document` at each change; the stream ends with its journey. Raises NotFound for one that is not there now."""
    first = await run_in_threadpool(look)  # before the answer starts: what is wrong has a status

    async def follow() -> AsyncIterator[ServerSentEvent]:
        current = first
        yield _event("document", current.model_dump_json())
        while current.state not in ENDED and not await request.is_disconnected():
            await asyncio.sleep(POLL_SECONDS)
            try:
                found = await run_in_threadpool(look)
            except NotFound as error:
                yield _event("deleted", json.dumps({"detail": str(error)}))
                return
            if found != current:
                current = found
                yield _event("document", current.model_dump_json())

    return EventSourceResponse(follow(), ping=15)


def answer_events(report: AnswerReport) -> EventSourceResponse:
    """`search` with what was loaded, `answer` piece by piece, `done` with the whole answer."""
    whole = AnswerOut.of(report)

    async def tell() -> AsyncIterator[ServerSentEvent]:
        yield _event("search", whole.context.model_dump_json())
        for piece in pieces_of(report.answer):
            yield _event("answer", json.dumps({"text": piece}))
        yield _event("done", whole.model_dump_json())

    return EventSourceResponse(tell(), ping=15)


def pieces_of(answer: str) -> Iterator[str]:
    """An answer in the pieces that are streamed: its lines, which together are the answer to the letter."""
    yield from answer.splitlines(keepends=True)


def _event(name: str, data: str) -> ServerSentEvent:
    return ServerSentEvent(data=data, event=name)
