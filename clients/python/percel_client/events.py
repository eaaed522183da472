"""Owns server-sent events: bytes in, events out, and what the events of Percel mean. Does no input or output itself."""

import json
from dataclasses import dataclass

from percel_client.errors import BY_STATUS, ApiError, UnexpectedAnswer
from percel_client.models import Answer, AnswerDelta, Document
from percel_client.reading import read


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: str


class EventDecoder:
    """Cuts a stream into events.

    Lines end at CR, LF or both and nowhere else: JSON may hold other characters that `str.splitlines` cuts at.
    """

    def __init__(self) -> None:
        self._rest = b""  # of a line whose end has not come
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Event | None]:
        """The events that the next bytes complete; bytes may end anywhere. [None] for bytes that complete none.

        So that who waits gets to look at the clock when the server says only that it is still there.
        """
        lines = (self._rest + chunk).replace(b"\r\n", b"\n")
        # A CR at the very end may be the first half of CR LF: it waits for the next bytes.
        held = b"\r" if lines.endswith(b"\r") else b""
        *whole, rest = lines.removesuffix(b"\r").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + held
        events = [self._line(line.decode("utf-8", "replace")) for line in whole]
        return [event for event in events if event is not None] or [None]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._end()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None  # comments keep the connection open; id and retry are for clients that reconnect by themselves

    def _end(self) -> Event | None:
        event = Event(self._name or "message", "\n".join(self._data)) if self._data else None
        self._name, self._data = "", []
        return event


def document_of(event: Event | None) -> Document | None:
    """The document that an event tells of; None for other events. Raises NotFound for one that was deleted."""
    if event is not None and event.name == "deleted":
        raise _problem(_json(event), status=404, title="Not found")
    return read(Document, _json(event)) if event is not None and event.name == "document" else None


def answer_part_of(event: Event | None) -> AnswerDelta | Answer | None:
    """The next piece of an answer, or all of it at the end; None for events about the search.

    Raises the error that an `error` event tells of: a stream has its status before anything can go wrong in it.
    """
    if event is None:
        return None
    if event.name == "answer":
        return read(AnswerDelta, _json(event))
    if event.name == "done":
        return read(Answer, _json(event))
    if event.name == "error":
        raise _problem(_json(event))
    return None


def _problem(value: object, *, status: int = 500, title: str = "Error") -> ApiError:
    entries = value if isinstance(value, dict) else {}
    told = entries.get("status", status)
    status = told if isinstance(told, int) else status
    kind = BY_STATUS.get(status, ApiError)
    return kind(status, str(entries.get("title", title)), detail=str(entries.get("detail", "")))


def _json(event: Event) -> object:
    try:
        value: object = json.loads(event.data)
    except ValueError as error:
        raise UnexpectedAnswer(f"the event {event.name} holds {event.data[:80]!r}, which is no JSON") from error
    return value
