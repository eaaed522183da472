"""What is sent again and what is not, and how problems become errors; with both clients."""

import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from both import ADDRESS, make
from stub import problem

from percel_client import (
    ApiError,
    AsyncPercel,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Invalid,
    NotFound,
    Percel,
    Retries,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    requests,
)
from percel_client.retries import retry_after


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


def busy(request: httpx.Request) -> httpx.Response:
    return problem(503, "Unavailable", "The database restarts.", Retry_After="0")


def limited(request: httpx.Request) -> httpx.Response:
    return problem(429, "Too Many Requests", "60 requests a minute are allowed.", Retry_After="0")


def test_reads_are_sent_again_when_the_server_is_busy_or_away(percel, stub):
    stub.next_answers.extend([busy, limited, refuse])
    assert percel.jobs().due == {"parse": 2}
    assert len(stub.requests) == 4


def test_an_upload_is_sent_again_under_the_same_key_with_the_same_bytes(percel, stub, tmp_path):
    (tmp_path / "a.txt").write_text("alpha")
    stub.next_answers.extend([refuse, busy])
    assert percel.upload(tmp_path / "a.txt", collection="c").size == 5
    keys = {request.headers["idempotency-key"] for request in stub.requests}
    assert len(stub.requests) == 3
    assert len(keys) == 1
    assert len({request.content for request in stub.requests}) == 1


def test_two_uploads_have_two_keys_unless_the_caller_names_one(percel, stub):
    percel.upload_text("a", collection="c", title="a")
    percel.upload_text("b", collection="c", title="b")
    percel.upload_text("c", collection="c", title="c", idempotency_key="mine")
    first, second, third = (request.headers["idempotency-key"] for request in stub.requests)
    assert first != second
    assert third == "mine"


def test_an_upload_that_can_be_read_only_once_is_sent_once(percel, stub):
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    stub.next_answers.append(busy)
    with pytest.raises(Unavailable, match="503 Unavailable: The database restarts"):
        percel.upload(Pipe(b"alpha"), collection="c", name="a.txt")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "make_something",
    [
        lambda percel: percel.create_webhook("https://example.org/"),
        lambda percel: percel.create_api_key("ci", scopes=["read"]),
        lambda percel: percel.requeue_dead_job(7),
    ],
)
def test_what_makes_something_new_is_sent_once(percel, stub, make_something):
    stub.next_answers.append(busy)
    with pytest.raises(Unavailable, match="The database restarts"):
        make_something(percel)
    assert len(stub.requests) == 1


def test_attempts_end(percel, stub):
    stub.next_answers.extend([refuse] * 10)
    with pytest.raises(ConnectionFailed, match=r"GET http://percel.test/v1/jobs got no answer .connection refused"):
        percel.jobs()
    assert len(stub.requests) == 4


def test_a_server_that_asks_for_more_patience_than_allowed_is_not_waited_for(percel, stub):
    stub.next_answers.append(lambda request: problem(429, "Too Many Requests", "Quota.", Retry_After="3600"))
    with pytest.raises(TooManyRequests, match="429 Too Many Requests: Quota") as caught:
        percel.jobs()
    assert caught.value.retry_after == 3600
    assert len(stub.requests) == 1


def test_a_server_that_is_at_work_is_not_given_the_same_work_twice(percel, stub):
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out", request=request)

    stub.next_answers.append(late)
    with pytest.raises(ConnectionFailed, match=r"POST http://percel.test/v1/ask got no answer .timed out"):
        percel.ask("why", collection="c")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (413, TooLarge),
        (422, Invalid),
        (429, TooManyRequests),
        (503, Unavailable),
        (500, ApiError),
    ],
)
@pytest.mark.parametrize("client", ["sync", "async"])
def test_each_problem_is_an_error_of_its_kind(stub, status, kind, client):
    percel = make(client, stub, retries=Retries(attempts=1))
    stub.next_answers.append(lambda request: problem(status, "Title", "What to do."))
    with pytest.raises(ApiError, match=f"{status} Title: What to do.") as caught:
        percel.jobs()
    percel.close()
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.detail) == (status, "What to do.")


def test_a_problem_names_the_fields_that_are_wrong(percel, stub):
    entries = {"title": "Invalid", "status": 422, "errors": [{"field": "k", "detail": "at most 1000"}]}
    stub.next_answers.append(lambda request: httpx.Response(422, json=entries))
    with pytest.raises(Invalid, match="422 Invalid") as caught:
        percel.search("a", collection="c", k=9999)
    assert caught.value.errors == ({"field": "k", "detail": "at most 1000"},)


def test_a_stream_that_is_refused_is_the_error_it_is(percel, stub):
    stub.next_answers.append(lambda request: problem(404, "Not Found", "There is no collection 'c'."))
    with pytest.raises(NotFound, match="There is no collection 'c'"):
        list(percel.ask_stream("why", collection="c"))


