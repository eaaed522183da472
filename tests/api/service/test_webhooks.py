"""Webhooks from registration to a receiver that checks the signature; uploads by URL."""

import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select, update

from store import catalog
from store.database import reading, transaction
from store.models import Delivery, DeliveryState
from tests.api.service.conftest import LEASE, WEIR, Service, running, upload
from workers.deliver import deliver_due
from workers.settings import Settings


@dataclass
class Message:
    """What a receiver got."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A web server that keeps what it is sent and answers as told; it serves a page too."""

    url: str
    status: int = 204
    messages: list[Message] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known.messages.append(Message(dict(self.headers.items()), body))
            self.send_response(known.status)
            self.end_headers()

        def do_GET(self) -> None:
            body = WEIR.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield known
        server.shutdown()
        thread.join()


def deliveries(service: Service) -> list[Delivery]:
    with reading(service.resources.engine) as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def make_due(service: Service) -> None:
    """Lets the time until the next attempt pass."""
    with transaction(service.resources.engine) as session:
        session.execute(update(Delivery).values(not_before=0.0))


def test_a_webhook_is_told_of_documents_that_become_ready_or_fail(service: Service, receiver: Receiver) -> None:
    began = time.time()
    with service.client() as client:
        described = client.get("/openapi.json").json()["paths"]["/v1/webhooks"]["post"]["description"]
        made = client.post("/v1/webhooks", json={"url": f"{receiver.url}/hook"}).json()
        good = upload(client, "weir.md", WEIR, external_id="w-1", metadata='{"year": 2024}').json()
        bad = upload(client, "broken.pdf", b"%PDF-1.7 cut off").json()
        service.work()
        assert deliver_due(service.resources) == 2
    ended = time.time()
    told = {message["data"]["document_id"]: message for message in map(json.loads, (m.body for m in receiver.messages))}
    assert told[good["id"]]["event"] == "document.ready"
    assert told[good["id"]]["data"] == {
        "document_id": good["id"],
        "external_id": "w-1",
        "title": "weir.md",
        "state": "ready",
        "error": None,
        "chunks": 1,
        "text_tokens": told[good["id"]]["data"]["text_tokens"],
        "metadata": {"year": 2024},
    }
    assert (told[bad["id"]]["event"], told[bad["id"]]["data"]["state"]) == ("document.failed", "failed")
    assert "broken.pdf" in told[bad["id"]]["data"]["title"]
    assert told[bad["id"]]["data"]["error"]
    for message in receiver.messages:
        signed = message.headers["Percel-Timestamp"].encode() + b"." + message.body
        expected = hmac.new(made["secret"].encode(), signed, hashlib.sha256).hexdigest()
        assert message.headers["Percel-Signature"] == f"sha256={expected}"
        assert int(began) <= int(message.headers["Percel-Timestamp"]) <= ended
        sent = {name for name in message.headers if name.startswith("Percel-")}
        assert sent == set(re.findall(r"`(Percel-\w+)`", described))
    assert deliver_due(service.resources) == 0


def test_a_receiver_that_fails_is_told_again_until_its_attempts_are_used_up(
    service: Service, receiver: Receiver
) -> None:
    receiver.status = 503
    with service.client() as client:
        client.post("/v1/webhooks", json={"url": receiver.url})
        upload(client, "weir.md", WEIR)
        service.work()
    before = time.time()
    assert deliver_due(service.resources) == 1
    after = time.time()
    (waiting,) = deliveries(service)
    assert (waiting.state, waiting.attempts, waiting.last_error) == (DeliveryState.QUEUED, 1, "status 503")
    assert before + 4 < waiting.not_before < after + 30
    assert waiting.not_before < time.time() or deliver_due(service.resources) == 0  # not yet
    for _ in range(catalog.webhooks.MAX_ATTEMPTS - 1):
        make_due(service)
        deliver_due(service.resources)
    (dead,) = deliveries(service)
    assert (dead.state, dead.attempts) == (DeliveryState.DEAD, catalog.webhooks.MAX_ATTEMPTS)
    make_due(service)
    assert deliver_due(service.resources) == 0
    assert len({message.headers["Percel-Delivery"] for message in receiver.messages}) == 1


def test_a_webhook_of_a_collection_hears_of_no_other(service: Service, receiver: Receiver) -> None:
    with service.client() as client:
        client.post("/v1/collections", json={"name": "one"})
        client.post("/v1/webhooks", json={"url": receiver.url, "collection": "one"})
        upload(client, "a.md", WEIR, collection="other")
        upload(client, "b.md", LEASE, collection="one")
        service.work()
        deliver_due(service.resources)
    assert [json.loads(message.body)["data"]["title"] for message in receiver.messages] == ["b.md"]


def test_a_removed_webhook_is_told_nothing_more(service: Service, receiver: Receiver) -> None:
    with service.client() as client:
        hook = client.post("/v1/webhooks", json={"url": receiver.url}).json()
        listed = client.get("/v1/webhooks").json()["items"]
        assert [(item["id"], item["secret"]) for item in listed] == [(hook["id"], None)]
        upload(client, "weir.md", WEIR)
        service.work()
        assert client.delete(f"/v1/webhooks/{hook['id']}").status_code == 204
        assert deliver_due(service.resources) == 0
    assert receiver.messages == []


def test_webhooks_and_urls_into_private_networks_are_refused_by_default(tmp_path: Path, receiver: Receiver) -> None:
    for service in running(Settings(home=tmp_path / "home", url_uploads=True)):
        with service.client() as client:
            client.post("/v1/webhooks", json={"url": receiver.url})
            upload(client, "weir.md", WEIR)
            refused = client.post("/v1/documents/url", json={"collection": "main", "url": receiver.url})
        service.work()
        deliver_due(service.resources)
        said = "127.0.0.1 is not a public address: requests into private networks are refused"
        assert [delivery.last_error for delivery in deliveries(service)] == [said]
        assert (refused.status_code, refused.json()["title"], refused.json()["detail"]) == (
            422,
            "The URL is refused",
            said,
        )
    assert receiver.messages == []


def test_what_is_at_a_url_becomes_a_document(tmp_path: Path, receiver: Receiver) -> None:
    for service in running(Settings(home=tmp_path / "home", url_uploads=True, allow_private_urls=True)):
        with service.client() as client:
            asked = {"collection": "main", "url": f"{receiver.url}/logs/weir%20log.md", "external_id": "w-1"}
            accepted = client.post("/v1/documents/url", json=asked)
            assert (accepted.status_code, accepted.json()["title"]) == (202, "weir log.md")
            service.work()
            text = client.get(f"/v1/documents/{accepted.json()['id']}/text").json()
            assert text["chunks"] == [{"chunk": 0, "text": WEIR.strip()}]
            gone = client.post("/v1/documents/url", json={"collection": "main", "url": "http://127.0.0.1:1/a"})
            assert gone.status_code == 422
            assert gone.json()["detail"].startswith("127.0.0.1 does not answer: ConnectError")
