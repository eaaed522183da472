"""What a stranger, a wrong request or a fault elsewhere must not bring about."""

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import httpx
import numpy as np
import pytest

from api import access, gathered, searches, uploads
from api.app import REQUESTS
from api.problems import problem_of
from api.search import Hit, Sought, search_together
from store import catalog
from store.errors import BlobStoreDown, StoreFull
from store.models import Collection
from store.scopes import Scope
from tests.api.service.conftest import LEASE, WEIR, Service, running, upload
from workers.resources import Resources
from workers.settings import Settings


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://evil.example"}, 401),
        ({"Origin": "null"}, 401),
        ({"Origin": "http://["}, 401),
        ({"Host": "evil.example"}, 401),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 401),
        ({"Authorization": "Bearer sk-anything"}, 200),  # OpenAI's client always sends one
    ],
)
def test_without_keys_only_this_machines_own_user_may_ask(
    service: Service, headers: dict[str, str], status: int
) -> None:
    with service.client() as client:
        assert client.get("/v1/collections", headers=headers).status_code == status
        assert client.post("/v1/collections", json={"name": "x"}, headers=headers).status_code in (status, 201)


def test_the_services_own_page_may_ask(service: Service) -> None:
    with service.client() as client:
        assert client.get("/v1/collections", headers={"Origin": service.url}).status_code == 200


def test_a_service_whose_last_key_was_revoked_stays_closed(service: Service) -> None:
    key = service.key(Scope.ADMIN)
    with service.client(key) as client:
        (row,) = client.get("/v1/keys").json()["items"]
        assert client.delete(f"/v1/keys/{row['id'][:8]}").status_code == 404  # no beginning of an id
        assert client.delete(f"/v1/keys/{row['id']}").status_code == 204
        assert client.get("/v1/collections").status_code == 401
    with service.client() as client:
        assert client.get("/v1/collections").status_code == 401
        assert client.get("/metrics").status_code == 403


def test_a_body_is_not_read_before_its_key_is_known(service: Service) -> None:
    service.key(Scope.ADMIN)
    port = int(service.url.rpartition(":")[2])
    head = f"POST /v1/documents HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1500000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stranger:
        stranger.sendall(head.encode())  # and nothing of the body
        assert stranger.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_large_question_is_refused(service: Service) -> None:
    with service.client() as client:
        large, fits = (
            client.post("/v1/ask", content=b" " * size, headers={"Content-Type": "application/json"})
            for size in (1_000_001, 1_000_000)
        )
    assert (large.status_code, large.json()["title"]) == (413, "The request is too large")
    said = "More than 1,000,000 bytes, which is the most that is read of a request. Make it shorter."
    assert large.json()["detail"] == said
    assert fits.status_code == 422  # for what it says, which is nothing


def test_a_key_learns_of_no_collection_that_it_has_no_grant_for(library: Service) -> None:
    with library.client(library.key(Scope.READ, collections=["absent"])) as client:
        reply = client.post("/v1/search", json={"query": "x", "collection": "absent"})
        assert reply.status_code == 404
        assert reply.json()["detail"] == "There is no collection 'absent'. List the collections to see which there are."
        assert client.get("/v1/jobs").json() == {"due": {}, "states": []}


