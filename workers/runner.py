"""Owns the direct runner: works through due jobs in this process until none is left.

Two lanes run side by side: parsing waits on its child process while this one encodes. The job rows are the truth,
so a run that was killed is taken up by the next one, whichever process that is.
"""

import threading
import time
from collections.abc import Callable, Sequence

from compressor.errors import DocumentError, ModelError
from store import catalog
from store.database import reading, transaction
from store.errors import BlobStoreUnusable, LeaseLost, StoreFull
from store.models import Job, JobKind, JobState
from store.sweep import sweep_blobs
from workers.events import Event, Listener, Stage, silent
from workers.ingest import encode, finish, parse
from workers.lease import departed, forget, heartbeat, presence
from workers.resources import Resources

ENCODE_DOCUMENTS = 32  # documents whose chunks are batched together
WAIT_SECONDS = 0.5  # between looks at what other processes are still at work on
IDLE_SECONDS = 0.05  # how long a lane waits for the other one before it looks again
STAGES = {JobKind.PARSE: Stage.PARSE, JobKind.ENCODE: Stage.ENCODE, JobKind.FINISH: Stage.FINISH}


class Runner:
    """One run over due jobs; every job goes through `work`, which keeps its lease and settles its outcome."""

    def __init__(self, resources: Resources, owner: str, listen: Listener) -> None:
        self.resources = resources
        self.owner = owner
        self.listen = listen
        self.stopped: BaseException | None = None  # what ended the run early

    def claim(self, kind: JobKind, limit: int) -> list[Job]:
        """Leases due jobs of a kind."""
        settings = self.resources.settings
        with transaction(self.resources.engine) as session:
            return catalog.claim_jobs(
                session,
                [kind],
                owner=self.owner,
                lease_seconds=settings.lease_seconds,
                limit=limit,
                max_attempts=settings.max_attempts,
            )

    def work(self, jobs: Sequence[Job], do: Callable[[Sequence[Job]], None]) -> None:
        """Does claimed jobs under a heartbeat. A document's own fault fails it, anything else is tried again."""
        ids = [job.id for job in jobs]
        seconds = self.resources.settings.lease_seconds
        try:
            with heartbeat(self.resources.engine, ids, owner=self.owner, lease_seconds=seconds):
                do(jobs)
        except LeaseLost:
            return  # deleted, or taken over: whoever has it now publishes it
        except DocumentError as error:
            for job in jobs:
                self.fail(job, str(error))
        except (StoreFull, BlobStoreUnusable, ModelError):  # no document's fault, and no other one will fare better
            self.release(jobs)
            raise
        except Exception as error:
            if len(jobs) > 1:  # one of them spoils the batch: each gets its own turn, so that the others pass
                for job in jobs:
                    self.work([job], do)
                return
            self.retry(jobs[0], f"{type(error).__name__}: {error}")
        except BaseException:
            self.release(jobs)  # interrupted: the next run goes on at once
            raise

    def fail(self, job: Job, reason: str) -> None:
        """The document cannot be ingested as it is."""
        with transaction(self.resources.engine) as session:
            document = catalog.load_document(session, job.document_id)
            catalog.fail_document(session, job.document_id, reason)
        if document is not None:
            self.listen(Event(STAGES[job.kind], document.id, document.title, error=reason))

    def retry(self, job: Job, reason: str) -> None:
        """Something went wrong that may go right the next time; after the last attempt the document fails."""
        settings = self.resources.settings
        try:
            with transaction(self.resources.engine) as session:
                state = catalog.retry_job(
                    session, job.id, owner=self.owner, error=reason, delay=0, max_attempts=settings.max_attempts
                )
        except LeaseLost:
            return
        if state is JobState.DEAD:
            self.fail(job, f"given up after {settings.max_attempts} attempts: {reason}")

    def release(self, jobs: Sequence[Job]) -> None:
        """Gives jobs back as if they had not been claimed."""
        with transaction(self.resources.engine) as session:
            for job in jobs:
                catalog.release_job(session, job.id, owner=self.owner)

    def parse_lane(self) -> None:
        """Parses until no file is left; what ends it early is kept for the main thread."""
        try:
            while self.stopped is None and (jobs := self.claim(JobKind.PARSE, 1)):
                self.work(jobs, lambda jobs: parse(self.resources, jobs[0], owner=self.owner, listen=self._parsed))
        except BaseException as error:
            self.stopped = error

    def _parsed(self, event: Event) -> None:
        self.listen(Event(Stage.PARSE, event.document_id, event.title, done=1))
        self.listen(event)

    def encode_lane(self, parsing: threading.Thread) -> None:
        """Encodes until nothing is left and nothing more is being parsed."""
        while self.stopped is None:
            busy = parsing.is_alive()  # asked before claiming: what was parsed until then is seen by the claim
            jobs = self.claim_batch()
            if jobs:
                self.work(jobs, lambda jobs: encode(self.resources, jobs, owner=self.owner, listen=self.listen))
            elif busy:
                parsing.join(IDLE_SECONDS)
            else:
                return

    def claim_batch(self) -> list[Job]:
        """Documents to encode together. One whose last attempt ended badly goes alone: it may kill its worker again."""
        jobs = self.claim(JobKind.ENCODE, ENCODE_DOCUMENTS)
        suspects = [job for job in jobs if job.attempts > 1][:1]
        if suspects:
            self.release([job for job in jobs if job is not suspects[0]])
        return suspects or jobs

    def finish_lane(self) -> None:
        """Puts caches of long documents into one file each, renews vector indexes, drops blobs that nothing names."""
        while self.stopped is None and (jobs := self.claim(JobKind.FINISH, 1)):
            self.listen(Event(Stage.FINISH, jobs[0].document_id, "", due=1))
            self.work(jobs, lambda jobs: finish(self.resources, jobs[0], owner=self.owner))
            self.listen(Event(Stage.FINISH, jobs[0].document_id, "", done=1))
        with reading(self.resources.engine) as session:
            homes = catalog.list_collections(session, self.resources.tenant)
        for home in homes:
            self.resources.index(home.id).compact()
        sweep_blobs(self.resources.engine, self.resources.blobs)


