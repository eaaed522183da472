"""Who may do what: every route with every kind of key, and what keys are limited to."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from api.callers import KnownKey, look_up_keys
from api.errors import RefusedBind
from api.serve import check_bind
from store import catalog
from store.database import reading, transaction
from store.models import ApiKey
from store.scopes import Scope
from tests.api.service.conftest import WEIR, Service, running, upload
from workers.resources import Resources
from workers.settings import Settings

ROOT = Path(__file__).parents[3]
# Every route and what it needs; a route that is not here fails the test below.
NEEDS: dict[tuple[str, str], Scope | None] = {
    ("POST", "/v1/documents"): Scope.INGEST,
    ("POST", "/v1/documents/text"): Scope.INGEST,
    ("POST", "/v1/documents/url"): Scope.INGEST,
    ("POST", "/v1/documents/batch"): Scope.INGEST,
    ("GET", "/v1/documents"): Scope.READ,
    ("DELETE", "/v1/documents"): Scope.INGEST,
    ("GET", "/v1/documents/{document_id}"): Scope.READ,
    ("DELETE", "/v1/documents/{document_id}"): Scope.INGEST,
    ("GET", "/v1/documents/{document_id}/events"): Scope.READ,
    ("GET", "/v1/documents/{document_id}/text"): Scope.READ,
    ("GET", "/v1/documents/{document_id}/chunks/{chunk}/image"): Scope.READ,
    ("GET", "/v1/documents/{document_id}/pages/{page}/image"): Scope.READ,
    ("POST", "/v1/collections"): Scope.INGEST,
    ("GET", "/v1/collections"): Scope.READ,
    ("GET", "/v1/collections/{name}"): Scope.READ,
    ("DELETE", "/v1/collections/{name}"): Scope.ADMIN,
    ("POST", "/v1/search"): Scope.READ,
    ("POST", "/v1/ask"): Scope.READ,
    ("POST", "/v1/context"): Scope.READ,
    ("GET", "/v1/jobs"): Scope.READ,
    ("GET", "/v1/jobs/dead"): Scope.ADMIN,
    ("POST", "/v1/jobs/dead/{job_id}/requeue"): Scope.ADMIN,
    ("DELETE", "/v1/jobs/dead/{job_id}"): Scope.ADMIN,
    ("POST", "/v1/keys"): Scope.ADMIN,
    ("GET", "/v1/keys"): Scope.ADMIN,
    ("DELETE", "/v1/keys/{key_id}"): Scope.ADMIN,
    ("POST", "/v1/webhooks"): Scope.ADMIN,
    ("GET", "/v1/webhooks"): Scope.ADMIN,
    ("DELETE", "/v1/webhooks/{webhook_id}"): Scope.ADMIN,
    ("GET", "/v1/models"): Scope.READ,
    ("GET", "/v1/models/{model}"): Scope.READ,
    ("POST", "/v1/chat/completions"): Scope.READ,
    ("GET", "/docs"): None,
    ("GET", "/docs/oauth2-redirect"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/"): None,
    ("GET", "/web/{file}"): None,
}
METRICS = ("GET", "/metrics")  # about all tenants: no key opens it
SCOPES = {
    "read": (Scope.READ,),
    "ingest": (Scope.INGEST,),
    "read and ingest": (Scope.READ, Scope.INGEST),
    "admin": (Scope.ADMIN,),
}
STRANGERS = ("none", "nonsense", "expired", "revoked")


@pytest.fixture(scope="module")
def keys(guarded: Service) -> dict[str, str | None]:
    """A key of every kind."""
    found: dict[str, str | None] = {kind: guarded.key(*scopes) for kind, scopes in SCOPES.items()}
    found["none"], found["nonsense"] = None, "pk_nonsense"
    found["expired"] = guarded.key(Scope.ADMIN, expires_at=time.time() - 1)
    found["revoked"] = guarded.key(Scope.ADMIN)
    with transaction(guarded.resources.engine) as session:
        digest = max(catalog.list_keys(session, "default"), key=lambda row: row.created_at)
        session.get_one(ApiKey, digest.id).revoked_at = time.time()
    return found


def call(client: httpx.Client, method: str, path: str) -> int:
    for name, value in {"document_id": "0" * 32, "chunk": "0", "page": "1", "name": "main", "job_id": "1"}.items():
        path = path.replace(f"{{{name}}}", value)
    path = path.replace("{file}", "page.css")
    for name in ("key_id", "webhook_id", "model"):
        path = path.replace(f"{{{name}}}", "unknown")
    return client.request(method, path, params={"collection": "main"}).status_code


def test_every_route_says_what_it_needs(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path))
    found = {
        (method, route.path) for route in _routes(app.routes) for method in route.methods or () if method != "HEAD"
    }
    assert found == {*NEEDS, METRICS}


def _routes(routes: list[object]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from _routes(getattr(getattr(route, "original_router", None), "routes", []))


@pytest.mark.parametrize("name", ["README.md", "api/web/page.js"])
def test_the_key_that_people_are_told_to_make_uploads_and_asks(guarded: Service, name: str) -> None:
    told = re.findall(r"`percel keys create NAME([^`]*)`", (ROOT / name).read_text("utf-8"))
    (scopes,) = ([Scope(scope) for scope in re.findall(r"--scope (\w+)", options)] for options in told)
    with guarded.client(guarded.key(*scopes)) as client:
        for method, path in (
            ("GET", "/v1/collections"),
            ("POST", "/v1/documents"),
            ("GET", "/v1/documents/{document_id}/events"),
            ("POST", "/v1/ask"),
            ("DELETE", "/v1/documents/{document_id}"),
        ):
            assert call(client, method, path) != 403, (method, path)


@pytest.mark.parametrize("kind", [*SCOPES, *STRANGERS])
@pytest.mark.parametrize(("method", "path"), list(NEEDS))
def test_a_key_opens_what_its_scopes_say(
    guarded: Service, keys: dict[str, str | None], method: str, path: str, kind: str
) -> None:
    need = NEEDS[method, path]
    given = SCOPES.get(kind, ())
    with guarded.client(keys[kind]) as client:
        status = call(client, method, path)
    if need is None:
        assert status == 200
    elif kind in STRANGERS:
        assert status == 401
    elif need in given or Scope.ADMIN in given:
        assert status not in (401, 403)
    else:
        assert status == 403


@pytest.mark.parametrize("kind", [*SCOPES, *STRANGERS])
def test_no_key_opens_the_metrics(guarded: Service, keys: dict[str, str | None], kind: str) -> None:
    with guarded.client(keys[kind]) as client:
        assert call(client, *METRICS) == 403


def test_another_tenant_sees_and_touches_nothing(guarded: Service) -> None:
    mine, theirs = guarded.key(Scope.ADMIN), guarded.key(Scope.ADMIN, tenant="other")
    with guarded.client(mine) as client:
        document = upload(client, "weir.md", WEIR, collection="secret").json()
        assert client.get(f"/v1/documents/{document['id']}").status_code == 200
    with guarded.client(theirs) as client:
        for path in ("", "/text", "/events", "/chunks/0/image", "/pages/1/image"):
            assert client.get(f"/v1/documents/{document['id']}{path}").status_code == 404
        assert client.delete(f"/v1/documents/{document['id']}").status_code == 404
        assert client.get("/v1/collections").json() == {"items": []}
        assert client.get("/v1/collections/secret").status_code == 404
        assert client.post("/v1/search", json={"query": "x", "collection": "secret"}).status_code == 404
        assert client.get("/v1/models").json()["data"] == []
        assert client.get("/v1/keys").json()["items"][0]["name"] == "test"
        assert len(client.get("/v1/keys").json()["items"]) == 1
        same = upload(client, "weir.md", WEIR, collection="secret").json()
        assert same["id"] != document["id"]
    with reading(guarded.resources.engine) as session:
        blobs = {catalog.load_document(session, each["id"]).blob for each in (document, same)}
    assert {blob.partition("/")[0] for blob in blobs} == {"default", "other"}


def test_a_key_for_some_collections_reaches_no_other(guarded: Service) -> None:
    whole = guarded.key(Scope.READ, Scope.INGEST)
    some = guarded.key(Scope.READ, Scope.INGEST, collections=["open"])
    admin = guarded.key(Scope.ADMIN, collections=["open"])
    with guarded.client(whole) as client:
        hidden = upload(client, "weir.md", WEIR, collection="closed").json()
        upload(client, "weir.md", WEIR, collection="open")
    with guarded.client(some) as client:
        assert [home["name"] for home in client.get("/v1/collections").json()["items"]] == ["open"]
        assert client.get(f"/v1/documents/{hidden['id']}").status_code == 404
        refused = client.post("/v1/search", json={"query": "x", "collection": "closed"})
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "This key has no grant for the collection 'closed'.",
        )
        assert upload(client, "a.md", "text", collection="closed").status_code == 403
        assert upload(client, "a.md", "text", collection="open").status_code == 202
    with guarded.client(admin) as client:
        reply = client.post("/v1/keys", json={"name": "more", "scopes": ["admin"]})
        assert reply.json()["detail"] == "This needs an admin's key that is not limited to collections."


def test_a_key_is_shown_once_and_stored_as_a_digest(guarded: Service) -> None:
    with guarded.client(guarded.key(Scope.ADMIN)) as client:
        made = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"]}).json()
        assert made["key"].startswith("pk_")
        listed = client.get("/v1/keys").json()["items"]
        assert all(item["key"] is None for item in listed)
        assert next(item["prefix"] for item in listed if item["id"] == made["id"]) == made["key"][:8]
        with guarded.client(made["key"]) as other:
            assert other.get("/v1/collections").status_code == 200
            assert client.delete(f"/v1/keys/{made['id']}").status_code == 204
            assert other.get("/v1/collections").status_code == 401
    database = (guarded.resources.settings.home / "percel.db").read_bytes()
    assert made["key"].encode() not in database


def test_keys_that_come_at_once_are_each_known_for_what_they_are(
    guarded: Service, keys: dict[str, str | None], tmp_path: Path
) -> None:
    mine, theirs = guarded.key(Scope.READ, collections=["open"]), guarded.key(Scope.ADMIN, tenant="other")
    brought = [mine, *(keys[kind] for kind in STRANGERS), theirs, mine]
    found = look_up_keys(guarded.resources, brought)
    assert [one.caller and (one.caller.tenant, one.caller.scopes, one.caller.collections) for one in found] == [
        ("default", {Scope.READ}, {"open"}),
        *[None] * len(STRANGERS),
        ("other", {Scope.ADMIN}, None),
        ("default", {Scope.READ}, {"open"}),
    ]
    assert all(known.had_keys for known in found)
    with Resources(Settings(home=tmp_path)) as fresh:
        assert look_up_keys(fresh, [mine, None]) == [KnownKey(None, False)] * 2


def test_what_another_process_revokes_or_deletes_is_refused_by_the_next_request(service: Service) -> None:
    admin, reader = service.key(Scope.ADMIN), service.key(Scope.READ)
    question = {"query": "When was the gauge read?", "collection": "main"}
    with service.client(admin) as client, service.client(reader) as other:
        upload(client, "weir.md", WEIR)
        service.work()
        for _ in range(3):
            assert [hit["title"] for hit in other.post("/v1/search", json=question).json()["hits"]] == ["weir.md"]
            assert other.get("/v1/collections").status_code == 200
        (key_id,) = [key["id"] for key in client.get("/v1/keys").json()["items"] if key["scopes"] == ["read"]]
        percel(service, "keys", "revoke", key_id)
        refused = [other.post("/v1/search", json=question), other.get("/v1/collections")]
        assert [reply.status_code for reply in refused] == [401, 401]
        assert refused[0].json()["detail"].startswith("Send a valid key as `Authorization: Bearer pk_...`")
        assert client.post("/v1/search", json=question).status_code == 200
        percel(service, "rm", "--collection", "main", "--whole")
        gone = client.post("/v1/search", json=question)
        assert (gone.status_code, gone.json()["detail"]) == (
            404,
            "There is no collection 'main'. List the collections to see which there are.",
        )


def test_the_first_key_ends_what_needed_none_whoever_makes_it(service: Service) -> None:
    question = {"query": "x", "collection": "main"}
    with service.client() as client:
        asked = [client.get("/v1/collections").status_code for _ in range(2)]
        asked += [client.post("/v1/search", json=question).status_code for _ in range(2)]
        assert asked == [200, 200, 404, 404]
        percel(service, "keys", "create", "first", "--scope", "read")
        refused = [client.get("/v1/collections"), client.post("/v1/search", json=question)]
    assert [reply.status_code for reply in refused] == [401, 401]
    assert refused[1].json()["detail"].startswith("Send a valid key as `Authorization: Bearer pk_...`")


def percel(service: Service, *arguments: str) -> None:
    """Runs the command in a process of its own, on the service's home."""
    environment = {**os.environ, "PERCEL_HOME": str(service.resources.settings.home)}
    command = [sys.executable, "-c", "from api.cli import main; main()", *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True)


