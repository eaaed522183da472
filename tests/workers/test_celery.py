"""A worker behind a broker: real Redis, and the command as people start it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from store import catalog
from store.database import transaction
from tests.servers.redis import Redis as Server
from workers.app import MOST_UNREAD
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.settings import Settings

pytestmark = pytest.mark.servers

WORKER = [sys.executable, "-c", "from api.cli import main; main()", "worker", "--processes", "1"]


@pytest.fixture
def client(redis_server: Server) -> Iterator[Redis]:
    """A connection to a Redis that is empty, and afterwards as it was."""
    with Redis(port=redis_server.port) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory", 0)
        client.flushall()


@pytest.fixture
def environment(tmp_path: Path, redis_url: str) -> dict[str, str]:
    """Of a worker with a store of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PERCEL_")}
    return plain | {"PERCEL_HOME": str(tmp_path / "home"), "PERCEL_BROKER_URL": redis_url}


def test_a_worker_that_ends_by_itself_says_why_and_ends_with_a_failure(
    client: Redis, environment: dict[str, str]
) -> None:
    client.config_set("maxmemory", 1)  # full: every command that could need memory is refused
    ran = subprocess.run(WORKER, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert "command not allowed when used memory > 'maxmemory'" in ran.stderr


def test_a_worker_logs_what_goes_wrong_and_stops_in_good_order(
    client: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    with Resources(Settings(home=tmp_path / "home")) as resources:
        path = tmp_path / "a.txt"
        path.write_text("Some text.")
        document = accept(resources, "default", "main", Offer(path, "a.txt")).document
        with transaction(resources.engine) as session:
            catalog.add_webhook(session, "default", url="http://127.0.0.1:1/")
            catalog.fail_document(session, document.id, "It is of no use.")
    log = tmp_path / "log"
    with log.open("wb") as said, subprocess.Popen(WORKER, env=environment, stdout=said, stderr=said) as worker:
        deadline = time.monotonic() + 60
        while "webhook not delivered" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
    assert "127.0.0.1 is not a public address" in log.read_text()
    assert code == 0


def test_words_that_nobody_reads_do_not_fill_redis(client: Redis, environment: dict[str, str]) -> None:
    send = "from store.models import JobKind; from workers.app import send_wake\n"
    send += f"for _ in range({MOST_UNREAD + 50}): send_wake(JobKind.PARSE)"
    subprocess.run([sys.executable, "-c", send], env=environment, timeout=120, check=True)
    assert client.llen("percel:cpu") == MOST_UNREAD
    client.lpop("percel:cpu")
    subprocess.run([sys.executable, "-c", send], env=environment, timeout=120, check=True)
    assert client.llen("percel:cpu") == MOST_UNREAD


def test_the_first_words_of_threads_that_come_at_once_go_to_the_broker_of_the_settings(
    client: Redis, environment: dict[str, str]
) -> None:
    wake = "import time, workers.app; from concurrent.futures import ThreadPoolExecutor\n"
    wake += "from store.models import JobKind\n"
    wake += "load, wake = workers.app.load_settings, workers.app.Waker()\n"
    wake += "workers.app.load_settings = lambda: (time.sleep(0.5), load())[1]\n"
    wake += "list(ThreadPoolExecutor(4).map(lambda _: wake(JobKind.PARSE), range(4)))"
    subprocess.run([sys.executable, "-c", wake], env=environment, timeout=120, check=True)
    assert client.llen("percel:cpu") > 0


@pytest.mark.parametrize("hangs", [False, True])
def test_a_redis_that_is_away_or_hangs_keeps_nobody_waiting(environment: dict[str, str], hangs: bool) -> None:
    wake = "import time; from store.models import JobKind; from workers.app import Waker\n"
    wake += "wake, before = Waker(), time.monotonic()\n"
    wake += "print([wake(JobKind.PARSE) for _ in range(20)].count(False), time.monotonic() - before)"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not hangs:
            silent.close()
        environment["PERCEL_BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        ran = subprocess.run(
            [sys.executable, "-c", wake], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    unsaid, seconds = ran.stdout.split()
    assert int(unsaid) == 20
    assert float(seconds) < (12 if hangs else 3)


def test_a_metrics_port_that_is_none_is_wrong_usage(environment: dict[str, str]) -> None:
    ran = subprocess.run(
        [*WORKER, "--metrics-port", "65536"], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "65535" in ran.stderr
    assert "Traceback" not in ran.stderr
