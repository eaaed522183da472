"""Owns the routes in OpenAI's shape: a model is a collection, the answer that of its decoder, with citations beside it.

What cannot be honoured is answered with 400, never ignored. Answers are quoted, or a model's likeliest words: there is
no temperature, no system message is followed, and each turn is answered on its own.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.access import Opened, Reader, find_home
from api.answer import ask_steps
from api.answering import Answering, answering_of
from api.openaishape import FAULT, fault
from api.plain import plain
from api.problems import Told, fault_of
from api.reports import AnswerReport, Question, Step
from api.schemas import LONGEST, citations_of
from compressor.decoders.names import QUOTING
from store import catalog
from store.database import reading
from store.errors import NotFound

router = APIRouter(prefix="/v1", tags=["openai"])

COMPLETIONS = "/chat/completions"
PATH = f"{router.prefix}{COMPLETIONS}"
RESPONSES: dict[int | str, dict[str, object]] = {
    "default": {"description": "An error in OpenAI's shape", "content": {"application/json": {"schema": FAULT}}}
}
STREAMED: dict[int | str, dict[str, object]] = {
    200: {
        "description": "A completion; with `stream` its chunks as events, and `[DONE]` at the end",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
NO_ANSWER = "Nothing in the collection answers this."
# Values that say what happens anyway are welcome; anything else asks for what is not there.
AS_IT_IS: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "temperature": (0, 0.0),
    "top_p": (1, 1.0),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logprobs": (False,),
    "store": (False,),
    "tools": ([],),
    "stop": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
OURS = "citations"  # what our answers have besides OpenAI's fields, also where they come back as earlier turns
IDENTIFYING = ("user", "metadata", "safety_identifier")  # about the caller, not about the answer


Plain = Annotated[str, AfterValidator(plain)]


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: Plain


class ChatMessage(BaseModel):
    """A message; the last one of the user is the question. Further fields are looked at one by one."""

    model_config = ConfigDict(extra="allow")

    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        Annotated[Plain, Tag("text")] | Annotated[list[TextPart], Tag("parts")],
        Discriminator(lambda content: "parts" if isinstance(content, list) else "text"),  # whose faults alone are told
    ]

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream carries besides the answer."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request in OpenAI's shape; further fields are looked at one by one."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=200, description="a collection's name"), AfterValidator(plain)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None


class Refused(Exception):
    """A request that cannot be honoured."""

    def __init__(self, message: str, parameter: str | None) -> None:
        super().__init__(message)
        self.parameter = parameter


def refusal(error: Refused, *, status: int = 400, code: str = "unsupported_value") -> JSONResponse:
    """An error in OpenAI's shape."""
    return Told(fault(str(error), status, param=error.parameter, code=code), status)


def refuse_invalid(faults: Sequence[Mapping[str, str]]) -> JSONResponse:
    """A request that is none of OpenAI's, or asks for what is not there: an image part, a tool's message."""
    at, said = faults[0]["at"].removeprefix("body."), faults[0]["message"]
    if at == "body":
        return refusal(Refused(f"The body {said}.", None))
    return refusal(Refused(f"{at}: {said}", at.partition(".")[0]))


def question_of(body: ChatRequest) -> str:
    """The last message, which must be the user's. Raises Refused for what cannot be honoured."""
    _refuse_fields(body)
    if any(message.role in ("system", "developer") for message in body.messages):
        raise Refused("System messages cannot be followed: answers come from the documents.", "messages")
    last = body.messages[-1]
    if last.role != "user" or not last.text.strip():
        raise Refused("The last message must be the user's, with a question in it.", "messages")
    if len(last.text) > LONGEST:
        raise Refused(f"The question has {len(last.text):,} characters, and at most {LONGEST:,} are read.", "messages")
    return last.text


def _refuse_fields(body: ChatRequest) -> None:
    """Raises Refused for a field that asks for what is not there."""
    for name, value in (body.model_extra or {}).items():
        if name in IDENTIFYING or value is None or value in AS_IT_IS.get(name, ()):
            continue
        if name in AS_IT_IS:
            (only, *_) = AS_IT_IS[name]
            raise Refused(f"{name} can only be {json.dumps(only)}: answers are not sampled.", name)
        raise Refused(f"{name} is not supported by this service.", name)
    if body.stream_options is not None and not body.stream:
        raise Refused("stream_options is for streams: set stream as well.", "stream_options")
    for message in body.messages:
        for name, value in (message.model_extra or {}).items():
            if value is not None and not (message.role == "assistant" and name == OURS):
                raise Refused(f"{name} of a message is not supported by this service.", "messages")


