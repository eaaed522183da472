"""A scaled deployment on this machine: what a queue costs, how workers add up, how soon a lost worker is succeeded.

    python -m bench.scaled [--measure queue parse recovery] [--documents 1000] [--pdfs 100] [--text FILE...]

The servers are the private PostgreSQL and Redis of the tests (bin/setup installs them); blobs are in a directory. The
clock runs from the first document's acceptance until the last one is ready (parsed, for the parse stage). The direct
runner works in this process on SQLite, as `percel ingest` does; workers are processes of their own, whose models are
loaded before the clock starts.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from bench.filled import PASSAGES, passages_of
from bench.ingest import make_pdfs
from bench.report import OUT, show, write
from store.models import JobKind, JobState
from tests.e2e.scaled.deployment import LONG, Deployment, deployed, kill
from tests.servers import postgresql, redis
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

PATIENCE = 3600.0  # seconds

Servers = tuple[postgresql.Server, redis.Redis]
Row = dict[str, object]


@contextmanager
def deployment(servers: Servers) -> Iterator[Deployment]:
    """A deployment with an empty database and an empty Redis, and no workers yet."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(servers[0].database())
        servers[1].stop()
        servers[1].start()
        os.environ["PERCEL_BROKER_URL"] = servers[1].url  # as the Celery application of this process reads it
        yield stack.enter_context(deployed(folder, database, servers, (folder / "blobs").as_uri()))


def accept_all(resources: Resources, files: list[Path]) -> float:
    """Accepts files; -> when the first one was, on the performance counter."""
    start = time.perf_counter()
    for path in files:
        accept(resources, resources.settings.tenant, "test", Offer(path, path.name, external_id=path.name))
    return start


def start_warm(at: Deployment, *options: str) -> None:
    """Starts a worker that has loaded its models before this returns."""
    at.start_worker(*options)
    for number in range(4):
        at.offer(f"warm-{number}.txt", f"warm {number}", collection="warm")
    at.wait_until_ended("warm")


def row_of(arm: str, count: int, start: float, rows: list[Row]) -> Row:
    """A row of figures; its share is of the first row's rate."""
    rate = count / (time.perf_counter() - start)
    return {"arm": arm, "documents": count, "documents_per_s": rate, "share": rate / _rate(rows[0]) if rows else 1.0}


def _rate(row: Row) -> float:
    return float(str(row["documents_per_s"]))


def measure_queue(servers: Servers, files: list[Path]) -> list[Row]:
    """Documents a second from accepted to ready: the direct runner, then one worker that is woken through Redis."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as home, Resources(Settings(home=Path(home))) as resources:
        resources.codecs[-1].encode(["warm"])
        resources.embedder.embed(["warm"])
        start = accept_all(resources, files)
        run_due_jobs(resources)
        rows.append(row_of("direct runner", len(files), start, rows))
    with deployment(servers) as at:
        start_warm(at)
        start = accept_all(at.resources, files)
        at.wait(lambda: set(at.states().values()) == {"ready"}, "the end of all work", patience=PATIENCE)
        rows.append(row_of("one worker", len(files), start, rows))
    return rows


def measure_parse(servers: Servers, files: list[Path]) -> list[Row]:
    """Documents parsed a second by one and by two processes that do nothing else."""
    rows: list[Row] = []
    for processes in (1, 2):
        with deployment(servers) as at:
            at.start_worker("--queue", "cpu", "--processes", str(processes))
            for number in range(4):
                at.offer(f"warm-{number}.txt", f"warm {number}", collection="warm")
            at.wait(partial(_parsed, at, 4), "the first parse")
            start = accept_all(at.resources, files)
            at.wait(partial(_parsed, at, 4 + len(files)), "the end of parsing", patience=PATIENCE)
            rows.append(row_of(f"processes: {processes}", len(files), start, rows))
    return rows


def _parsed(at: Deployment, count: int) -> bool:
    return len(at.jobs(JobKind.PARSE, JobState.DONE)) >= count


def measure_recovery(servers: Servers) -> list[Row]:
    """Seconds from the SIGKILL of the process that has a job until another one has it, with the default settings."""
    rows: list[Row] = []
    for kind in (JobKind.PARSE, JobKind.ENCODE):
        with deployment(servers) as at:
            start_warm(at, "--processes", "2")
            at.offer("long.txt", LONG)
            at.wait(lambda at=at, kind=kind: at.held(kind), f"a {kind} job")  # type: ignore[misc]
            victim = at.held(kind)
            if victim is None:  # it was through before it could be killed
                continue
            kill([victim])
            seconds = at.wait(partial(_succeeded, at, kind, victim), "another process at the same job")
            rows.append({"stage": kind.value, "seconds_until_it_runs_again": seconds})
    return rows


def _succeeded(at: Deployment, kind: JobKind, victim: int) -> bool:
    return at.held(kind) not in (None, victim)


def write_texts(folder: Path, texts: Iterator[str], count: int) -> list[Path]:
    """Text files of about one chunk each."""
    paths = []
    for number in range(count):
        path = folder / f"note-{number:04}.txt"
        path.write_text(f"Note {number}\n" + "".join(islice(texts, PASSAGES - 1)), "utf-8")
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=["queue", "parse", "recovery"], default=[])
    parser.add_argument("--documents", type=int, default=1000, help="one chunk each, for the queue")
    parser.add_argument("--pdfs", type=int, default=100, help="eight pages each, for the parse stage")
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    facts: dict[str, list[Row]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = (
            stack.enter_context(postgresql.started(postgresql.distribution_programs())),
            stack.enter_context(redis.started()),
        )
        texts = passages_of(arguments.text)
        measures: dict[str, tuple[str, Callable[[], list[Row]]]] = {
            "queue": (
                "Accepted to ready",
                lambda: measure_queue(servers, write_texts(folder, texts, arguments.documents)),
            ),
            "parse": (
                "The parse stage",
                lambda: measure_parse(servers, make_pdfs(folder, texts, arguments.pdfs, pages=8)),
            ),
            "recovery": ("After a SIGKILL", lambda: measure_recovery(servers)),
        }
        for name in arguments.measure or measures:
            title, measure = measures[name]
            facts[name] = measure()
            show(title, facts[name])
    print(write("scaled", facts, arguments.out))


if __name__ == "__main__":
    main()