@pytest.mark.parametrize(
    ("path", "fields", "said"),
    [
        ("/v1/documents", {"externalid": "a"}, "body.externalid: is no field; there are file, collection, external_id"),
        ("/v1/documents", {"metadata": '{"x": NaN}'}, "body.metadata: nan is not a number"),
        ("/v1/documents", {"metadata": '{"x": "\\u0000"}'}, "body.metadata: a string must not hold NUL"),
        ("/v1/documents", {"metadata": '{"x": 1e999}'}, "body.metadata: inf is not a number"),
        ("/v1/documents", {"metadata": f'{{"x": {2**64}}}'}, "body.metadata: a number must fit 64 bits"),
        ("/v1/documents", {"external_id": "a\0b"}, "body.external_id: a string must not hold NUL"),
        ("/v1/documents/batch", {"external_id": "a"}, "body.external_id: is no field; there are files, collection"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused(
    service: Service, path: str, fields: dict[str, str], said: str
) -> None:
    with service.client() as client:
        file = ("files" if path.endswith("batch") else "file", ("a.txt", WEIR))
        reply = client.post(path, data={"collection": "main", **fields}, files=[file])
        assert reply.status_code == 422
        assert reply.json()["detail"].startswith(said)
        assert client.get("/v1/collections").json() == {"items": []}


def test_numbers_beyond_the_database_are_refused(library: Service) -> None:
    with library.client(library.key(Scope.ADMIN)) as client:
        assert client.post(f"/v1/jobs/dead/{2**64}/requeue").status_code == 422
        asked = {"query": "x", "collection": "main", "filter": {"year": 2**64}}
        assert client.post("/v1/search", json=asked).json()["detail"] == "body.filter: a number must fit 64 bits"


def test_a_collection_that_is_too_large_is_not_loaded_whole(tmp_path: Path) -> None:
    for service in running(Settings(home=tmp_path / "home", max_context_tokens=3)):
        with service.client() as client:
            upload(client, "lease.txt", LEASE * 8)
            service.work()
            asked = {"question": "How long is the notice period?", "collection": "main"}
            assert client.post("/v1/ask", json=asked).status_code == 200
            refused = client.post("/v1/ask", json={**asked, "whole": True})
        assert refused.status_code == 422
        assert refused.json()["detail"].endswith(
            " vision tokens, and at most 3 are loaded for one question (PERCEL_MAX_CONTEXT_TOKENS): "
            "ask without `whole`, or of a part by a filter."
        )


def test_a_refused_upload_does_not_count(service: Service) -> None:
    with service.client(service.key(Scope.INGEST, bytes_per_day=200)) as client:
        refused = upload(client, "large.txt", "x" * 300)
        assert (refused.status_code, refused.json()["detail"].split(":")[0]) == (413, "More than 200 bytes")
        assert upload(client, "small.txt", "x" * 150).status_code == 202
        assert upload(client, "second.txt", "y" * 150).status_code == 429


def test_a_full_disk_keeps_no_reader_out(library: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("the disk", 100)

    monkeypatch.setattr(access.catalog, "note_use", full)
    with library.client(library.key(Scope.READ)) as client:
        assert client.get("/v1/collections").status_code == 200


def test_an_error_that_nobody_expected_has_the_requests_id(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(catalog, "list_collections", broken)
    with service.client() as client:
        reply = client.get("/v1/collections", headers={"X-Request-ID": "look-for-me"})
    assert (reply.status_code, reply.headers["X-Request-ID"]) == (500, "look-for-me")
    assert reply.json()["detail"] == "Something went wrong here; the log of the service says what."


CHAT = "/v1/chat/completions"
IMAGE = (
    b'{"model": "main", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}'
)
LONG = b'{"model": "main", "messages": [{"role": "user", "content": "%s"}]}' % (b"x" * 10_001)


def test_blobs_that_are_away_are_a_reason_to_come_back() -> None:
    reply = problem_of(BlobStoreDown("s3://secret-bucket", "refused"))
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert b"secret-bucket" not in bytes(reply.body)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}}, "stream_options"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_chat_cannot_honour_is_answered_in_openais_shape(
    library: Service, body: dict[str, object], parameter: str
) -> None:
    with library.client() as client:
        reply = client.post("/v1/chat/completions", json={"model": "main", **body})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, parameter)


@pytest.mark.parametrize(
    ("content", "headers", "said"),
    [
        (
            b"{}",
            {"Content-Type": "text/plain"},
            "The body is no JSON to this service without `Content-Type: application",
        ),
        (b"", {}, "The body is missing."),
        (b"[1]", {}, "The body is not a JSON object."),
        (IMAGE, {}, "messages.0.content.parts.0.type: Input should be 'text'"),
        (LONG, {}, "The question has 10,001 characters, and at most 10,000 are read."),
    ],
)
def test_what_chat_cannot_read_is_said_in_words(
    library: Service, content: bytes, headers: dict[str, str], said: str
) -> None:
    with library.client() as client:
        reply = client.post(CHAT, content=content, headers={"Content-Type": "application/json", **headers})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(said)


def test_what_goes_wrong_before_a_route_of_openai_is_told_in_its_shape_too(library: Service) -> None:
    with library.client("pk_unknown") as client:
        unknown = client.get("/v1/models"), client.post(CHAT, json={})
    with library.client() as client:
        large = client.post(CHAT, content=b"x" * 1_000_001)
        elsewhere = client.get("/v1/collections/nowhere")
    for reply in unknown:
        assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert reply.headers["Content-Type"] == "application/json"
        assert reply.json() == {
            "error": {
                "message": "Send a valid key as `Authorization: Bearer pk_...`; `percel keys create` makes one.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        }
    assert (large.status_code, large.json()["error"]["message"][:19]) == (413, "More than 1,000,000")
    assert elsewhere.headers["Content-Type"] == "application/problem+json"


def test_many_searches_at_once_are_all_answered(library: Service) -> None:
    import asyncio

    async def ask_all() -> list[int]:
        headers = {"Authorization": f"Bearer {library.reader}"}
        async with httpx.AsyncClient(base_url=library.url, headers=headers, timeout=100) as client:
            asked = {"query": "gauge", "collection": "main"}
            replies = await asyncio.gather(*(client.post("/v1/search", json=asked) for _ in range(60)))
        return [reply.status_code for reply in replies]

    assert set(asyncio.run(ask_all())) == {200}


class Held:
    """Searches that wait until they may go on; the first one says that it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first, self.go = threading.Event(), threading.Event()
        self.queries: list[str] = []
        monkeypatch.setattr(searches, "search_together", self)

    def __call__(
        self, resources: Resources, home: Collection, sought: Sequence[Sought], vectors: np.ndarray | None
    ) -> list[list[Hit]]:
        self.queries += [one.query for one in sought]
        self.first.set()
        assert self.go.wait(60)
        return search_together(resources, home, sought, vectors)


def test_more_searches_than_can_be_answered_soon_are_refused_at_once(
    library: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(searches, "MOST", 4)
    held = Held(monkeypatch)
    asked = {"query": "gauge", "collection": "main"}
    with library.client() as client, ThreadPoolExecutor() as pool:
        answers = [pool.submit(client.post, "/v1/search", json=asked) for _ in range(7)]
        refused = [answer.result() for answer in islice(as_completed(answers, timeout=60), 3)]
        held.go.set()
        assert sorted(answer.result().status_code for answer in answers) == [200] * 4 + [503] * 3
        assert client.post("/v1/search", json=asked).status_code == 200
    for reply in refused:
        assert reply.headers["Retry-After"] == "1"
        assert reply.json() == {
            "type": "about:blank",
            "title": "The service is too busy",
            "status": 503,
            "detail": "More searches wait than can be answered in good time. Try again in a moment.",
        }
    assert not caplog.records


def test_nobody_works_for_a_search_whose_caller_gave_up(library: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "LONG_SECONDS", 0.0)
    held = Held(monkeypatch)
    with library.client() as client, ThreadPoolExecutor() as pool:

        def ask(query: str, seconds: float) -> int:
            asked = {"query": query, "collection": "main"}
            return client.post("/v1/search", json=asked, timeout=seconds).status_code

        first = pool.submit(ask, "gauge", 60.0)
        assert held.first.wait(60)
        second, third = pool.submit(ask, "rent", 0.5), pool.submit(ask, "lease", 60.0)
        with pytest.raises(httpx.ReadTimeout):
            second.result()
        time.sleep(0.5)  # till the server has heard of it
        held.go.set()
        assert (first.result(), third.result()) == (200, 200)
    assert held.queries == ["gauge", "lease"]


def test_the_same_url_under_the_same_key_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter([b"The first page.", b"Another page."])

    def fetch(url: str, file: BinaryIO, **_: object) -> str:
        file.write(next(pages))
        return url

    monkeypatch.setattr(uploads, "download", fetch)
    for service in running(Settings(home=tmp_path / "home", url_uploads=True)):
        with service.client() as client:
            asked = {"collection": "main", "url": "https://page.example/a"}
            first = client.post("/v1/documents/url", json=asked, headers={"Idempotency-Key": "k"})
            again = client.post("/v1/documents/url", json=asked, headers={"Idempotency-Key": "k"})
            assert (first.json(), again.headers["Idempotent-Replayed"]) == (again.json(), "true")
            other = {**asked, "url": "https://page.example/b"}
            assert client.post("/v1/documents/url", json=other, headers={"Idempotency-Key": "k"}).status_code == 409
    assert next(pages) == b"Another page."


def test_servers_that_are_slow_to_send_a_document_keep_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def fetch(url: str, file: BinaryIO, **_: object) -> str:
        assert go.wait(60)
        file.write(url.encode())
        return url

    monkeypatch.setattr(uploads, "download", fetch)
    for service in running(Settings(home=tmp_path / "home", url_uploads=True)):
        with service.client() as client, ThreadPoolExecutor(REQUESTS + 1) as pool:
            asked = [{"collection": "main", "url": f"https://page.example/{n}"} for n in range(REQUESTS + 1)]
            sent = [pool.submit(client.post, "/v1/documents/url", json=each) for each in asked]
            time.sleep(0.5)  # till they wait
            try:
                assert client.get("/v1/collections", timeout=10).status_code == 200
            finally:
                go.set()
            assert [each.result().status_code for each in sent] == [202] * len(sent)
