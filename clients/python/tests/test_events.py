"""Server-sent events, cut anywhere."""

import pytest

from percel_client import UnexpectedAnswer
from percel_client.events import Event, EventDecoder, answer_part_of

STREAM = (
    'event: answer\r\ndata: {"text": "a\u2028b\x85"}\r\n\r\n: still here\n\nevent:done\rdata:1\rdata: 2\r\rdata: é\n\n'
)
EVENTS = [Event("answer", '{"text": "a\u2028b\x85"}'), Event("done", "1\n2"), Event("message", "é")]


def decoded(*chunks: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk) if event is not None]


def test_a_stream_is_cut_into_events():
    assert decoded(STREAM.encode()) == EVENTS


def test_bytes_may_end_anywhere():
    whole = STREAM.encode()
    for end in range(len(whole)):
        assert decoded(whole[:end], whole[end:]) == EVENTS, end
    assert decoded(*(whole[at : at + 1] for at in range(len(whole)))) == EVENTS


def test_an_event_without_its_end_is_none():
    assert decoded(b"data: half\n") == []


def test_bytes_that_complete_no_event_are_told_as_none():
    assert EventDecoder().feed(b": still here\n\n") == [None]


def test_an_event_that_is_no_json_is_an_error():
    with pytest.raises(UnexpectedAnswer, match="the event answer holds 'nonsense', which is no JSON"):
        answer_part_of(Event("answer", "nonsense"))
