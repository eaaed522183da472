"""Every request is counted by its route, has an id, and is nobody's label; metrics are not for tenants' keys."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from store.scopes import Scope
from tests.api.service.conftest import Service, running, upload
from tests.servers.process import free_port
from tests.workers.test_metrics import samples
from workers.settings import Settings


def test_requests_are_counted_by_route_and_not_by_path(service: Service) -> None:
    with service.client() as client:
        for name in ("a" * 32, "b" * 32):
            assert client.get(f"/v1/documents/{name}").status_code == 404
        client.request("PROPFIND", "/coffee")
        found = samples(client.get("/metrics").content)
    assert found["percel_http_requests_total method=GET route=/v1/documents/{document_id} status=404"] == 2
    assert [name for name in found if "PROPFIND" in name or "coffee" in name] == []
    assert [
        v for name, v in found.items() if name.startswith("percel_http_requests_total method=other route=other")
    ] == [1]
    assert found["percel_store_up"] == 1


def test_a_request_has_an_id_and_a_plain_one_of_the_caller_is_kept(service: Service) -> None:
    with service.client() as client:
        assert client.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
        made = client.get("/healthz", headers={"X-Request-ID": "a b\t{}"}).headers["x-request-id"]
    assert len(made) == 32


def test_metrics_want_their_token_and_no_key_will_do(tmp_path: Path) -> None:
    for service in running(Settings(home=tmp_path / "home", metrics_token="sesame")):
        with service.client() as client:
            refused = client.get("/metrics")
            assert refused.status_code == 403
            assert "send PERCEL_METRICS_TOKEN as the bearer token" in refused.json()["detail"]
            key = service.key(Scope.ADMIN)
            assert client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code == 403
            assert client.get("/metrics", headers={"Authorization": "Bearer sesame"}).status_code == 200


def test_the_stages_of_the_worker_beside_the_service_are_in_its_metrics(home: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE) as server:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=200) as client:
                _until(lambda: client.get("/healthz").is_success)
                upload(client, "a.txt", "The gauge at Marlow Weir stood at 2.417 m. " * 20)
                _until(lambda: "percel_stage_seconds_count" in client.get("/metrics").text)
                found = samples(client.get("/metrics").content)
        finally:
            server.send_signal(signal.SIGTERM)
            logged = server.communicate(timeout=120)[1].decode()
    assert found["percel_stage_seconds_count stage=parse"] == 1
    assert found["percel_http_requests_total method=POST route=/v1/documents status=202"] == 1
    assert '"event": "Application startup complete."' in logged


def _until(done) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    pytest.fail("it did not happen in 90 seconds")
