"""`percel serve` as a process: it starts with nothing else, stops in good order, and loses nothing when it does not."""

import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from api.upkeep import examine
from store.sweep import check_blobs
from tests.servers.process import free_port
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 120.0  # seconds
WEIR = "The gauge at Marlow Weir was read at 06:00 on 3 May 2024. It stood at 2.417 m. Its serial number is GX-20418.\n"
LONG = "\n\n".join(f"Entry {n}: the level at gate {n} was {n * 7 % 13}.{n:03} m. " * 40 for n in range(40))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_address_that_is_told_answers_whatever_port_the_system_chose(tmp_path: Path, host: str) -> None:
    environment = {**os.environ, "PERCEL_HOME": str(tmp_path / "home"), "PERCEL_LOG_LEVEL": "warning"}
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--host", host, "--port", "0"]
    with subprocess.Popen([*command, "--no-worker"], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told = re.fullmatch(r"Percel on (http://\S+)  \(API: /docs, stop: Ctrl-C\)\n", process.stderr.readline())
            assert told is not None
            assert httpx.URL(told[1]).host == host
            transport = httpx.HTTPTransport(retries=30)  # it listens once the store is open
            with httpx.Client(transport=transport, timeout=PATIENCE) as client:
                assert client.get(f"{told[1]}/healthz").status_code == 200
        finally:
            process.terminate()


class Served:
    """A `percel serve` process, a client of it and what it said."""

    def __init__(self, home: Path, *options: str, before: Callable[[], None] | None = None) -> None:
        self.port = free_port()
        self.log = home.parent / f"serve-{self.port}.log"
        environment = {**os.environ, "PERCEL_HOME": str(home), "PERCEL_PORT": str(self.port)}
        command = [sys.executable, "-c", "from api.cli import main; main()", "serve", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, preexec_fn=before)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        self.wait(self._is_ready, "the service")

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, done: Callable[[], object], what: str) -> None:
        start = time.monotonic()
        while not done():
            assert time.monotonic() - start < PATIENCE, f"{what} did not come to pass\n{self.said()}"
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)

    def upload(self, name: str, content: str) -> httpx.Response:
        return self.client.post(
            "/v1/documents", files={"file": (name, content.encode())}, data={"collection": "main", "external_id": name}
        )

    def states(self) -> dict[str, str]:
        items = self.client.get("/v1/documents", params={"collection": "main"}).json()["items"]
        return {item["title"]: item["state"] for item in items}

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(how)
        return self.process.wait(120)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def served(home: Path, *options: str, before: Callable[[], None] | None = None) -> Iterator[Served]:
    service = Served(home, *options, before=before)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop(signal.SIGKILL)


def check_nothing_is_lost(home: Path) -> None:
    """After a repair: no finding, no orphan, no blob missing."""
    with Resources(Settings(home=home)) as resources:
        findings = examine(resources, repair=True)
        assert [finding for finding in findings if not finding.ok] == []
        found = check_blobs(resources.engine, resources.blobs, now=time.time() + 1e6)
        assert (found.missing, found.orphans) == ((), ())


def test_it_starts_works_answers_and_stops_in_good_order(home: Path) -> None:
    with served(home) as service:
        assert service.upload("weir.md", WEIR).status_code == 202
        service.wait(lambda: service.states() == {"weir.md": "ready"}, "the document")
        asked = {"question": "What is the serial number of the gauge?", "collection": "main"}
        answer = service.client.post("/v1/ask", json=asked).json()
        assert "GX-20418" in answer["citations"][0]["quote"]
        assert service.upload("long.txt", LONG).status_code == 202  # it stops in the middle of this one
        service.wait(lambda: service.states()["long.txt"] != "queued", "the work on it")
        assert service.stop() == 0
        assert "Traceback" not in service.said()
        assert "terminate" not in service.said()
    with served(home) as service:
        service.wait(lambda: set(service.states().values()) == {"ready"}, "what the first run left")
        assert service.stop(signal.SIGINT) == 0
    check_nothing_is_lost(home)


