"""The embedded service under load, over HTTP: how soon uploads are acknowledged, how many searches it answers.

    python -m bench.service uploads [--clients 50] [--seconds 30] [--megabytes 1]
    python -m bench.service searches [--chunks 100000] [--rates 10 50 200] [--processes 1] [--text FILE...]

Both start `percel serve` on a home of their own; the clients run on the same cores. Uploads are measured three times:
each client sends one in five seconds, one a second, and the next one as soon as the last one is acknowledged. Searches
arrive at a fixed rate whether or not earlier ones are answered, and their latency counts from when they were due; one
that takes over ten seconds has failed; no question is asked twice. Meanwhile documents are ingested without a pause.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import uvloop

from bench.client import LightClient
from bench.filled import COLLECTION, PASSAGE_CHARACTERS, fill, passages_of, questions_of
from bench.report import OUT, show, write
from workers.resources import Resources
from workers.settings import Settings

START_SECONDS = 60
PATIENCE = 10  # seconds; a search that is not answered by then has failed
LIVE = "live"  # the collection that documents go into while another one is searched
SOURCE_PASSAGES = 32  # of a document that is ingested while searches run: five chunks
AHEAD = 3  # documents that wait for the worker meanwhile


@contextmanager
def serving(home: Path, processes: int = 1) -> Iterator[str]:
    """`percel serve` on a home, with so many processes that answer; -> its URL. Stopped in good order afterwards."""
    port = random.randint(20_000, 60_000)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PERCEL_")}
    environment |= {"PERCEL_HOME": str(home), "PERCEL_PORT": str(port), "PERCEL_LOG_LEVEL": "warning"}
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--processes", str(processes)]
    with subprocess.Popen(command, env=environment) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + START_SECONDS
            while not _ready(url):
                if server.poll() is not None or time.monotonic() > until:
                    sys.exit("percel serve did not start")
                time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and tail in milliseconds."""
    times = 1000 * np.array(seconds)
    return {
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.quantile(times, 0.95)),
        "max_ms": float(times.max()),
    }


async def upload_load(url: str, *, clients: int, seconds: float, body: bytes, pace: float) -> dict[str, object]:
    """Clients that each upload a document every `pace` seconds, or without a pause. No two are the same."""
    took: list[float] = []

    async def one(number: int, client: httpx.AsyncClient, start: float) -> None:
        async with client:
            due = start + pace * number / clients
            count = 0
            while due < start + seconds:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                begun = time.perf_counter()
                files = {"file": (f"{number}-{count}.txt", f"{pace} {number} {count}\n".encode() + body, "text/plain")}
                reply = await client.post("/v1/documents", files=files, data={"collection": "load"})
                took.append(time.perf_counter() - begun)
                reply.raise_for_status()
                count += 1
                due = max(due + pace, time.perf_counter())

    # Made before the clock runs: each reads the system's certificates, which takes longer than an upload.
    made = [httpx.AsyncClient(base_url=url, timeout=60) for _ in range(clients)]
    start = time.perf_counter()
    await asyncio.gather(*(one(number, client, start) for number, client in enumerate(made)))
    return {"uploads_per_s": len(took) / (time.perf_counter() - start), **summary(took)}


def run_uploads(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of the table: at two paces, then without a pause."""
    size = int(1_000_000 * arguments.megabytes)
    body = "".join(islice(passages_of(arguments.text), size // PASSAGE_CHARACTERS + 1)).encode()[:size]
    rows = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "home", arguments.processes) as url:
        for name, pace in (("one in five seconds each", 5.0), ("one a second each", 1.0), ("without a pause", 0.0)):
            load = upload_load(url, clients=arguments.clients, seconds=arguments.seconds, body=body, pace=pace)
            rows.append({"load": name, "clients": arguments.clients, **asyncio.run(load)})
            show("Upload to acknowledged", rows)
    return rows


async def search_load(url: str, questions: Iterator[str], *, rate: float, seconds: float) -> dict[str, object]:
    """Searches that arrive at a fixed rate; the latency counts from when one was due."""
    took: list[float] = []
    failed = 0
    address = httpx.URL(url)
    client = LightClient(address.host, address.port or 80)

    async def one(question: str, due: float) -> None:
        nonlocal failed
        try:
            async with asyncio.timeout(PATIENCE):
                status = await client.post("/v1/search", {"query": question, "collection": COLLECTION})
        except (OSError, EOFError):  # a timeout is an OSError
            failed += 1
            return
        if status == HTTPStatus.OK:
            took.append(time.perf_counter() - due)
        else:
            failed += 1

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(next(questions), due))
    answered = len(took) / (time.perf_counter() - start)
    await client.aclose()
    return {"asked_per_s": rate, "answered_per_s": answered, "failed": failed, **summary(took or [float("nan")])}


@contextmanager
def ingesting(client: httpx.Client, texts: Iterator[str]) -> Iterator[None]:
    """Keeps a few documents queued all the time."""
    client.post("/v1/collections", json={"name": LIVE}).raise_for_status()
    stop = threading.Event()
    feeder = threading.Thread(target=feed, args=(client, texts, stop))
    feeder.start()
    try:
        yield
    finally:
        stop.set()
        feeder.join()


def feed(client: httpx.Client, texts: Iterator[str], stop: threading.Event) -> None:
    """Uploads documents until told to stop, a few ahead of the worker."""
    uploaded = 0
    while not stop.is_set():
        text = "".join(islice(texts, SOURCE_PASSAGES))
        asked = {"text": f"{uploaded}\n{text}", "title": f"{uploaded}.txt", "collection": LIVE}
        client.post("/v1/documents/text", json=asked).raise_for_status()
        uploaded += 1
        while uploaded - _ready_documents(client) > AHEAD and not stop.wait(0.5):
            pass


def _ready_documents(client: httpx.Client) -> int:
    return int(client.get(f"/v1/collections/{LIVE}").raise_for_status().json()["ready"])


def run_searches(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Rows of the table, one a rate."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder) / "home"
        texts = passages_of(arguments.text)
        if not home.exists():
            with Resources(Settings(home=home)) as resources:
                fill(resources, arguments.chunks, texts)
        questions = questions_of(texts)
        with serving(home, arguments.processes) as url:
            warm = search_load(url, questions, rate=4, seconds=5)
            uvloop.run(warm)
            with httpx.Client(base_url=url, timeout=60) as client, ingesting(client, passages_of(arguments.text)):
                for rate in arguments.rates:
                    before, start = _ready_documents(client), time.perf_counter()
                    row = uvloop.run(search_load(url, questions, rate=rate, seconds=arguments.seconds))
                    ingested = (_ready_documents(client) - before) / (time.perf_counter() - start)
                    rows.append({**row, "documents_per_s": ingested})
                    show(f"Searches while documents are ingested, {arguments.chunks:,} chunks", rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("load", choices=["uploads", "searches"])
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=50, help="of uploads")
    parser.add_argument("--megabytes", type=float, default=1, help="of an upload")
    parser.add_argument("--chunks", type=int, default=100_000, help="to search in")
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 50, 200], help="searches a second")
    parser.add_argument("--processes", type=int, default=1, help="that answer")
    parser.add_argument("--home", type=Path, help="keep the filled home here, for another run")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows = (run_uploads if arguments.load == "uploads" else run_searches)(arguments)
    print(write(f"service-{arguments.load}", {"figures": rows}, arguments.out))


if __name__ == "__main__":
    main()
