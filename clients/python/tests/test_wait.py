"""Waiting for a document, with both clients."""

import re
import time

import httpx
import pytest
from both import make
from stub import event_stream, problem, sse

from percel_client import Conflict, ConnectionFailed, DocumentFailed, NotFound, WaitTimeout


def test_progress_is_told_until_the_document_is_ready(percel):
    told = []
    document = percel.upload_and_wait(
        b"alpha", collection="c", name="a.txt", on_progress=lambda document: told.append(document.state)
    )
    assert document.state == "ready"
    assert told == ["queued", "parsing", "encoding", "ready"]


def test_where_events_do_not_come_through_the_document_is_looked_at(percel, stub):
    stub.events_work = False
    told = []
    document = percel.upload_and_wait(
        b"alpha", collection="c", name="a.txt", on_progress=lambda document: told.append(document.state)
    )
    assert document.state == "ready"
    assert told == ["queued", "parsing", "encoding", "ready"]


def test_a_stream_that_breaks_is_followed_by_looking(percel, stub):
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    stub.next_answers.append(lambda request: event_stream(sse("document", stub.documents["d1"])))
    assert percel.wait(document.id).state == "ready"


def test_a_document_that_cannot_be_read_says_why(percel, stub):
    stub.script = ("parsing", "failed")
    with pytest.raises(DocumentFailed, match=re.escape("a.txt (d1) failed: page 3 is damaged")) as caught:
        percel.upload_and_wait(b"alpha", collection="c", name="a.txt")
    assert caught.value.document.error == "page 3 is damaged"


def test_a_wait_ends_in_time_and_the_work_goes_on(percel, stub):
    stub.script = ("encoding",)
    with pytest.raises(WaitTimeout, match=r"Document d1 is not ready after 0.5 s: it is encoding") as caught:
        percel.upload_and_wait(b"alpha", collection="c", name="a.txt", timeout=0.5)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.document.state == "encoding"


def test_a_server_that_only_says_it_is_there_does_not_hold_up_the_end_of_a_wait(percel, stub):
    stub.script = ("encoding",)
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    stub.next_answers.append(lambda request: event_stream(": still here\n\n"))
    with pytest.raises(WaitTimeout, match="is not ready after 0 s"):
        percel.wait(document.id, timeout=0)


def test_a_document_deleted_meanwhile_is_not_waited_for(percel, stub):
    gone = problem(404, "Not Found", "There is no document 'd1'.")
    stub.next_answers.extend([lambda request: gone, lambda request: gone])
    with pytest.raises(NotFound, match="There is no document 'd1'"):
        percel.wait("d1")


def test_what_goes_wrong_in_the_callback_comes_out_of_the_wait(percel):
    def look_elsewhere(document):
        if document.state == "encoding":
            raise Conflict(409, "Conflict", detail="The callback's own.")

    with pytest.raises(Conflict, match="The callback's own"):
        percel.upload_and_wait(b"alpha", collection="c", name="a.txt", on_progress=look_elsewhere)


def test_a_document_that_was_there_already_is_not_asked_for_again(percel, stub):
    document = percel.upload_and_wait(b"alpha", collection="c", name="a.txt")
    asked = len(stub.requests)
    assert percel.upload_and_wait(b"alpha", collection="c", name="a.txt") == document
    assert len(stub.requests) == asked + 1


def test_events_tell_each_change(percel, stub):
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    assert [seen.state for seen in percel.events(document.id)] == ["parsing", "encoding", "ready"]
    assert stub.requests[-1].headers["accept"] == "text/event-stream"


def test_events_of_a_document_that_is_deleted_end_with_that(percel, stub):
    told = sse("document", percel_document()), sse("deleted", {"detail": "There is no document 'd1'."})
    stub.next_answers.append(lambda request: event_stream(*told))
    with pytest.raises(NotFound, match="404 Not found: There is no document 'd1'"):
        list(percel.events("d1"))


def test_events_that_are_cut_off_are_an_error(percel, stub):
    def cut(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Cut(request))

    stub.next_answers.append(cut)
    with pytest.raises(ConnectionFailed, match=r"got no answer .the server went away"):
        list(percel.events("d1"))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_events_may_be_silent_for_longer_than_a_client_waits_for_answers(stub, kind):
    percel = make(kind, stub, timeout=5.0)
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    assert [seen.state for seen in percel.events(document.id)] == ["parsing", "encoding", "ready"]
    percel.close()
    upload, events = (request.extensions["timeout"]["read"] for request in stub.requests)
    assert (upload, events) == (5.0, 60.0)  # the server gives a sign every 15 s


def test_events_that_end_before_the_document_did_are_an_error(percel, stub):
    stub.next_answers.append(lambda request: event_stream(sse("document", percel_document())))
    with pytest.raises(ConnectionFailed, match=r"^The stream ended before the document did: the server was stopped"):
        list(percel.events("d1"))


def test_a_server_that_hangs_does_not_hold_up_the_end_of_a_wait(percel, stub):
    def hang(request: httpx.Request) -> httpx.Response:
        time.sleep(0.05)
        raise httpx.ReadTimeout("timed out", request=request)

    stub.next_answers.extend([hang, hang])
    with pytest.raises(WaitTimeout, match=r"Document d1 is not ready after 0.1 s: nothing was heard of it"):
        percel.wait("d1", timeout=0.1)
    events, look = (request.extensions["timeout"]["read"] for request in stub.requests)
    assert events <= 0.1
    assert look == 2.0  # not the client's 60 s


def test_a_wait_ends_in_time_between_two_signs_that_the_server_is_there(percel, stub):
    document = percel.upload(b"alpha", collection="c", name="a.txt")
    stub.script = ()
    stub.states["d1"].clear()
    stub.next_answers.append(
        lambda request: httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_Signs())
    )
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match="Document d1 is not ready after 2 s: it is queued"):
        percel.wait(document.id, timeout=2.0)
    assert time.monotonic() - begun < 2.6


class _Signs(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Signs of life at 1.2 and 2.9 seconds."""

    def __iter__(self):
        for seconds in (1.2, 1.7):
            time.sleep(seconds)
            yield b": here\n\n"

    async def __aiter__(self):
        for chunk in self:
            yield chunk


def percel_document() -> dict[str, object]:
    return {"id": "d1", "collection": "c", "title": "a.txt", "state": "parsing"}


class _Cut(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, request: httpx.Request) -> None:
        self.request = request

    def __iter__(self):
        yield b": here\n\n"
        raise httpx.ReadError("the server went away", request=self.request)

    async def __aiter__(self):
        for chunk in self:
            yield chunk
