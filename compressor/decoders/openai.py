"""Owns the talk with a server that speaks OpenAI's language: one chat completion, streamed, and what goes wrong."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx

from compressor.decoders.names import REMOTE
from compressor.errors import RemoteNonsense, RemoteSlow, RemoteUnreachable

CONNECT_SECONDS = 5.0
LONGEST = 1_000_000  # characters of an answer; a server that goes on beyond is not answering

Part = Mapping[str, object]  # of a message, in OpenAI's shape


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where a model is served, and for how long it is waited for."""

    url: str  # of the API's root, without a slash at its end
    model: str  # "": the first that the server lists
    key: str
    seconds: float  # for all of an answer


def remote_model(name: str, *, key: str, seconds: float) -> RemoteModel:
    """The model behind "openai:http://host:port/v1#model"."""
    url, _, model = name.removeprefix(REMOTE).partition("#")
    return RemoteModel(url.rstrip("/"), model, key, seconds)


def stream_chat(remote: RemoteModel, instructions: str, content: Sequence[Part], *, limit: int) -> Iterator[str]:
    """The answer to one message, in pieces as the server gives them, of at most `limit` tokens.

    Raises RemoteUnreachable, RemoteSlow, RemoteNonsense.
    """
    until = time.monotonic() + remote.seconds
    headers = {"Authorization": f"Bearer {remote.key}"} if remote.key else {}
    timeout = httpx.Timeout(remote.seconds, connect=CONNECT_SECONDS)
    try:
        with httpx.Client(headers=headers, timeout=timeout) as client:
            request = {
                "model": remote.model or _first_model(client, remote),
                "messages": [{"role": "system", "content": instructions}, {"role": "user", "content": list(content)}],
                "temperature": 0,
                "max_tokens": limit,
                "stream": True,
            }
            with client.stream("POST", f"{remote.url}/chat/completions", json=request) as answer:
                yield from _pieces(remote, answer, until)
    except httpx.TimeoutException as error:
        raise RemoteSlow(f"{remote.url} gave no answer in {remote.seconds:g} s (PERCEL_OPENAI_SECONDS)") from error
    except httpx.TransportError as error:
        raise RemoteUnreachable(f"{remote.url} cannot be reached: {error}; is the server running?") from error


def _first_model(client: httpx.Client, remote: RemoteModel) -> str:
    answer = client.get(f"{remote.url}/models")
    _check_status(remote, answer)
    try:
        return str(answer.json()["data"][0]["id"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RemoteNonsense(f"{remote.url} lists no model; name one as {REMOTE}{remote.url}#<model>") from error


def _pieces(remote: RemoteModel, answer: httpx.Response, until: float) -> Iterator[str]:
    _check_status(remote, answer)
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        answer.read()
        yield _content(remote, answer.text, "message")  # a server that does not stream
        return
    length = 0
    ended = False
    for line in answer.iter_lines():
        if time.monotonic() > until:
            raise RemoteSlow(f"{remote.url} was not through in {remote.seconds:g} s (PERCEL_OPENAI_SECONDS)")
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            ended = True
            break
        piece = _content(remote, data, "delta")
        length += len(piece)
        if length > LONGEST:
            raise RemoteNonsense(f"{remote.url} answered with more than {LONGEST:,} characters")
        if piece:
            yield piece
    if not ended:
        raise RemoteNonsense(f"{remote.url} broke off in the middle of its answer")


def _check_status(remote: RemoteModel, answer: httpx.Response) -> None:
    if answer.status_code != 200:
        answer.read()
        said = " ".join(answer.text.split())[:300]
        raise RemoteNonsense(f"{remote.url} answered {answer.status_code}: {said or 'nothing more'}")


def _content(remote: RemoteModel, written: str, key: str) -> str:
    """The text in a completion, or in a piece of one; a piece may hold none."""
    try:
        fields = json.loads(written)
        if isinstance(fields, dict) and "error" in fields:
            raise RemoteNonsense(f"{remote.url} answered with an error: {str(fields['error'])[:300]}")
        choices = fields["choices"]
        text = choices[0][key].get("content") if choices else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RemoteNonsense(f"{remote.url} answered with what is no chat completion: {written[:100]!r}") from error
    if text is not None and not isinstance(text, str):
        raise RemoteNonsense(f"{remote.url} answered with a content that is no text: {str(text)[:100]!r}")
    if text is None and key == "message":
        raise RemoteNonsense(f"{remote.url} answered with a message without content")
    return text or ""