def within_a_minute() -> None:
    """Waits where a minute of the clock is nearly over: what was asked in it counts less and less in the next one.

    Across its end one request more gets through.
    """
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left)


def test_requests_that_come_at_once_count_each_once_and_to_their_own_key(guarded: Service) -> None:
    few, many = guarded.key(Scope.READ, requests_per_minute=5), guarded.key(Scope.READ)

    def ask(key: str) -> int:
        with guarded.client(key) as client:
            return client.post("/v1/search", json={"query": "x", "collection": "nonesuch"}).status_code

    within_a_minute()
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(ask, [few, many] * 8))
    assert sorted(statuses[::2]) == [404] * 5 + [429] * 3
    assert statuses[1::2] == [404] * 8


def test_when_a_key_was_last_used_is_noted(guarded: Service) -> None:
    key = guarded.key(Scope.READ)

    def row() -> ApiKey:
        with reading(guarded.resources.engine) as session:
            found = catalog.find_key(session, key)
        assert found is not None
        return found

    assert row().last_used_at is None
    before = time.time()
    with guarded.client(key) as client:
        client.get("/v1/collections")
        noted = row().last_used_at
        assert noted is not None
        assert before <= noted <= time.time()
        client.get("/v1/collections")
    assert row().last_used_at == noted  # to the minute


