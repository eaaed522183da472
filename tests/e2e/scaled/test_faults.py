"""What a scaled deployment survives, each fault against real servers and real worker processes."""

import os
import signal
import time

import pytest

from api.answer import ask
from store.models import JobKind, JobState
from tests.e2e.scaled.deployment import LONG, Deployment, kill, process_of
from tests.servers_s3 import Between
from workers.app import send_wake

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif("PERCEL_TEST_FAULTS" not in os.environ, reason="takes ten minutes: `make faults` runs it"),
]

KEYS = "# Keys\n\nThe key of cabinet 4 is KX-7731-b and hangs behind the door of the archive."


@pytest.mark.parametrize("kind", [JobKind.PARSE, JobKind.ENCODE])
def test_a_killed_worker_is_succeeded_within_thirty_seconds(deployment: Deployment, kind: JobKind) -> None:
    deployment.start_worker("--processes", "2")
    deployment.offer("long.txt", LONG)
    deployment.offer("keys.md", KEYS)
    deployment.wait(lambda: deployment.held(kind), f"a job of the kind {kind}")
    victim = deployment.held(kind)
    if victim is not None:
        kill([victim])
        seconds = deployment.wait(
            lambda: deployment.held(kind) not in (None, victim) or not deployment.jobs(kind, JobState.RUNNING),
            "another worker at the same job",
        )
        assert seconds < 30
    deployment.wait_until_ended()
    assert deployment.states() == {"long.txt": "ready", "keys.md": "ready"}
    deployment.check()


def test_a_worker_that_dies_with_all_its_processes_is_succeeded_by_the_next_one(deployment: Deployment) -> None:
    first = deployment.start_worker("--processes", "1")
    deployment.offer("long.txt", LONG)
    deployment.wait(lambda: deployment.held(JobKind.ENCODE), "an encode job")
    victim = deployment.held(JobKind.ENCODE)
    kill([first.pid, *([victim] if victim else [])])
    deployment.start_worker("--processes", "1")
    deployment.wait_until_ended()
    assert deployment.states() == {"long.txt": "ready"}
    deployment.check()


def test_a_redis_that_comes_back_empty_loses_nothing(deployment: Deployment) -> None:
    for number in range(6):
        deployment.offer(f"{number}.md", f"{KEYS} {number}")
    deployment.redis.stop()  # with every message
    deployment.offer("unheard.md", KEYS)
    worker = deployment.start_worker("--processes", "1")
    time.sleep(3)
    assert worker.poll() is None
    deployment.redis.start()
    deployment.wait_until_ended()
    assert set(deployment.states().values()) == {"ready"}
    deployment.check()


def test_a_postgresql_that_restarts_loses_nothing(deployment: Deployment) -> None:
    deployment.start_worker("--processes", "1")
    deployment.offer("long.txt", LONG)
    deployment.wait(lambda: deployment.held(JobKind.ENCODE), "an encode job")
    deployment.postgresql.stop("immediate")
    time.sleep(2)
    deployment.postgresql.start()
    deployment.wait_until_ended()
    assert deployment.states() == {"long.txt": "ready"}
    deployment.check()


def test_an_s3_that_fails_for_a_minute_costs_no_document(deployment: Deployment, between: Between) -> None:
    deployment.start_worker("--processes", "1")
    deployment.offer("long.txt", LONG)
    deployment.offer("keys.md", KEYS)
    between.failures = 10**6
    time.sleep(60)
    between.failures = 0
    deployment.wait_until_ended()
    assert deployment.states() == {"long.txt": "ready", "keys.md": "ready"}
    deployment.check()


def test_a_document_that_kills_its_worker_every_time_fails_and_the_others_pass(deployment: Deployment) -> None:
    poison = deployment.offer("poison.txt", LONG, collection="poison")
    deployment.start_worker("--processes", "1")
    deaths = 0
    while deaths < 3:

        def worked_on() -> int | None:
            jobs = [job for job in deployment.jobs(JobKind.ENCODE, JobState.RUNNING) if job.document_id == poison]
            return process_of(jobs[0]) if jobs and jobs[0].lease_owner else None

        deployment.wait(worked_on, "the poison being worked on")
        if (victim := worked_on()) is not None:
            kill([victim])
            deaths += 1
            deployment.wait(lambda victim=victim: worked_on() != victim, "the end of its lease")
    for number in range(3):
        deployment.offer(f"{number}.md", f"{KEYS} {number}")
    deployment.wait_until_ended()
    deployment.wait_until_ended("poison")
    failed = deployment.documents("poison")["poison.txt"]
    assert (failed.state.value, failed.error) == (
        "failed",
        "its worker died 3 times while working on it (at the stage encode)",
    )
    assert set(deployment.states().values()) == {"ready"}