def test_what_a_proxy_says_is_shown(percel, stub):
    stub.next_answers.append(lambda request: httpx.Response(502, text="<html>Bad Gateway</html>"))
    with pytest.raises(ApiError, match="502 Bad Gateway: <html>Bad Gateway</html>"):
        percel.jobs()


def test_an_answer_that_is_no_json_is_an_error(percel, stub):
    stub.next_answers.append(lambda request: httpx.Response(200, text="<html>hello</html>"))
    with pytest.raises(UnexpectedAnswer, match="'<html>hello</html>', which is no JSON"):
        percel.jobs()


def test_json_that_is_nested_too_deep_to_be_read_is_an_error(percel, stub):
    deep = "[" * 200_000
    stub.next_answers.append(lambda request: httpx.Response(200, text=deep))
    with pytest.raises(UnexpectedAnswer, match="which is no JSON"):
        percel.jobs()
    stub.next_answers.append(lambda request: httpx.Response(500, text=deep))
    with pytest.raises(ApiError, match="500 Internal Server Error: "):
        percel.jobs()


def test_a_redirection_says_where_to_and_is_not_followed(percel, stub):
    where = "https://percel.test/v1/jobs"
    stub.next_answers.append(
        lambda request: httpx.Response(301, headers={"Location": where}, text="<html>moved</html>")
    )
    with pytest.raises(UnexpectedAnswer, match=f"http://percel.test/v1/jobs is redirected to {where}. Check that the"):
        percel.jobs()
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda percel: percel.chunk_image("d1", 0), "'text/html; charset=utf-8' instead of an image"),
        (lambda percel: percel.page_image("d1", 1), "'text/html; charset=utf-8' instead of an image"),
        (lambda percel: percel.context("why", collection="c"), "'text/html; charset=utf-8' instead of a file"),
        (lambda percel: percel.delete("d1"), "'<html>sign in</html>' where nothing is to be said"),
        (lambda percel: percel.requeue_dead_job(7), "'<html>sign in</html>' where nothing is to be said"),
    ],
)
def test_the_page_of_a_login_is_neither_a_file_nor_a_delete(percel, stub, ask, said):
    stub.next_answers.append(lambda request: httpx.Response(200, html="<html>sign in</html>"))
    with pytest.raises(UnexpectedAnswer, match=said):
        ask(percel)


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://percel", "", "http://"])
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(ValueError, match=r"is not the address of a server; one looks like 'http://127.0.0.1:8080'"):
        Percel(address)


def test_a_prefix_in_the_address_is_kept(stub):
    percel = Percel("http://proxy.test/percel/", transport=httpx.MockTransport(stub.handle))
    with percel, pytest.raises(NotFound, match="There is no such address"):
        percel.jobs()
    assert stub.requests[0].url.path == "/percel/v1/jobs"


def test_pauses_grow_and_differ_and_end():
    retries = Retries(attempts=8, first=1.0, longest=10.0)
    failure = httpx.ConnectError("refused")
    pauses = [retries.pause(attempt, failure) for attempt in range(1, 9)]
    assert pauses[-1] is None
    assert all(0.5 * 2**n <= pauses[n] <= 2**n for n in range(4))
    assert max(pauses[:-1]) <= 10.0


@pytest.mark.parametrize("said", ["soon", "", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing_is_as_none(said):
    assert retry_after(httpx.Response(503, headers={"Retry-After": said})) is None


def test_a_retry_after_may_be_a_date():
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=90))
    assert 80 < retry_after(httpx.Response(503, headers={"Retry-After": moment})) <= 90


@pytest.mark.parametrize("client", [Percel, AsyncPercel])
@pytest.mark.parametrize("key", ["pk_secret\n", " pk_secret", "pk_sécret"])
def test_a_key_that_no_header_can_hold_is_said_without_showing_it(client, key):
    with pytest.raises(ValueError, match="strip it") as bad:
        client(ADDRESS, key)
    assert "cret" not in str(bad.value)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel", "a "])
def test_an_idempotency_key_that_no_header_can_hold_is_said(percel, key):
    with pytest.raises(ValueError, match="is no Idempotency-Key"):
        percel.upload(b"x", collection="c", name="a.txt", idempotency_key=key)


def test_an_expiry_without_a_zone_is_this_machines():
    call = requests.create_api_key(
        "ci",
        scopes=["read"],
        collections=None,
        expires_at=datetime(2099, 1, 1),
        requests_per_minute=None,
        bytes_per_day=None,
    )
    sent = datetime.fromisoformat(str(call.json["expires_at"]))
    assert sent.tzinfo is not None
    assert sent == datetime(2099, 1, 1).astimezone()
