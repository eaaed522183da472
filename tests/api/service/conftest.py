"""Owns what the HTTP tests start from: a live server over a small library that was really ingested; a browser."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from playwright.sync_api import Browser, FilePayload, Page, expect

from api import images
from api.app import create_app
from bench.page_picture import find_chromium, opened_browser
from store import catalog
from store.database import transaction
from store.scopes import Scope
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

WEIR = "The gauge at Marlow Weir was read at 06:00 on 3 May 2024. It stood at 2.417 m. Its serial number is GX-20418.\n"
LEASE = "The lease of Harbour House ends on 31 January 2027. The notice period is ninety days. The rent is 1,240 EUR.\n"
PATIENCE = 60_000  # ms, of a browser on a machine that does much else
REQUIRED = os.environ.get("PERCEL_TEST_BROWSER") == "1"  # read before any test empties the environment


@dataclass(frozen=True, slots=True)
class Service:
    """A running service and a way to do its due work at once."""

    url: str
    resources: Resources
    reader: str | None = None  # the key of a service that has keys

    def client(self, key: str | None = None) -> httpx.Client:
        key = key or self.reader
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=200)

    def work(self) -> None:
        run_due_jobs(self.resources)

    def key(self, *scopes: Scope, tenant: str = "default", collections: list[str] | None = None, **more: object) -> str:
        with transaction(self.resources.engine) as session:
            return catalog.create_key(session, tenant, name="test", scopes=scopes, collections=collections, **more)[1]


def running(settings: Settings) -> Iterator[Service]:
    """A server on a free port, in a thread; the tests do its work."""
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    with Resources(settings) as resources:
        yield Service(f"http://127.0.0.1:{port}", resources)
    server.should_exit = True
    thread.join()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of its own for tests that change keys or settings."""
    yield from running(Settings(home=tmp_path / "home", max_file_bytes=2_000_000, allow_private_urls=True))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service over two ready documents, for tests that read."""
    for service in running(Settings(home=tmp_path_factory.mktemp("library"))):
        with service.client() as client:
            upload(client, "weir.md", f"# Weirs\n\n{WEIR}", metadata='{"year": 2024, "kind": "log", "public": true}')
            upload(client, "lease.txt", LEASE, metadata='{"year": 2019, "kind": "contract"}')
        service.work()
        yield replace(service, reader=service.key(Scope.READ))


def upload(client: httpx.Client, name: str, content: str | bytes, **fields: str) -> httpx.Response:
    """Uploads a file into the collection `main`, or another one that the fields name."""
    data = {"collection": "main", **fields}
    headers = {"Idempotency-Key": data.pop("idempotency_key")} if "idempotency_key" in data else {}
    body = content if isinstance(content, bytes) else content.encode()
    return client.post("/v1/documents", data=data, files={"file": (name, body)}, headers=headers)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has keys."""
    for service in running(Settings(home=tmp_path_factory.mktemp("guarded"))):
        service.key(Scope.ADMIN)
        yield service


@pytest.fixture(scope="module", autouse=True)
def _slow_machine() -> Iterator[None]:
    """A page may take as long to draw as a machine needs that does much else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "PAGE_SECONDS", 200.0)
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        reason = "Chromium is not installed (on Debian: apt-get install chromium)"
        pytest.fail(f"PERCEL_TEST_BROWSER=1, but {reason}") if REQUIRED else pytest.skip(reason)
    expect.set_options(timeout=PATIENCE)
    with opened_browser(program) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A wide window; whatever its scripts throw, or its policy refuses, fails the test."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.extend([said.text] if "Content Security Policy" in said.text else []))
        yield page
        assert faults == []


def file(name: str, content: str | bytes) -> FilePayload:
    return {"name": name, "mimeType": "", "buffer": content if isinstance(content, bytes) else content.encode()}


def ask(page: Page, question: str, how: str = "Ask") -> None:
    page.fill("#question", question)
    page.get_by_role("button", name=how, exact=True).click()
