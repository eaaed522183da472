"""The schema: it migrates up from nothing, equals the models, and refuses what it does not know."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import IntegrityError

from store import catalog
from store.database import check_schema, migrate, open_database, reading, take_in_log, transaction, truncate_log
from store.errors import (
    DatabaseBusy,
    DatabaseReadOnly,
    DatabaseUnreachable,
    DatabaseUnusable,
    SchemaOutdated,
    SchemaTooNew,
    StoreFull,
)
from store.models import Base, Collection, Document


def test_an_empty_database_migrates_up_and_migrating_again_changes_nothing(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/new/percel.db")
    with pytest.raises(SchemaOutdated, match=r"at revision none, this program needs .*: migrate the database first"):
        check_schema(engine)
    migrate(engine)
    migrate(engine)
    check_schema(engine)
    engine.dispose()


def test_migrations_and_models_agree(engine: Engine) -> None:
    def ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
        return not (kind == "table" and (name or "").startswith("passage_"))

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_ids_are_never_reused(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        tables = {row.name: row.sql for row in rows}
    assert all("AUTOINCREMENT" in tables[name] for name in ("chunk", "cache", "vector", "job"))


@pytest.mark.servers
def test_ids_have_64_bits_on_postgresql(postgresql_engine: Engine) -> None:
    with postgresql_engine.connect() as connection:
        kinds = connection.execute(text("SELECT sequencename, data_type::text FROM pg_sequences")).all()
    assert {row.sequencename: row.data_type for row in kinds} == {
        f"{table}_id_seq": "bigint" for table in ("chunk", "cache", "vector", "job", "delivery")
    }


def test_a_newer_database_is_refused_by_name(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (migrate, check_schema):
        with pytest.raises(SchemaTooNew, match=r"revision 9999, which this program .* Upgrade this program"):
            refuse(engine)


def test_processes_that_start_together_do_not_break_each_other(tmp_path: Path) -> None:
    script = (
        "from store.database import *\n"
        f"engine = open_database('sqlite:///{tmp_path}/percel.db')\n"
        "migrate(engine)\ncheck_schema(engine)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 3


def test_an_exception_rolls_everything_back(engine: Engine) -> None:
    def fail() -> None:
        with transaction(engine) as session:
            catalog.ensure_collection(session, "default", "main")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with reading(engine) as session:
        assert catalog.list_collections(session, "default") == []


def test_a_reader_is_not_kept_waiting_by_a_writer(engine: Engine) -> None:
    with transaction(engine) as writer:
        catalog.ensure_collection(writer, "default", "main")
        with reading(engine) as reader:
            assert catalog.list_collections(reader, "default") == []


def test_a_writer_that_waits_too_long_is_told(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.database._BUSY_MS", 50)
    with closing(sqlite3.connect(str(sqlite_engine.url.database))) as other:
        other.execute("BEGIN IMMEDIATE")
        said = r"percel\.db cannot be used: database is locked\. Another process is writing to it"
        with pytest.raises(DatabaseBusy, match=said), transaction(sqlite_engine) as session:
            session.execute(text("SELECT 1"))
        with pytest.raises(DatabaseBusy, match="run the same again when that is through"):
            migrate(sqlite_engine)
        other.rollback()
    with transaction(sqlite_engine) as session:  # the connection is as good as before
        catalog.ensure_collection(session, "default", "main")


def test_a_full_disk_is_said_and_changes_nothing(sqlite_engine: Engine) -> None:
    def fill() -> None:
        with transaction(sqlite_engine) as session:
            session.execute(text("PRAGMA max_page_count = 1"))  # SQLite clamps it to the present size
            catalog.ensure_collection(session, "default", "x" * 100_000)

    with pytest.raises(StoreFull, match=r"No space left at the database .*percel\.db.*Free space there"):
        fill()
    with reading(sqlite_engine) as session:
        assert catalog.list_collections(session, "default") == []


def test_a_disk_too_full_to_open_the_database_is_said(tmp_path: Path, migrated: Path) -> None:
    path = tmp_path / "percel.db"
    path.write_bytes(migrated.read_bytes())
    opened = "import sys; from store.database import *; migrate(open_database(f'sqlite:///{sys.argv[1]}'))"
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
    ended = subprocess.run([sys.executable, "-c", limit + opened, path], capture_output=True, text=True)
    assert f"StoreFull: No space left at the database {path}. Free space there" in ended.stderr


def test_a_damaged_database_is_said(sqlite_engine: Engine) -> None:
    with transaction(sqlite_engine) as session:
        catalog.ensure_collection(session, "default", "main")
    truncate_log(sqlite_engine)
    sqlite_engine.dispose()
    path = Path(str(sqlite_engine.url.database))
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))  # all but what says that it is a database
    said = r"percel\.db cannot be used: database disk image is malformed\. Restore it from a backup"
    with pytest.raises(DatabaseUnusable, match=said), reading(sqlite_engine) as session:
        catalog.list_collections(session, "default")
    with pytest.raises(DatabaseUnusable, match=said), transaction(sqlite_engine) as session:
        catalog.ensure_collection(session, "default", "other")


def test_a_database_that_cannot_be_written_is_said(sqlite_engine: Engine) -> None:
    said = r"percel\.db cannot be used: attempt to write a readonly database\. Reading it writes beside it, too: run as"

    def write() -> None:
        with transaction(sqlite_engine) as session:
            session.execute(text("PRAGMA query_only = ON"))  # as a disk that is mounted so
            catalog.ensure_collection(session, "default", "main")

    with pytest.raises(DatabaseReadOnly, match=said):
        write()


def test_rows_of_nothing_are_refused(engine: Engine) -> None:
    nowhere = Collection(id="nowhere", tenant="default", name="nowhere")
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"), transaction(engine) as session:
        catalog.accept_document(session, nowhere, title="a", sha256="b", size=1, blob="c")
    with reading(engine) as session:
        assert session.query(Document).count() == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", r"in PERCEL_DATABASE_URL cannot be used: Could not parse"),
        ("mysql://u:secret@h/d", r"mysql://u:\*\*\*@h/d in PERCEL_DATABASE_URL cannot be used: it is neither sqlite"),
        ("sqlite://", r"sqlite:// in PERCEL_DATABASE_URL cannot be used: it names no file: write sqlite:///path\."),
        ("sqlite:///:memory:", r"it names no file: write sqlite:///path\."),
        ("sqlite:///file:some.db?uri=true", r"it names no file: write sqlite:///path\."),
    ],
)
def test_an_address_that_is_none_is_said(url: str, said: str) -> None:
    with pytest.raises(DatabaseUnusable, match=said):
        open_database(url)


def test_a_server_that_does_not_answer_is_said() -> None:
    engine = open_database("postgres://percel:secret@127.0.0.1:9/percel")
    for use in (migrate, check_schema):
        with pytest.raises(DatabaseUnreachable, match=r"percel:\*\*\*@127.0.0.1:9/percel cannot be used: .*Start its"):
            use(engine)


def test_the_log_is_taken_in_beside_readers_and_writers(tmp_path: Path) -> None:
    path = tmp_path / "percel.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    with reading(engine) as reader:
        assert reader.scalar(select(func.count()).select_from(Collection)) == 0
        with transaction(engine) as session:
            session.add(Collection(id="c" * 32, tenant="default", name="kept in the log", created_at=0.0))
        take_in_log(engine)  # as far as nobody reads what was before
        with transaction(engine) as session:
            session.add(Collection(id="d" * 32, tenant="default", name="another", created_at=0.0))
            take_in_log(engine)
        assert reader.scalar(select(func.count()).select_from(Collection)) == 0
    assert b"kept in the log" not in path.read_bytes()
    take_in_log(engine)
    assert b"kept in the log" in path.read_bytes()
    engine.dispose()
