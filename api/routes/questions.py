"""Owns the routes that ask: search, ask and context."""

import os
from collections.abc import Iterator
from typing import IO

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.access import Opened, Reader, find_home
from api.answer import ask_steps
from api.answering import answering_of
from api.context import open_context
from api.events import answer_events
from api.reports import Question
from api.schemas import AnswerOut, AskIn, ContextIn, Hits, SearchIn
from api.searches import Searches

PIECE = 1 << 20  # bytes sent at a time
CONTEXT_TYPE = "application/octet-stream"  # safetensors has no media type of its own
CONTEXT_FILE = (
    "A safetensors file. `tokens` (n, width) float16 holds the chunks' vision tokens one after the other. The metadata "
    "has `asked` and `chunks`, both JSON: of each chunk `document_id`, `title`, `chunk`, `codec` and `rate` that it "
    "stands at, `stored_rate`, `first` row, `vision_tokens` (rows from there on) and `text_tokens`."
)

STREAMED: dict[int | str, dict[str, object]] = {
    200: {
        "description": (
            "The answer. With `stream` events: `search` with what was loaded, `answer` with each next piece of `text`, "
            "`done` with the whole answer, `error` with a problem."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(prefix="/v1", tags=["questions"])


def searches_of(request: Request) -> Searches:
    """What joins the searches of this process."""
    searches = request.app.state.searches
    assert isinstance(searches, Searches)
    return searches


@router.post("/search", response_model=Hits, summary="Find chunks")
async def find(request: Request, caller: Reader, body: SearchIn) -> Response:
    """Chunks by meaning and words together, best first."""
    collection = caller.require(body.collection)
    hits = await searches_of(request)(
        caller.tenant, collection, body.query, k=body.k, where=body.filter, gone=request.is_disconnected
    )
    return Response(Hits.json_of(hits), media_type="application/json")


@router.post("/ask", response_model=AnswerOut, summary="Answer a question", responses=STREAMED)
async def answer(request: Request, resources: Opened, caller: Reader, body: AskIn) -> AnswerOut | Response:
    """An answer out of the caches, with its places in the sources; with `stream` in server-sent events as it grows."""
    await run_in_threadpool(find_home, resources, caller, body.collection)
    answering = answering_of(request)
    asked = Question(
        body.question,
        caller.tenant,
        body.collection,
        body.k,
        body.whole,
        where=body.filter,
        decoder=body.decoder,
        budget=body.budget,
    )
    if body.stream:
        return await answer_events(ask_steps(resources, asked), answering)
    report = await answering.whole(ask_steps(resources, asked), gone=request.is_disconnected)
    return AnswerOut.of(report)


@router.post(
    "/context",
    summary="Load the context of a question",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": CONTEXT_FILE,
            "content": {CONTEXT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def context(resources: Opened, caller: Reader, body: ContextIn) -> StreamingResponse:
    """The native vision tokens of the chunks that fit, best first, or of a whole collection as it arrived.

    For a decoder of your own. Nothing is encoded anew. With a budget the least relevant chunks are merged to higher
    rates until all of them fit.
    """
    find_home(resources, caller, body.collection)
    asked = Question(
        body.question, caller.tenant, body.collection, body.k, body.whole, where=body.filter, budget=body.budget
    )
    file = open_context(resources, asked)
    headers = {
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "Content-Disposition": 'attachment; filename="context.safetensors"',
    }
    return StreamingResponse(_pieces_of(file), media_type=CONTEXT_TYPE, headers=headers)


def _pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