def run_due_jobs(resources: Resources, listen: Listener = silent) -> None:
    """Works until every document is ready or failed, also those that another process is at work on, should it die.

    Raises StoreFull, BlobStoreUnusable, ModelError; what is done stays, the rest stays due.
    """
    with presence(resources.workers_directory) as owner:
        runner = Runner(resources, owner, listen)
        while True:
            gone = departed(resources.workers_directory)
            recover(resources, gone, listen)
            forget(resources.workers_directory, gone)
            run_lanes(runner)
            with reading(resources.engine) as session:
                if not catalog.has_live_jobs(session):
                    return
            time.sleep(WAIT_SECONDS)


def run_lanes(runner: Runner) -> None:
    """One pass over what is due now."""
    parsing = threading.Thread(target=runner.parse_lane, name="parse lane")
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
    runner.finish_lane()


def recover(resources: Resources, departed_owners: Sequence[str], listen: Listener = silent) -> None:
    """Takes over what dead workers left: their jobs are due again, or dead when their attempts are used up."""
    settings = resources.settings
    with transaction(resources.engine) as session:
        catalog.abandon_leases(session, departed_owners)
        expired = catalog.expire_leases(session, max_attempts=settings.max_attempts)
        dead = [job for job in expired if job.state is JobState.DEAD]
        for job in dead:
            reason = f"its worker died {job.attempts} times while working on it (at the stage {job.kind})"
            catalog.fail_document(session, job.document_id, reason)
    for job in dead:
        listen(Event(STAGES[job.kind], job.document_id, "", error="given up"))
