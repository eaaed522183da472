"""Whether anything was committed since: told by marks, whoever commits; what was read is remembered for so long."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from store import catalog
from store.commits import Commits, Remembered
from store.database import open_database, reading, transaction

CLOSED_WHILE_ASKED = """
import sys, threading
from store.commits import Commits
from store.database import open_database
sys.setswitchinterval(1e-6)
engine = open_database(sys.argv[1])
for _ in range(300):
    commits, asked = Commits(engine), threading.Event()
    def ask():
        while commits.mark() is not None:
            asked.set()
    thread = threading.Thread(target=ask)
    thread.start()
    asked.wait()
    commits.close()
    thread.join()
"""
BY_ANOTHER_PROCESS = """
import sys
from store import catalog
from store.database import open_database, transaction
engine = open_database(sys.argv[1])
with transaction(engine) as session:
    catalog.ensure_collection(session, "default", "theirs")
engine.dispose()
"""


@pytest.fixture
def commits(sqlite_engine: Engine) -> Iterator[Commits]:
    with closing(Commits(sqlite_engine)) as opened:
        yield opened


def commit(engine: Engine, name: str) -> None:
    with transaction(engine) as session:
        catalog.ensure_collection(session, "default", name)


def test_a_mark_stays_until_something_is_committed(sqlite_engine: Engine, commits: Commits) -> None:
    first = commits.mark()
    assert first is not None
    with reading(sqlite_engine) as session:
        catalog.list_collections(session, "default")
    with suppress(KeyError), transaction(sqlite_engine) as session:
        catalog.ensure_collection(session, "default", "not committed")
        session.flush()
        assert commits.mark() == first
        raise KeyError
    assert commits.mark() == first
    marks = [first]
    for number in range(3):
        commit(sqlite_engine, f"home {number}")
        marks += [commits.mark(), commits.mark()]
    assert marks[1::2] == marks[2::2]
    assert len(set(marks)) == 4


def test_a_commit_by_another_process_is_told_at_once(sqlite_engine: Engine, commits: Commits) -> None:
    before = commits.mark()
    subprocess.run([sys.executable, "-c", BY_ANOTHER_PROCESS, str(sqlite_engine.url)], check=True)
    after = commits.mark()
    assert None not in (before, after)
    assert after != before


def test_a_mark_holds_no_view_that_the_log_would_have_to_keep(sqlite_engine: Engine, commits: Commits) -> None:
    commit(sqlite_engine, "one")
    before = commits.mark()
    with sqlite_engine.connect() as connection:
        busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    assert busy == 0
    commit(sqlite_engine, "two")
    assert commits.mark() not in (None, before)


def test_no_mark_waits_for_a_lock(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/percel.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kept (id INTEGER)")
    engine.dispose()
    with closing(sqlite3.connect(tmp_path / "percel.db", isolation_level=None)) as alone:
        alone.execute("PRAGMA locking_mode=EXCLUSIVE")
        alone.execute("INSERT INTO kept VALUES (1)")
        with closing(Commits(engine)) as commits:
            before = time.monotonic()
            assert commits.mark() is None
            assert time.monotonic() - before < 5  # the time that a connection of the engine waits is 30
            alone.close()
            assert commits.mark() is not None


def test_it_may_be_closed_while_another_thread_asks(sqlite_engine: Engine) -> None:
    """A search whose request was given up goes on while the service ends. In a process of its own: it would crash."""
    subprocess.run([sys.executable, "-c", CLOSED_WHILE_ASKED, str(sqlite_engine.url)], check=True, timeout=60)


def test_one_that_is_closed_tells_nothing(sqlite_engine: Engine) -> None:
    commits = Commits(sqlite_engine)
    assert commits.mark() is not None
    for _ in range(2):
        commits.close()
        assert commits.mark() is None


def test_of_a_server_nothing_is_told() -> None:
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")  # never connected
    with closing(Commits(engine)) as commits:
        assert commits.mark() is None


def test_what_was_read_is_remembered_until_the_mark_changes() -> None:
    remembered: Remembered[str, int] = Remembered()
    assert remembered.recall("a", 1) is None
    remembered.keep("a", 10, 1)
    assert remembered.recall("a", 1) == 10
    assert remembered.recall("b", 1) is None
    assert remembered.recall("a", 2) is None
    assert remembered.recall("a", 1) is None


def test_what_was_read_before_a_commit_is_not_kept_for_those_who_come_after_it() -> None:
    remembered: Remembered[str, int] = Remembered()
    assert remembered.recall("a", 1) is None
    assert remembered.recall("a", 2) is None  # another one, while the first reads
    remembered.keep("a", 10, 1)
    assert remembered.recall("a", 2) is None
    remembered.keep("a", 11, 2)
    assert remembered.recall("a", 2) == 11


def test_without_marks_nothing_is_kept() -> None:
    remembered: Remembered[str, int] = Remembered()
    assert remembered.recall("a", None) is None
    remembered.keep("a", 10, None)
    assert remembered.recall("a", None) is None