def test_a_worker_that_stalls_beyond_its_lease_publishes_nothing_twice(deployment: Deployment) -> None:
    deployment.start_worker("--processes", "1", PERCEL_LEASE_SECONDS="3")
    deployment.offer("long.txt", LONG)
    deployment.wait(lambda: deployment.held(JobKind.ENCODE), "an encode job")
    stalled = deployment.held(JobKind.ENCODE)
    assert stalled is not None
    os.kill(stalled, signal.SIGSTOP)
    deployment.start_worker("--processes", "1", PERCEL_LEASE_SECONDS="3")
    deployment.wait(lambda: deployment.held(JobKind.ENCODE) not in (None, stalled), "a successor")
    os.kill(stalled, signal.SIGCONT)
    deployment.wait_until_ended()
    assert deployment.states() == {"long.txt": "ready"}
    deployment.check()


def test_messages_that_come_twice_and_too_often_change_nothing(deployment: Deployment) -> None:
    for number in range(4):
        deployment.offer(f"{number}.md", f"{KEYS} {number}")
    for kind in (JobKind.PARSE, JobKind.ENCODE, JobKind.FINISH, JobKind.PARSE):
        for _ in range(5):
            send_wake(kind)
    deployment.start_worker("--processes", "2")
    deployment.wait_until_ended()
    assert set(deployment.states().values()) == {"ready"}
    with_attempts = [job.attempts for kind in JobKind for job in deployment.jobs(kind, JobState.DONE)]
    assert max(with_attempts) == 1
    deployment.check()


def test_a_document_deleted_while_it_is_ingested_leaves_nothing(deployment: Deployment) -> None:
    from api.library import delete_documents

    deployment.start_worker("--processes", "1")
    doomed = deployment.offer("long.txt", LONG)
    kept = deployment.offer("keys.md", KEYS)
    deployment.wait(lambda: deployment.held(JobKind.ENCODE), "an encode job")
    delete_documents(deployment.resources, [doomed])
    again = deployment.offer("long.txt", LONG)  # the same bytes, while their delete is under way
    deployment.wait_until_ended()
    assert {document.id for document in deployment.documents().values()} == {kept, again}
    delete_documents(deployment.resources, [again])
    report = ask(deployment.resources, "default", "What was the level at gate 7?", collection="test")
    assert all(citation.title == "keys.md" for citation in report.citations)
    deployment.check()


def test_a_small_upload_does_not_wait_behind_a_large_import(deployment: Deployment) -> None:
    for number in range(30):
        deployment.offer(f"import-{number}.txt", f"{LONG} {number}", collection="import")
    deployment.start_worker("--processes", "1")
    deployment.wait(lambda: deployment.held(JobKind.ENCODE), "the import under way")
    deployment.offer("keys.md", KEYS, collection="small")
    deployment.wait(lambda: deployment.states("small") == {"keys.md": "ready"}, "the small upload")
    waiting = [state for state in deployment.states("import").values() if state != "ready"]
    assert len(waiting) > 15


def test_leases_go_by_the_databases_clock(deployment: Deployment) -> None:
    """A worker whose clock is an hour ahead takes nothing from one that is at work, and its own lease is no longer."""
    import subprocess
    import sys

    from store import catalog
    from store.database import transaction

    document_id = deployment.offer("keys.md", KEYS)
    with transaction(deployment.resources.engine) as session:
        (job,) = catalog.claim_jobs(session, [JobKind.PARSE], owner="here", lease_seconds=60)
    assert job.document_id == document_id
    ahead = (
        "import time; real = time.time; time.time = lambda: real() + 3600\n"
        "import sys\n"
        "from store import catalog\n"
        "from store.database import open_database, transaction\n"
        "from store.models import JobKind\n"
        "with transaction(open_database(sys.argv[1])) as session:\n"
        "    print(len(catalog.claim_jobs(session, [JobKind.PARSE], owner='ahead', lease_seconds=60)))\n"
        "    print(len(catalog.expire_leases(session)))\n"
    )
    command = [sys.executable, "-c", ahead, deployment.settings.database]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "0"]
