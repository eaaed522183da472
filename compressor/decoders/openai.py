"""Owns the talk with a server that speaks OpenAI's language: one completion, streamed, and what goes wrong."""

import codecs
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from compressor.decoders.names import REMOTE
from compressor.errors import RemoteNonsense, RemoteSlow, RemoteUnreachable
from compressor.said import Said

CONNECT_SECONDS = 5.0
LONGEST = 1_000_000  # characters of an answer; a server that goes on beyond is not answering
LONGEST_LINE = 8 << 20  # characters of what one is wrapped in, or of a list of models
_CUT_CHARACTER = "\ufffd"
_AT_LIMIT = "length"  # the reason of an end that is none

Part = Mapping[str, object]  # of a message, in OpenAI's shape
Fields = dict[str, object]  # of a request or an answer
_Choice = Callable[[Fields, str], object]  # a choice of an answer, and "message" or "delta" -> the text in it


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where a model is served, and for how long it is waited for."""

    url: str  # of the API's root, without a slash at its end
    model: str  # "": the first that the server lists
    key: str
    seconds: float  # for all of an answer


def remote_model(name: str, *, kind: str = REMOTE, key: str, seconds: float) -> RemoteModel:
    """The model behind "openai:http://host:port/v1#model", or behind the same of another kind."""
    url, _, model = name.removeprefix(kind).partition("#")
    return RemoteModel(url.rstrip("/"), model, key, seconds)


def stream_chat(remote: RemoteModel, instructions: str, content: Sequence[Part], *, limit: int) -> Said:
    """The answer to one message, in pieces as the server gives them, of at most `limit` tokens.

    -> whether it is cut off there. Raises RemoteUnreachable, RemoteSlow, RemoteNonsense.
    """
    model = remote.model or _first_model(remote)
    messages = [{"role": "system", "content": instructions}, {"role": "user", "content": list(content)}]
    return (yield from stream(remote, "chat/completions", {"model": model, "messages": messages}, limit=limit))


def stream(remote: RemoteModel, path: str, request: Mapping[str, object], *, limit: int) -> Said:
    """A chat completion ("chat/completions") or a plain one ("completions") in pieces, as `stream_chat`."""
    body = {**request, "temperature": 0, "max_tokens": limit, "stream": True}
    choice = _chat_text if path.startswith("chat/") else _plain_text
    with _talk(remote) as client:
        until = time.monotonic() + remote.seconds  # from here: making a client takes a while on a busy machine
        with client.stream("POST", f"{remote.url}/{path}", json=body) as response:
            return (yield from _pieces(_Answer(remote, response, until), choice))


def list_models(remote: RemoteModel) -> list[Fields]:
    """What the server says of the models that it serves. Raises as `stream_chat`."""
    with _talk(remote) as client:
        until = time.monotonic() + remote.seconds
        with client.stream("GET", f"{remote.url}/models") as response:
            text = _Answer(remote, response, until).read()
    try:
        models = json.loads(text)["data"]
        if not all(isinstance(model["id"], str) for model in models):
            raise TypeError("a model's id is text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RemoteNonsense(f"{remote.url} does not list its models: {text[:100]!r}") from error
    return list(models)


def _first_model(remote: RemoteModel) -> str:
    models = list_models(remote)
    if not models:
        raise RemoteNonsense(f"{remote.url} lists no model; name one as {REMOTE}{remote.url}#<model>")
    return str(models[0]["id"])


@contextmanager
def _talk(remote: RemoteModel) -> Iterator[httpx.Client]:
    """A client of the server; what its transport fails with becomes an error of ours."""
    headers = {"Authorization": f"Bearer {remote.key}"} if remote.key else {}
    timeout = httpx.Timeout(remote.seconds, connect=CONNECT_SECONDS)
    try:
        with httpx.Client(headers=headers, timeout=timeout) as client:
            yield client
    except httpx.TimeoutException as error:
        raise RemoteSlow(f"{remote.url} gave no answer in {remote.seconds:g} s (PERCEL_OPENAI_SECONDS)") from error
    except httpx.DecodingError as error:
        raise RemoteNonsense(f"{remote.url} answered with what cannot be unpacked: {error}") from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise RemoteUnreachable(f"{remote.url} is no address that can be called: {error}") from error
    except httpx.TransportError as error:
        raise RemoteUnreachable(f"{remote.url} cannot be reached: {error}; is the server running?") from error


class _Answer:
    """What a server sends for one request, as far as it is sent in time and is no longer than an answer can be."""

    def __init__(self, remote: RemoteModel, response: httpx.Response, until: float) -> None:
        """Raises RemoteNonsense, with what the server says, for a status that is not 200."""
        self.remote = remote
        self.streams = "text/event-stream" in response.headers.get("content-type", "")
        self._response = response
        self._until = until
        if response.status_code != 200:
            said = _without_key(" ".join(self.read().split()), remote)[:300]
            raise RemoteNonsense(f"{remote.url} answered {response.status_code}: {said or 'nothing more'}")

    def read(self) -> str:
        """All of it. Raises as `lines`."""
        lines, length = [], 0
        for line in self.lines():
            lines.append(line)
            length += len(line) + 1
            if length > LONGEST_LINE:
                raise RemoteNonsense(f"{self.remote.url} answered with more than {LONGEST_LINE:,} characters")
        return "\n".join(lines)

    def lines(self) -> Iterator[str]:
        """Line by line. Raises RemoteSlow, RemoteNonsense; a server may also send no end of a line."""
        line = ""
        # JSON and events are UTF-8; a charset that a server names may be one that is not of text at all.
        for part in codecs.iterdecode(self._response.iter_bytes(), "utf-8", "replace"):
            if time.monotonic() > self._until:
                seconds = f"{self.remote.seconds:g} s (PERCEL_OPENAI_SECONDS)"
                raise RemoteSlow(f"{self.remote.url} was not through in {seconds}")
            *whole, line = (line + part).split("\n")
            if len(line) > LONGEST_LINE:
                raise RemoteNonsense(f"{self.remote.url} sent more than {LONGEST_LINE:,} characters without a line end")
            yield from whole
        yield line


def _pieces(answer: _Answer, choice: _Choice) -> Said:
    remote = answer.remote
    if not answer.streams:
        text, reason = _content(remote, answer.read(), "message", choice)
        piece, cut = _whole_characters(text)
        yield piece + (_CUT_CHARACTER if cut else "")  # a server that does not stream
        return reason == _AT_LIMIT
    length = 0
    ended, reason = False, None
    cut = ""  # the first half of a character
    for line in answer.lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            ended = True
            break
        text, why = _content(remote, data, "delta", choice)
        reason = why or reason
        piece, cut = _whole_characters(cut + text)
        length += len(piece)
        if length > LONGEST:
            raise RemoteNonsense(f"{remote.url} answered with more than {LONGEST:,} characters")
        if piece:
            yield piece
    if not ended and reason is None:  # some servers say why it ends, and not that it does
        raise RemoteNonsense(f"{remote.url} broke off in the middle of its answer")
    if cut:
        yield _CUT_CHARACTER
    return reason == _AT_LIMIT


def _whole_characters(text: str) -> tuple[str, str]:
    """Text that can be sent on, and the half of a character at its end.

    Servers that count in UTF-16 cut pieces between the halves of a character, and JSON lets them; a half that is
    without its other one is no character.
    """
    end = len(text) - 1 if text and "\ud800" <= text[-1] <= "\udbff" else len(text)
    return text[:end].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), text[end:]


def _without_key(said: str, remote: RemoteModel) -> str:
    """What a server says, which may be the key that it was sent; errors are shown to callers and logged."""
    text, _ = _whole_characters(said)
    return text.replace(remote.key, "...") if remote.key else text


def _content(remote: RemoteModel, written: str, key: str, choice: _Choice) -> tuple[str, object]:
    """The text in a completion, or in a piece of one, and why it ends there; a piece may hold neither."""
    try:
        fields = json.loads(written)
        if isinstance(fields, dict) and fields.get("error") is not None:  # some servers name it wherever it is not
            said = _without_key(str(fields["error"]), remote)[:300]
            raise RemoteNonsense(f"{remote.url} answered with an error: {said}")
        choices = fields["choices"]
        text, reason = (choice(choices[0], key), choices[0].get("finish_reason")) if choices else (None, None)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteNonsense(f"{remote.url} answered with what is no chat completion: {written[:100]!r}") from error
    if text is not None and not isinstance(text, str):
        raise RemoteNonsense(f"{remote.url} answered with a content that is no text: {str(text)[:100]!r}")
    if text is None and key == "message":
        raise RemoteNonsense(f"{remote.url} answered with a message without content")
    return text or "", reason


def _chat_text(choice: Fields, key: str) -> object:
    message = choice[key]
    if message is None and key == "delta":  # the last piece of some servers
        return None
    if not isinstance(message, dict):
        raise TypeError("a message is an object")
    return message.get("content")


def _plain_text(choice: Fields, key: str) -> object:
    """A plain completion and its pieces hold their text in the same place."""
    return choice["text"]
