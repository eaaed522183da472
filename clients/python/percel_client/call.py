"""Owns what a call to Percel is: what to send, whether it may be sent twice, and how its answer is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Generic, TypeVar

import httpx

from percel_client.errors import BY_STATUS, ApiError, ConnectionFailed, UnexpectedAnswer
from percel_client.models import Page
from percel_client.retries import Outcome, retry_after

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class File:
    """A file to send: its name, by which its format may be known, and its bytes."""

    name: str
    content: bytes | BinaryIO


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, object] | None = None
    form: Mapping[str, str] | None = None
    files: Sequence[tuple[str, File]] = ()  # (field, file)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True  # sent twice it does what it does when sent once


def at_cursor(call: Call[Page[T]], cursor: str) -> Call[Page[T]]:
    """The same list, from the cursor on."""
    return replace(call, params={**call.params, "cursor": cursor})


def build(call: Call[T], http: httpx.Client | httpx.AsyncClient, *, timeout: float | None = None) -> httpx.Request:
    """The request of a call; a timeout given here takes the place of the client's own."""
    return http.build_request(
        call.method,
        call.path,
        params=call.params or None,
        json=call.json,
        data=call.form,
        files=[(name, (file.name, file.content)) for name, file in call.files] or None,
        headers=call.headers,
        timeout=httpx.USE_CLIENT_DEFAULT if timeout is None else timeout,
    )


def answered(outcome: Outcome) -> httpx.Response:
    """The answer, if it is a good one. Raises ConnectionFailed, UnexpectedAnswer or ApiError."""
    if isinstance(outcome, httpx.RequestError):
        raise no_answer(outcome) from outcome
    if outcome.is_success:
        return outcome
    if outcome.has_redirect_location:  # not followed: an upload would be sent once more, and the key to who knows where
        raise UnexpectedAnswer(f"{outcome.request.url} is redirected to {outcome.headers['location']}")
    raise problem(outcome)


def no_answer(error: httpx.RequestError) -> ConnectionFailed:
    """What the error of the HTTP library is to a caller."""
    request = f"{error.request.method} {error.request.url}"
    return ConnectionFailed(request, str(error) or type(error).__name__)


def problem(response: httpx.Response) -> ApiError:
    """The typed error of a problem answer, or of what something in front of Percel said instead."""
    try:
        entries = response.json()
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, dict):
        entries = {"detail": response.text[:200]}
    errors = entries.get("errors")
    kind = BY_STATUS.get(response.status_code, ApiError)
    return kind(
        response.status_code,
        str(entries.get("title") or response.reason_phrase or "Error"),
        detail=str(entries.get("detail") or ""),
        type=str(entries.get("type") or "about:blank"),
        instance=entries.get("instance"),
        errors=[entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else (),
        retry_after=retry_after(response),
    )


def body(response: httpx.Response) -> object:
    """The JSON of an answer."""
    try:
        parsed: object = response.json()
    except (ValueError, RecursionError) as error:
        shown = response.text[:80]
        raise UnexpectedAnswer(f"{response.request.url} answered {shown!r}, which is no JSON") from error
    return parsed


def event_stream(response: httpx.Response) -> None:
    """Raises UnexpectedAnswer for an answer that is not a stream of events."""
    _be(response, "text/event-stream", "a stream of events")


def png(response: httpx.Response) -> bytes:
    """The image that an answer is."""
    _be(response, "image/png", "an image")
    return response.content


def safetensors(response: httpx.Response) -> bytes:
    """The file that an answer is."""
    _be(response, "application/octet-stream", "a file")
    return response.content


def nothing(response: httpx.Response) -> None:
    """For answers that say nothing but that it was done; the page of a login says nothing of the kind."""
    if response.status_code != httpx.codes.NO_CONTENT:
        raise UnexpectedAnswer(f"{response.request.url} answered {response.text[:80]!r} where nothing is to be said")


def _be(response: httpx.Response, media_type: str, said: str) -> None:
    found = response.headers.get("content-type", "")
    if not found.startswith(media_type):
        raise UnexpectedAnswer(f"{response.request.url} answered {found!r} instead of {said}")
