"""Holds keep a blob from the sweep while a row that names it is on its way, and whoever names it from the sweep's."""

import errno
import fcntl
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from store import catalog
from store.blobs import DirectoryBlobs
from store.database import reading, transaction
from store.errors import DatabaseUnreachable, StoreFull
from store.holds import hold, hold_alone
from store.sweep import sweep_blobs
from tests.store.conftest import Library


def test_any_number_hold_a_blob_and_nobody_takes_it_alone_meanwhile(engine: Engine) -> None:
    with hold(engine, ["a", "b"]) as held, hold(engine, ["b"]):
        assert held.keys == {"a", "b"}
        with hold_alone(engine, ["a", "b", "c"]) as alone:
            assert alone.keys == {"c"}
    with hold_alone(engine, ["a", "b", "c"]) as alone, hold_alone(engine, ["c"]) as late:
        assert (alone.keys, late.keys) == ({"a", "b", "c"}, set())
    with hold_alone(engine, ["c"]) as alone:
        assert alone.keys == {"c"}


def test_whoever_names_a_blob_waits_until_it_is_deleted(engine: Engine) -> None:
    def name() -> None:
        with hold(engine, ["a"]):
            pass

    with ThreadPoolExecutor(1) as pool:
        with hold_alone(engine, ["a"]):
            waiting = pool.submit(name)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        waiting.result(20)


def test_a_failure_inside_lets_go(engine: Engine) -> None:
    for grip in (hold, hold_alone):
        with pytest.raises(KeyError), grip(engine, ["a"]) as held, transaction(engine, held.connection):
            raise KeyError
        with hold_alone(engine, ["a"]) as alone:
            assert alone.keys == {"a"}


def test_a_process_that_was_forked_meanwhile_does_not_hold_on(sqlite_engine: Engine) -> None:
    for grip in (hold, hold_alone):
        with grip(sqlite_engine, ["a"]):
            copy = os.dup(_open_file(f"{sqlite_engine.url.database}-holds"))  # as a child has it
        try:
            with hold_alone(sqlite_engine, ["a"]) as alone:
                assert alone.keys == {"a"}
        finally:
            os.close(copy)


def test_files_that_a_network_file_system_locks_by_their_bytes_are_held_too(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)  # what NFS makes of it: only who can read shares a lock
    for grip in (hold, hold_alone):
        with grip(sqlite_engine, ["a"]) as held:
            assert held.keys == {"a"}


def _open_file(folder: str) -> int:
    """The one file that this process has open in a folder."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing itself
            if os.readlink(f"/proc/self/fd/{number}").startswith(folder):
                found.append(int(number))
    (file,) = found
    return file


def test_a_hold_that_a_full_disk_refuses_says_so(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, *, exist_ok: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refused)
    for grip in (hold, hold_alone):
        with pytest.raises(StoreFull, match=r"No space left at .*Free space there"), grip(sqlite_engine, ["a"]):
            pass


def test_nobody_waits_for_the_deletes_of_a_sweep(
    engine: Engine, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = library.accept(["text"]).document
    library.delete(document.id)
    wrote: list[str] = []
    delete = library.blobs.delete

    def watched(keys: list[str]) -> None:
        def write() -> None:
            with transaction(engine) as session:
                catalog.discard_blobs(session, [*keys, "another"])  # as a worker whose document was deleted does
            wrote.extend(keys)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(5)
        delete(keys)

    monkeypatch.setattr(type(library.blobs), "delete", lambda self, keys: watched(keys))
    assert sweep_blobs(engine, library.blobs) == 1
    assert wrote == [document.blob]
    with reading(engine) as session:  # listed anew while it was deleted, by whom it may have been put again: looked at
        assert set(catalog.discarded_blobs(session, 10)) == {document.blob, "another"}


@pytest.mark.servers
def test_a_sweep_does_not_wait_for_a_blob_that_is_being_listed_anew(
    postgresql_engine: Engine, blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait with some of the list locked, for somebody who goes on to list these."""
    engine, key = postgresql_engine, blobs.put_bytes(b"bytes", tenant="default").key
    with transaction(engine) as session:
        catalog.discard_blobs(session, [key])
    delete = DirectoryBlobs.delete
    with ExitStack() as stack:

        def listed_meanwhile(self: DirectoryBlobs, keys: Sequence[str]) -> None:
            catalog.discard_blobs(stack.enter_context(transaction(engine)), keys)
            delete(self, keys)

        monkeypatch.setattr(DirectoryBlobs, "delete", listed_meanwhile)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(sweep_blobs, engine, blobs).result(20) == 1
    with reading(engine) as session:
        assert catalog.discarded_blobs(session, 10) == [key]


def test_a_sweep_that_ends_at_its_deletes_is_made_up_for_by_the_next(
    engine: Engine, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.delete(library.accept(["text"]).document.id)
    with monkeypatch.context() as patch:
        patch.setattr(type(library.blobs), "delete", lambda self, keys: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sweep_blobs(engine, library.blobs)
    assert sweep_blobs(engine, library.blobs) == 1
    assert list(library.blobs.list()) == []


@pytest.mark.servers
def test_where_the_connection_of_a_hold_is_lost_nothing_is_committed(postgresql_engine: Engine) -> None:
    engine = postgresql_engine
    with hold(engine, ["a"]) as held:
        assert held.connection is not None
        pid = held.connection.scalar(text("SELECT pg_backend_pid()"))
        held.connection.commit()
        with transaction(engine) as session:
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with (
            pytest.raises(DatabaseUnreachable, match="Start its server"),
            transaction(engine, held.connection) as session,
        ):
            catalog.ensure_collection(session, "default", "main")
    with reading(engine) as session:
        assert catalog.list_collections(session, "default") == []
    with hold_alone(engine, ["a"]) as alone:
        assert alone.keys == {"a"}