def test_several_processes_answer_and_one_that_dies_is_replaced(home: Path) -> None:
    with served(home, "--processes", "2", "--no-worker") as service:
        service.wait(lambda: len(answering(service.process.pid)) == 2, "both processes")
        first, second = answering(service.process.pid)
        assert service.upload("weir.md", WEIR).status_code == 202
        os.kill(first, signal.SIGKILL)
        service.client.close()
        service.client = httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=60)
        assert service.states() == {"weir.md": "queued"}
        service.wait(lambda: len({*answering(service.process.pid)} - {first, second}) == 1, "another one")
        assert service.stop() == 0
    with served(home, "--processes", "2", "--no-worker") as service:
        service.wait(lambda: len(answering(service.process.pid)) == 2, "both processes")
        pids = answering(service.process.pid)
        service.stop(signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        while any(map(is_running, pids)):  # or they would keep the port
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_process_that_cannot_start_ends_the_service_as_failed(home: Path) -> None:
    with served(home, "--processes", "2", "--no-worker") as service:
        service.wait(lambda: len(answering(service.process.pid)) == 2, "both processes")
        with closing(sqlite3.connect(home / "percel.db")) as database, database:
            database.execute("UPDATE alembic_version SET version_num = 'later'")
        service.client.close()
        os.kill(answering(service.process.pid)[0], signal.SIGKILL)
        assert service.process.wait(PATIENCE) == 1
        assert "error: the service ended, as one of its processes could not start; the log says why" in service.said()
        assert "later" in service.said()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_broker_that_is_none_ends_the_start_and_its_password_is_not_shown(home: Path, processes: str) -> None:
    """Several processes do not try it without an end."""
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--processes", processes]
    environment = {**os.environ, "PERCEL_HOME": str(home), "PERCEL_PORT": "0", "PERCEL_BROKER_URL": "no://u:secret@x"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    said = "error: PERCEL_BROKER_URL is not the address of a Redis server, such as redis://localhost:6379/0"
    assert said in ended.stderr
    assert "secret" not in ended.stderr


def answering(parent: int) -> list[int]:
    """The processes of a service that answer: those that it has spawned through multiprocessing."""
    pids = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_takes_up_what_was_accepted_before_it_started(home: Path, tmp_path: Path) -> None:
    (tmp_path / "weir.md").write_text(WEIR)
    with Resources(Settings(home=home)) as resources:
        accept(resources, "default", "main", Offer(tmp_path / "weir.md", "weir.md", external_id="weir.md"))
    with served(home) as service:
        service.wait(lambda: service.states() == {"weir.md": "ready"}, "the document")
        assert service.stop() == 0


def test_a_service_that_is_killed_during_an_upload_keeps_what_it_acknowledged(home: Path) -> None:
    with served(home) as service:
        assert service.upload("weir.md", WEIR).status_code == 202
        body = (
            '--cut\r\nContent-Disposition: form-data; name="collection"\r\n\r\nmain\r\n'
            '--cut\r\nContent-Disposition: form-data; name="file"; filename="half.txt"\r\n\r\n' + LONG
        )
        head = (
            f"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 5_000}\r\n"
            "Content-Type: multipart/form-data; boundary=cut\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", service.port)) as half:
            half.sendall((head + body).encode())
            time.sleep(0.5)
            service.stop(signal.SIGKILL)
    with served(home) as service:
        service.wait(lambda: service.states() == {"weir.md": "ready"}, "the acknowledged document")
        assert service.upload("half.txt", LONG[:5_000]).status_code == 202
        service.wait(lambda: service.states() == {"weir.md": "ready", "half.txt": "ready"}, "the second upload")
        assert service.stop() == 0
    check_nothing_is_lost(home)


def test_a_full_disk_refuses_an_upload_and_loses_nothing(home: Path) -> None:
    with served(home) as service:
        assert service.upload("weir.md", WEIR).status_code == 202
        service.wait(lambda: service.states() == {"weir.md": "ready"}, "the document")
        assert service.stop() == 0
    limit = 12_000_000  # no file may grow beyond it, as on a disk that is nearly full

    def nearly_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with served(home, before=nearly_full) as service:
        refused = service.upload("large.txt", "A line of a large file.\n" * 600_000)
        assert (refused.status_code, refused.json()["title"]) == (507, "No space left")
        assert refused.json()["detail"].startswith("No space left at ")
        assert service.upload("small.md", f"{WEIR} Once more.").status_code == 202
        service.wait(lambda: service.states() == {"weir.md": "ready", "small.md": "ready"}, "the small upload")
        assert service.stop() == 0
    check_nothing_is_lost(home)