@router.get("/models", summary="List collections as models")
def models(resources: Opened, caller: Reader) -> dict[str, object]:
    """The collections that the key reaches, in OpenAI's shape."""
    with reading(resources.engine) as session:
        homes = [home for home in catalog.list_collections(session, caller.tenant) if caller.reaches(home.name)]
    data = [{"id": h.name, "object": "model", "created": int(h.created_at), "owned_by": "percel"} for h in homes]
    return {"object": "list", "data": data}


@router.get("/models/{model}", summary="Show a collection as a model", response_model=None)
def model(resources: Opened, caller: Reader, model: str) -> dict[str, object] | Response:
    """One collection, in OpenAI's shape."""
    try:
        home = find_home(resources, caller, model)
    except NotFound as error:
        return refusal(Refused(str(error), "model"), status=404, code="model_not_found")
    return {"id": home.name, "object": "model", "created": int(home.created_at), "owned_by": "percel"}


@router.post(COMPLETIONS, summary="Answer in OpenAI's shape", response_model=None, responses=STREAMED)
async def complete(
    request: Request, resources: Opened, caller: Reader, body: ChatRequest
) -> dict[str, object] | Response:
    """Answers the last message out of the collection that `model` names.

    `choices[0].message.citations` says where each quote stands; in a stream the last delta carries them.
    """
    try:
        question = question_of(body)
        await run_in_threadpool(find_home, resources, caller, body.model)
        answering = answering_of(request)
        head: dict[str, object] = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time())}
        head["model"] = body.model
        steps = ask_steps(resources, Question(question, caller.tenant, body.model))
        if body.stream:
            counted = body.stream_options is not None and body.stream_options.include_usage
            await answering.begin(lambda: next(steps))  # before the answer starts: what is wrong has a status
            quoted = resources.settings.decoder == QUOTING
            return _stream(head, _pieces(steps, quoted=quoted), answering, resources if counted else None)
        report = await answering.whole(steps, gone=request.is_disconnected)
    except Refused as error:
        return refusal(error)
    except NotFound as error:
        return refusal(Refused(str(error), "model"), status=404, code="model_not_found")
    message = {"role": "assistant", "content": content_of(report), "refusal": None, **_cited(report)}
    choice = {"index": 0, "message": message, "finish_reason": _finish(report), "logprobs": None}
    usage = await run_in_threadpool(_usage, resources, report)
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}


def content_of(report: AnswerReport) -> str:
    """What the assistant says."""
    return NO_ANSWER if report.abstained else report.answer


def _finish(report: AnswerReport) -> str:
    """Why the assistant says no more."""
    return "length" if report.cut_off else "stop"


def _cited(report: AnswerReport) -> dict[str, object]:
    return {"citations": [citation.model_dump(mode="json") for citation in citations_of(report)]}


def _usage(resources: Opened, report: AnswerReport) -> dict[str, int]:
    """Prompt tokens are the decoder's positions: vision tokens, not the text that they stand for."""
    (said,) = resources.count_tokens([content_of(report)])
    loaded = report.context.vision_tokens
    return {"prompt_tokens": loaded, "completion_tokens": said, "total_tokens": loaded + said}


def _pieces(steps: Generator[Step], *, quoted: bool) -> Generator[Step]:
    """Quotes once it is known that the decoder does not abstain, a model's words as it writes them; then all."""
    if not quoted:
        for step in steps:
            if isinstance(step, AnswerReport) and step.abstained:  # it wrote nothing, or marks alone
                yield NO_ANSWER
            yield step
        return
    *said, report = steps
    assert isinstance(report, AnswerReport), "the whole answer comes last"
    yield from [NO_ANSWER] if report.abstained else said
    yield report


def _stream(
    head: dict[str, object], steps: Generator[Step], answering: Answering, counting: Opened | None
) -> EventSourceResponse:
    """The answer as it is made; `counting` where usage is asked for."""

    def chunk(delta: dict[str, object], finish: str | None = None) -> ServerSentEvent:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _data({**head, "object": "chat.completion.chunk", "choices": [choice]})

    def events_of(step: Step) -> Iterator[ServerSentEvent]:
        if not isinstance(step, AnswerReport):
            yield chunk({"content": step})
            return
        yield chunk(_cited(step), _finish(step))
        if counting is not None:
            usage = _usage(counting, step)
            yield _data({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        yield ServerSentEvent(data="[DONE]")

    async def tell() -> AsyncIterator[ServerSentEvent]:
        with closing(steps):  # whoever hangs up in the middle must not keep the decoder from the next question
            yield chunk({"role": "assistant", "content": ""})
            events = (event for step in steps for event in events_of(step))
            try:
                async for event in answering.go_on(events):
                    yield event
            except Exception as error:
                told = fault_of(error)
                yield _data(fault(told.detail, 500))

    return EventSourceResponse(tell(), ping=15)


def _data(value: dict[str, object]) -> ServerSentEvent:
    return ServerSentEvent(data=json.dumps(value, ensure_ascii=False))
