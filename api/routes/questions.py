"""Owns the routes that ask: search and ask."""

from fastapi import APIRouter, Response

from api.access import Opened, Reader, find_home
from api.answer import ask, ask_steps
from api.events import answer_events
from api.reports import Question
from api.schemas import AnswerOut, AskIn, HitOut, Hits, SearchIn
from api.search import search

router = APIRouter(prefix="/v1", tags=["questions"])


@router.post("/search", summary="Find chunks")
def find(resources: Opened, caller: Reader, body: SearchIn) -> Hits:
    """Chunks by meaning and words together, best first."""
    home = find_home(resources, caller, body.collection)
    hits = search(resources, caller.tenant, body.query, home=home, k=body.k, where=body.filter)
    return Hits(hits=[HitOut.of(hit) for hit in hits])


@router.post("/ask", response_model=AnswerOut, summary="Answer a question")
def answer(resources: Opened, caller: Reader, body: AskIn) -> AnswerOut | Response:
    """An answer out of the caches, with its places in the sources; with `stream` in server-sent events as it grows."""
    find_home(resources, caller, body.collection)
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
        return answer_events(ask_steps(resources, asked))
    return AnswerOut.of(
        ask(
            resources,
            caller.tenant,
            body.question,
            collection=body.collection,
            k=body.k,
            whole=body.whole,
            where=body.filter,
            decoder_name=body.decoder,
            budget=body.budget,
        )
    )
