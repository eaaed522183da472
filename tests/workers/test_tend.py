"""What the tender says again, and how often."""

import threading
from pathlib import Path

import pytest

from api.library import delete_documents, documents_of
from store.models import JobKind
from tests.workers.test_ingest import offer
from workers import tend
from workers.ingest import accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.tend import Tender, repeat


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[JobKind]:
    heard: list[JobKind] = []

    def hear(resources: Resources, kind: JobKind) -> bool:
        heard.append(kind)
        return True

    monkeypatch.setattr(Resources, "wake", hear)
    return heard


def test_work_that_nobody_takes_up_is_said_ever_more_rarely(
    resources: Resources, tmp_path: Path, said: list[JobKind], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.txt", "Some words.\n"))
    said.clear()
    tender = Tender(resources)
    start = tend.time.monotonic()
    for tick in range(60):  # five minutes
        monkeypatch.setattr(tend.time, "monotonic", lambda now=start + 5.0 * tick: now)
        tender.tick()
    assert 7 <= len(said) <= 9  # after 0, 5, 15, 35, 75 seconds, then once a minute


def test_a_broker_that_comes_back_is_told_at_the_next_tick(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(resources, "default", "test", offer(tmp_path, "a.txt", "Some words.\n"))
    tried: list[JobKind] = []
    monkeypatch.setattr(Resources, "wake", lambda resources, kind: bool(tried.append(kind)))  # never said
    tender = Tender(resources)
    start = tend.time.monotonic()
    for tick in range(12):
        monkeypatch.setattr(tend.time, "monotonic", lambda now=start + 5.0 * tick: now)
        tender.tick()
    assert len(tried) == 12


def test_new_work_is_said_at_once_after_the_old_is_done(
    resources: Resources, tmp_path: Path, said: list[JobKind]
) -> None:
    tender = Tender(resources)
    accept(resources, "default", "test", offer(tmp_path, "a.txt", "Some words.\n"))
    tender.tick()
    run_due_jobs(resources)
    tender.tick()
    accept(resources, "default", "test", offer(tmp_path, "b.txt", "Other words.\n"))
    said.clear()
    tender.tick()
    assert said == [JobKind.PARSE]


def test_words_of_deleted_documents_are_wiped_though_the_worker_stopped_before_it_was_time(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, words in (("a.txt", "The quokkasaurus sleeps.\n"), ("b.txt", "Another animal wakes.\n")):
        accept(resources, "default", "test", offer(tmp_path, name, words))
        run_due_jobs(resources)

    def left() -> bool:
        files = (path for path in resources.settings.home.glob("percel.db*") if path.is_file())
        return any(b"quokkasaurus" in path.read_bytes() for path in files)

    (gone,) = (d for d in documents_of(resources, "default", "test") if d.title == "a.txt")
    delete_documents(resources, [gone.id])
    Tender(resources).tick()  # its blobs are swept, and then the worker stops
    assert left()
    tender = Tender(resources)
    later = tend.time.monotonic() + tend.WIPE_SECONDS + 1
    monkeypatch.setattr(tend.time, "monotonic", lambda: later)
    tender.tick()
    assert not left()


def test_what_fails_again_and_again_leaves_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    stop, left = threading.Event(), [OSError("away"), OSError("away"), None, OSError("away"), ValueError("wrong")]

    def work() -> None:
        error = left.pop(0)
        if not left:
            stop.set()
        if error is not None:
            raise error

    repeat("tending", work, stop, seconds=0.001)
    said = [(record.getMessage(), record.__dict__["reason"], bool(record.exc_info)) for record in caplog.records]
    assert said == [
        ("tending failed", "away", True),
        ("tending failed", "away", False),
        ("tending failed", "away", True),
        ("tending failed", "wrong", True),
    ]