def test_a_rate_limit_says_when_to_come_back(guarded: Service) -> None:
    key = guarded.key(Scope.READ, requests_per_minute=3)
    within_a_minute()
    with guarded.client(key) as client:
        replies = [client.get("/v1/collections") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert 1 <= int(replies[3].headers["Retry-After"]) <= 60
    assert replies[3].json()["detail"].startswith("This key has used up its 3 requests a minute; try again in")


@pytest.mark.servers
def test_two_nodes_with_one_broker_count_together(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(home=tmp_path, broker_url=redis_url)
    with contextmanager(running)(settings) as one, contextmanager(running)(settings) as other:
        key = one.key(Scope.READ, requests_per_minute=3)
        within_a_minute()
        with one.client(key) as first, other.client(key) as second:
            replies = [client.get("/v1/collections").status_code for client in (first, second, first, second, first)]
    assert replies == [200, 200, 200, 429, 429]


def test_a_quota_of_bytes_is_kept(guarded: Service) -> None:
    key = guarded.key(Scope.INGEST, bytes_per_day=150)
    with guarded.client(key) as client:
        first = upload(client, "a.txt", "x" * 100)
        second = upload(client, "b.txt", "y" * 100)
    assert (first.status_code, second.status_code) == (202, 429)
    assert second.json()["detail"].startswith("This key has used up its 150 bytes a day")


def test_nobody_binds_to_the_world_without_a_key(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0")
    with pytest.raises(RefusedBind, match=r"0\.0\.0\.0 can be reached from other machines, and there is no API key"):
        check_bind(settings)
