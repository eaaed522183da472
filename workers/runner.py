"""Owns the runner: claims due jobs, does them under a lease and settles their outcome.

`run_due_jobs` works until none is left, in two lanes: parsing waits on its child process while this one encodes. The
job rows are the truth, so a run that was killed is taken up by the next one, whichever process that is.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy.orm import Session

from compressor.errors import DeviceError, DeviceLost, DocumentError, ModelError
from store import catalog
from store.database import reading, transaction
from store.errors import BlobStoreUnusable, LeaseLost, StoreError, StoreFull
from store.models import Job, JobKind, JobState
from store.sweep import sweep_blobs
from workers.events import Event, Listener, Stage, silent
from workers.ingest import encode, finish, parse
from workers.lease import departed, forget, heartbeat, presence
from workers.logs import bind
from workers.pages import make_pages
from workers.resources import Resources
from workers.tracing import span

log = logging.getLogger(__name__)

ENCODE_DOCUMENTS = 32  # documents whose chunks are batched together
WAIT_SECONDS = 0.5  # between looks at what other processes are still at work on
IDLE_SECONDS = 0.05  # how long a lane waits for the other one before it looks again
RETRY_SECONDS = 2.0  # before the second attempt, doubled each time: an outage may pass
STAGES = {
    JobKind.PARSE: Stage.PARSE,
    JobKind.ENCODE: Stage.ENCODE,
    JobKind.FINISH: Stage.FINISH,
    JobKind.PAGES: Stage.PAGES,
}


class Runner:
    """Does due jobs as one worker; `step` claims and does one slice of a kind."""

    def __init__(
        self,
        resources: Resources,
        owner: str,
        listen: Listener = silent,
        *,
        retry_seconds: float = RETRY_SECONDS,
        indexes: bool = True,
    ) -> None:
        self.resources = resources
        self.owner = owner
        self.listen = listen
        self.retry_seconds = retry_seconds
        self.indexes = indexes  # whether this machine's index files are kept by it; who never searches has none
        self.stopped: BaseException | None = None  # what ended the run early
        self.held: dict[int, Job] = {}  # claimed and not settled yet

    def step(self, kind: JobKind) -> bool:
        """Claims and does one slice of work of a kind; False where none is due."""
        jobs = self.claim_batch() if kind is JobKind.ENCODE else self.claim(kind, 1)
        if jobs:
            self.work(jobs, self._do[kind])
        return bool(jobs)

    @property
    def _do(self) -> dict[JobKind, Callable[[Sequence[Job]], None]]:
        return {
            JobKind.PARSE: self._parse,
            JobKind.ENCODE: self._encode,
            JobKind.FINISH: self._finish,
            JobKind.PAGES: self._pages,
        }

    def _parse(self, jobs: Sequence[Job]) -> None:
        parse(self.resources, jobs[0], owner=self.owner, listen=self._parsed)

    def _parsed(self, event: Event) -> None:
        self.listen(Event(Stage.PARSE, event.document_id, event.title, done=1))
        self.listen(event)

    def _encode(self, jobs: Sequence[Job]) -> None:
        encode(self.resources, jobs, owner=self.owner, listen=self.listen)

    def _finish(self, jobs: Sequence[Job]) -> None:
        (job,) = jobs
        self.listen(Event(Stage.FINISH, job.document_id, "", due=1))
        finish(self.resources, job, owner=self.owner)
        if self.indexes:
            for index in self.resources.indexes(job.collection_id).every:
                index.compact()
        self.listen(Event(Stage.FINISH, job.document_id, "", done=1))

    def _pages(self, jobs: Sequence[Job]) -> None:
        make_pages(self.resources, jobs[0], owner=self.owner, listen=self.listen)

    def claim(self, kind: JobKind, limit: int) -> list[Job]:
        """Leases due jobs of a kind. Where there seem to be none nobody who writes has to wait for it."""
        settings = self.resources.settings
        with reading(self.resources.engine) as session:
            if not catalog.has_claimable(session, [kind], max_attempts=settings.max_attempts):
                return []
        with transaction(self.resources.engine) as session:
            jobs = catalog.claim_jobs(
                session,
                [kind],
                owner=self.owner,
                lease_seconds=settings.lease_seconds,
                limit=limit,
                max_attempts=settings.max_attempts,
            )
        self.held |= {job.id: job for job in jobs}
        return jobs

    def claim_batch(self) -> list[Job]:
        """Documents to encode together. One whose last attempt ended badly goes alone: it may kill its worker again."""
        jobs = self.claim(JobKind.ENCODE, ENCODE_DOCUMENTS)
        suspects = [job for job in jobs if job.attempts > 1][:1]
        if suspects:
            self.release([job for job in jobs if job is not suspects[0]])
        return suspects or jobs

    def work(self, jobs: Sequence[Job], do: Callable[[Sequence[Job]], None]) -> None:
        """Does claimed jobs under a heartbeat. A document's own fault fails it, anything else is tried again."""
        ids = [job.id for job in jobs]
        seconds = self.resources.settings.lease_seconds
        with (
            bind(job_id=",".join(map(str, ids))),
            span(f"percel.job.{jobs[0].kind}", jobs=len(jobs), first_job=ids[0]),
            heartbeat(self.resources.engine, ids, owner=self.owner, lease_seconds=seconds),
        ):
            self._attempt(jobs, do)
        for job_id in ids:
            self.held.pop(job_id, None)

    def _attempt(self, jobs: Sequence[Job], do: Callable[[Sequence[Job]], None]) -> None:
        try:
            do(jobs)
        except LeaseLost:
            pass  # deleted, or taken over: whoever has it now publishes it
        except DocumentError as error:
            for job in jobs:
                self.fail(job, str(error))
        except DeviceLost:
            raise  # the attempt counts, as if the process had died: it must end, and what it held may be the cause
        except (StoreFull, BlobStoreUnusable, ModelError, DeviceError):
            # No document's fault, and no other one will fare better.
            self.release(jobs)
            raise
        except Exception as error:
            if len(jobs) == 1:
                self.retry(jobs[0], f"{type(error).__name__}: {error}")
            else:
                self._one_by_one(jobs, do)
        except BaseException:
            self.release(jobs)  # interrupted: the next run goes on at once
            raise

    def _one_by_one(self, jobs: Sequence[Job], do: Callable[[Sequence[Job]], None]) -> None:
        """One of them spoils the batch: each gets its own turn, so that the others pass."""
        for place, job in enumerate(jobs):
            try:
                self._attempt([job], do)
            except BaseException:
                self.release(jobs[place + 1 :])
                raise

    def fail(self, job: Job, reason: str) -> None:
        """The document cannot be ingested as it is; a worker that has lost it meanwhile does not decide that."""
        seconds = self.resources.settings.lease_seconds
        with suppress(LeaseLost), transaction(self.resources.engine) as session:
            catalog.hold_document(session, job.document_id)  # before its job, as a delete does
            catalog.extend_lease(session, job.id, owner=self.owner, lease_seconds=seconds)
            self._fail(session, job, reason)

    def _fail(self, session: Session, job: Job, reason: str) -> None:
        document = catalog.load_document(session, job.document_id)
        catalog.fail_document(session, job.document_id, reason)
        if document is not None:
            self.listen(Event(STAGES[job.kind], document.id, document.title, error=reason))

    def retry(self, job: Job, reason: str) -> None:
        """Something went wrong that may go right the next time; after the last attempt the document fails."""
        settings = self.resources.settings
        delay = self.retry_seconds * 2 ** (job.attempts - 1)
        given_up = f"given up after {settings.max_attempts} attempts: {reason}"
        with suppress(LeaseLost), transaction(self.resources.engine) as session:
            state = catalog.retry_job(
                session, job.id, owner=self.owner, error=reason, delay=delay, max_attempts=settings.max_attempts
            )
            if state is JobState.DEAD:  # in the same transaction: a document is never left with a dead job alone
                self._fail(session, job, given_up)

    def release(self, jobs: Sequence[Job]) -> None:
        """Gives jobs back as if they had not been claimed."""
        for job in jobs:
            with transaction(self.resources.engine) as session:  # of several at once a delete could wait in a circle
                catalog.release_job(session, job.id, owner=self.owner)
            self.held.pop(job.id, None)

    def parse_lane(self) -> None:
        """Parses until no file is left; what ends it early is kept for the main thread."""
        try:
            while self.stopped is None and self.step(JobKind.PARSE):
                pass
        except BaseException as error:
            self.stopped = error

    def encode_lane(self, parsing: threading.Thread) -> None:
        """Encodes until nothing is left and nothing more is being parsed."""
        while self.stopped is None:
            busy = parsing.is_alive()  # asked before claiming: what was parsed until then is seen by the claim
            if any(self.step(kind) for kind in (JobKind.ENCODE, JobKind.FINISH, JobKind.PAGES)):
                continue
            if not busy:
                return
            parsing.join(IDLE_SECONDS)


