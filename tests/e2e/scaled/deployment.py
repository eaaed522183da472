"""Owns a scaled deployment on this machine: PostgreSQL, Redis, an S3 server, and real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.library import documents_of
from api.upkeep import examine
from store import catalog
from store.database import reading
from store.models import Document, Job, JobKind, JobState
from store.sweep import check_blobs
from tests.servers import postgresql, redis
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.settings import Settings

PATIENCE = 150.0  # seconds; a loaded machine takes its time, and nothing here waits for all of it
COMMAND = [sys.executable, "-c", "from api.cli import main; main()", "worker"]
LONG = "\n\n".join(f"Entry {n}: the level at gate {n} was {n * 7 % 13}.{n:03} m. " * 40 for n in range(40))


@dataclass(slots=True)
class Deployment:
    """Servers, settings and workers of one test."""

    settings: Settings
    postgresql: postgresql.Server
    redis: redis.Redis
    environment: dict[str, str]
    resources: Resources
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self, *options: str, **more: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [*COMMAND, *options], env={**self.environment, **more}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.workers.append(worker)
        return worker

    def stop_workers(self) -> None:
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(40)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def offer(self, name: str, content: str, *, collection: str = "test") -> str:
        path = self.folder / name
        path.write_text(content)
        offer = Offer(path, name, external_id=name)
        return accept(self.resources, "default", collection, offer).document.id

    def documents(self, collection: str = "test") -> dict[str, Document]:
        return {document.title: document for document in documents_of(self.resources, "default", collection)}

    def states(self, collection: str = "test") -> dict[str, str]:
        return {title: document.state.value for title, document in self.documents(collection).items()}

    def jobs(self, kind: JobKind, state: JobState) -> list[Job]:
        with reading(self.resources.engine) as session:
            return list(session.query(Job).where(Job.kind == kind, Job.state == state))

    def held(self, kind: JobKind) -> int | None:
        """The process that works on a job of the kind just now."""
        running = self.jobs(kind, JobState.RUNNING)
        return process_of(running[0]) if running and running[0].lease_owner else None

    def wait(self, done: Callable[[], object], what: str, *, patience: float = PATIENCE) -> float:
        """Waits until something holds; -> the seconds it took."""
        start = time.monotonic()
        while not done():
            assert time.monotonic() - start < patience, f"{what} did not come to pass\n{self.logs()}"
            time.sleep(0.1)
        return time.monotonic() - start

    def wait_until_ended(self, collection: str = "test") -> None:
        def ended() -> bool:
            with reading(self.resources.engine) as session:
                live = catalog.has_live_jobs(session)
            return not live and set(self.states(collection).values()) <= {"ready", "failed"}

        self.wait(ended, "the end of all work")

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in self.folder.glob("worker-*.log"))

    def check(self) -> None:
        """Nothing is lost or there twice: no orphan after a repair, a vector for each passage, all caches readable."""
        findings = examine(self.resources, repair=True)
        assert [finding for finding in findings if not finding.ok] == []
        found = check_blobs(self.resources.engine, self.resources.blobs, now=time.time() + 1e6)
        assert (found.missing, found.orphans) == ((), ())
        with reading(self.resources.engine) as session:
            stats = catalog.store_stats(session, "default")
            ready = [d.id for d in self.documents().values() if d.state.value == "ready"]
            passages = sum(len(c.passages) for id_ in ready for c in catalog.list_chunks(session, id_))
        assert stats.vectors == passages


@contextmanager
def deployed(
    folder: Path,
    database_url: str,
    servers: tuple[postgresql.Server, redis.Redis],
    blob_url: str,
) -> Iterator[Deployment]:
    """A deployment over running servers, without workers yet."""
    home = folder / "home"
    settings = Settings.model_validate(
        {
            "home": home,
            "database_url": database_url,
            "broker_url": servers[1].url,
            "blob_url": blob_url,
        }
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERCEL_")}
    environment |= {
        "PERCEL_HOME": str(home),
        "PERCEL_DATABASE_URL": database_url,
        "PERCEL_BROKER_URL": servers[1].url,
        "PERCEL_BLOB_URL": settings.blob_url,
    }
    with Resources(settings) as resources:
        deployment = Deployment(settings, *servers, environment, resources, folder)
        try:
            yield deployment
        finally:
            deployment.stop_workers()


def process_of(job: Job) -> int:
    """The process that has the job's lease: owners are named host-pid-random."""
    assert job.lease_owner is not None
    return int(job.lease_owner.rsplit("-", 2)[1])


def kill(process_ids: Sequence[int]) -> None:
    """Ends processes as a crash or the system's memory killer does."""
    for process_id in process_ids:
        os.kill(process_id, signal.SIGKILL)
