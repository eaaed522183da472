"""Computing gives way to requests, and nothing that others wait for goes with it."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, event, select

from compressor.device import side_by_side
from store.database import reading
from store.models import Generation
from workers.aside import at_once, when_idle
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs

Result = TypeVar("Result")
word: ContextVar[str] = ContextVar("word")


def _is_allowed() -> bool:
    def ask() -> bool:
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except (AttributeError, OSError):
            return False
        return True

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(ask).result()


@pytest.mark.skipif(not _is_allowed(), reason="this system has no such policy, or forbids it")
def test_what_goes_aside_takes_only_what_nobody_else_wants() -> None:
    aside, before = when_idle(), os.sched_getscheduler(0)
    policy = aside(lambda: os.sched_getscheduler(0))
    inherited: list[int] = []

    def start_another() -> None:
        thread = threading.Thread(target=lambda: inherited.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()

    aside(start_another)
    assert policy == os.SCHED_IDLE
    assert inherited == [os.SCHED_IDLE]
    assert os.sched_getscheduler(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no policies")
def test_tensors_give_way_for_those_only_who_do() -> None:
    def policies() -> set[int]:
        return set(side_by_side(lambda _: os.sched_getscheduler(0), range(4), device="cpu"))

    for where in (at_once, when_idle(), at_once):
        assert where(policies) == {where(lambda: os.sched_getscheduler(0))}


def test_what_goes_aside_fails_and_logs_as_it_would_in_its_place() -> None:
    word.set("job 7")
    assert when_idle()(word.get) == at_once(word.get) == "job 7"
    with pytest.raises(ValueError, match="no such page"):
        when_idle()(_fail)


def _fail() -> None:
    raise ValueError("no such page")


def test_where_the_system_forbids_it_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden, raising=False)
    assert when_idle()(lambda: 7) == 7


def test_a_worker_computes_aside_and_writes_where_it_is(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the database must not wait for a thread that gets no core."""
    monkeypatch.setattr("store.generated._DELTA_FREE", 0)  # the index is written, too
    computed: list[str] = []
    threads: set[str] = set()
    elsewhere = ThreadPoolExecutor(1, "aside")  # gives way to nobody, or the test would take as long as other work

    def aside(work: Callable[[], Result], /) -> Result:
        computed.append(getattr(work, "func", work).__name__)
        return elsewhere.submit(work).result()

    @event.listens_for(resources.engine, "begin")
    def note(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            threads.add(threading.current_thread().name)

    resources.aside = aside
    resources.__dict__["batch_chunks"] = 1  # several files, which are joined at the end
    path = tmp_path / "a.txt"
    path.write_text("It stood at 2.417 m, serial GX-20418. " * 300)
    accept(resources, "default", "test", Offer(path, "a.txt"))
    run_due_jobs(resources)
    assert set(computed) == {"encode_as_fits", "<lambda>"}  # parsing has its time by the clock
    assert computed.count("<lambda>") == 2  # a file's chunks, and its caches joined
    with reading(resources.engine) as session:
        assert session.scalars(select(Generation)).first() is not None
    assert threads
    assert not any(name.startswith("aside") for name in threads)