def run_due_jobs(resources: Resources, listen: Listener = silent) -> None:
    """Works until every document is ready or failed, also those that another process is at work on, should it die.

    Raises StoreFull, BlobStoreUnusable, ModelError, DeviceError; what is done stays, the rest stays due.
    """
    with presence(resources.workers_directory) as owner:
        runner = Runner(resources, owner, listen, retry_seconds=0)  # somebody waits for it
        while True:
            recover(resources, listen)
            run_lanes(runner)
            with reading(resources.engine) as session:
                if not catalog.has_live_jobs(session):
                    break
            time.sleep(WAIT_SECONDS)
        try:
            sweep_blobs(resources.engine, resources.blobs)
        except (OSError, StoreError) as error:  # all documents are done; `percel doctor` says it, too
            log.warning("blobs of deleted documents stay: %s", error)


def run_lanes(runner: Runner) -> None:
    """One pass over what is due now."""
    parsing = threading.Thread(target=runner.parse_lane, name="parse lane", daemon=True)
    parsing.start()
    try:
        runner.encode_lane(parsing)
    except BaseException as error:
        runner.stopped = runner.stopped or error
        raise
    finally:
        parsing.join()
    if runner.stopped is not None:
        raise runner.stopped


def recover(resources: Resources, listen: Listener = silent) -> None:
    """Takes over what dead workers left: their jobs are due again, or dead when their attempts are used up.

    A worker of this machine that ended is known by its lock at once, one elsewhere when its lease runs out.
    """
    settings = resources.settings
    gone = departed(resources.workers_directory)
    with reading(resources.engine) as session:
        if not gone and not catalog.has_expired(session):
            return
    with transaction(resources.engine) as session:
        catalog.abandon_leases(session, gone)
        expired = catalog.expire_leases(session, max_attempts=settings.max_attempts)
        dead = [job for job in expired if job.state is JobState.DEAD]
        for job in dead:
            reason = f"its worker died {job.attempts} times while working on it (at the stage {job.kind})"
            catalog.fail_document(session, job.document_id, reason)
    forget(resources.workers_directory, gone)
    for job in dead:
        listen(Event(STAGES[job.kind], job.document_id, "", error="given up"))
    for kind in {job.kind for job in expired} - {job.kind for job in dead}:
        resources.wake(kind)
