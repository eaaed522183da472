"""Owns the connection to the database: engine, transactions, schema."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import (
    SQLITE_BUSY,
    SQLITE_CANTOPEN,
    SQLITE_CORRUPT,
    SQLITE_FULL,
    SQLITE_IOERR,
    SQLITE_IOERR_SHMSIZE,
    SQLITE_NOTADB,
    SQLITE_READONLY,
)
from sqlite3 import Connection as SqliteConnection
from sqlite3 import OperationalError as SqliteError
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.orm import Session

from store.errors import (
    DatabaseBusy,
    DatabaseReadOnly,
    DatabaseUnreachable,
    DatabaseUnusable,
    SchemaOutdated,
    SchemaTooNew,
    StoreFull,
)

MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 30_000  # how long a writer waits for another one
_LOOK_MS = 2  # between its looks; SQLite's own pauses grow to 100 ms, and miss the gaps of a busy worker
_MAPPED_BYTES = 1 << 40  # of the file read without copies, a third of a search's rows' cost; SQLite stops at 2 GiB
_CONNECT_SECONDS = 10
# Of 4 kB, after which a commit takes the log into the file, and waits for the disk; see `take_in_log`.
_LOG_PAGES = 16_000
_DISK_FULL = "53100"  # PostgreSQL's state for it
_FULL = (SQLITE_FULL, SQLITE_IOERR_SHMSIZE)  # the latter: no room for what lies beside the file while it is open
_FAULTS = {  # by SQLite's code, without what it says more closely in its higher bits
    SQLITE_BUSY: DatabaseBusy,
    SQLITE_READONLY: DatabaseReadOnly,
    SQLITE_CANTOPEN: DatabaseReadOnly,
    SQLITE_CORRUPT: DatabaseUnusable,
    SQLITE_NOTADB: DatabaseUnusable,
    SQLITE_IOERR: DatabaseUnusable,
}
# Connections of a process. A search takes one at a time, and a second one while it takes in what came.
_POOL = {"pool_size": 8, "max_overflow": 32}
_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_MIGRATION_LOCK = 0x70657263656C  # PostgreSQL advisory lock, "percel"


def open_database(url: str) -> Engine:
    """An engine for `sqlite:///path` or a PostgreSQL URL. Open one per process, after any fork; dispose it at the end.

    SQLite runs in WAL mode: readers never wait for the one writer.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnusable("in PERCEL_DATABASE_URL", error) from error
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return _open_postgresql(parsed.set(drivername="postgresql+psycopg"))
    if parsed.get_backend_name() != "sqlite":
        reason = "it is neither sqlite:// nor postgresql://"
        raise DatabaseUnusable(f"{parsed.render_as_string()} in PERCEL_DATABASE_URL", reason)
    if parsed.database in (None, "", ":memory:") or "uri" in parsed.query:
        # Threads and processes share the file, and what lies beside it.
        reason = "it names no file: write sqlite:///path"
        raise DatabaseUnusable(f"{parsed.render_as_string()} in PERCEL_DATABASE_URL", reason)
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL) -> Engine:
    # A connection that the server ended, by a restart say, is noticed when it is taken from the pool, and replaced.
    return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS}, **_POOL)


def _prepare_sqlite(connection: SqliteConnection, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself; _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten: delete means gone


def _use_wal(connection: SqliteConnection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    # Changing the mode of a new file does not honour the busy timeout, and processes may start together.
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except Exception as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql("BEGIN")
        return
    # A writer takes the write lock at once: a read that turns into a write would fail instead of waiting.
    driver = connection.connection.driver_connection
    assert isinstance(driver, SqliteConnection)
    until = time.monotonic() + _BUSY_MS / 1000
    driver.execute(f"PRAGMA busy_timeout={_LOOK_MS}")
    try:
        while time.monotonic() < until:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except SqliteError as error:
                if error.sqlite_errorcode != SQLITE_BUSY:
                    break
    finally:
        driver.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")  # says what is wrong


@contextmanager
def transaction(engine: Engine, connection: Connection | None = None) -> Iterator[Session]:
    """A session that may write. Commits at the end, rolls back on an exception. Keep it short; never nest it.

    It goes over that `connection` of the engine, where one is given (see `holds`).
    Raises: StoreFull when the database cannot grow, DatabaseUnreachable when the server does not answer, DatabaseBusy,
    DatabaseReadOnly, DatabaseUnusable when the file is damaged; nothing was changed then (or, where the connection
    broke during the commit itself, nobody knows: do the same again).
    """
    bind = engine.execution_options(writes=True) if connection is None else connection
    with explaining(engine), _turn(engine), Session(bind, expire_on_commit=False) as session, session.begin():
        yield session


def _turn(engine: Engine) -> AbstractContextManager[object]:
    """One thread at a time writes to SQLite: who waits for its lock only looks again after ever longer pauses."""
    return nullcontext() if engine.dialect.name == "postgresql" else _TURNS.setdefault(engine, threading.Lock())


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session for reads: one consistent snapshot, never waits for a writer. What is written in it is rolled back.

    Raises: DatabaseUnreachable when the server does not answer, DatabaseUnusable when the file is damaged.
    """
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")  # SQLite's transactions are like that
    with explaining(engine), Session(engine, expire_on_commit=False) as session:
        yield session


@contextmanager
def explaining(engine: Engine) -> Iterator[None]:
    """Raises StoreFull and DatabaseUnusable in the place of the errors that mean them."""
    try:
        yield
    except DatabaseError as error:
        _explain(engine, error)
        raise


def _explain(engine: Engine, error: DatabaseError) -> None:
    """Raises one of our errors where a person or a retry can do something about it."""
    place = place_of(engine)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code in _FULL:
        raise StoreFull(f"the database {place}", None) from error
    if code is not None and (fault := _FAULTS.get(code & 0xFF)):
        raise fault(place, error.orig) from error
    if getattr(error.orig, "sqlstate", None) == _DISK_FULL:
        raise StoreFull(f"the database {place}", None) from error
    at_connect = error.statement is None and isinstance(error, OperationalError)
    if engine.dialect.name == "postgresql" and (error.connection_invalidated or at_connect):
        raise DatabaseUnreachable(place, error.orig) from error


def place_of(engine: Engine) -> str:
    """The database as people know it: a file, or an address without its password."""
    return str(engine.url.database) if engine.dialect.name == "sqlite" else engine.url.render_as_string()


def take_in_log(engine: Engine) -> None:
    """Takes SQLite's write-ahead log into the file beside whoever reads and writes; elsewhere there is none.

    Where nobody does it, the commit that makes the log too long does, while others wait to write.
    """
    _checkpoint(engine, "PASSIVE")


def truncate_log(engine: Engine) -> None:
    """Empties SQLite's write-ahead log, so that it holds no page of what was deleted; elsewhere there is none."""
    _checkpoint(engine, "TRUNCATE")


def _checkpoint(engine: Engine, mode: str) -> None:
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"PRAGMA wal_checkpoint({mode})")


def migrate(engine: Engine) -> None:
    """Brings the database to this program's schema. Processes that start together wait for each other.

    Raises: SchemaTooNew when the database was written by a newer program, DatabaseUnusable.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with _usable(engine), engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        found = _revision(connection)
        if found is not None and found not in _known():
            raise SchemaTooNew(found, _head())
        if found is None:
            _refuse_pgvector_in_the_way(connection)
        if found != _head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _refuse_pgvector_in_the_way(connection: Connection) -> None:
    """The extension's type `vector` and our table of that name cannot be in one schema."""
    if connection.dialect.name != "postgresql":
        return
    found = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    schema = connection.exec_driver_sql(found + "WHERE e.extname = 'vector' AND n.nspname = current_schema()").scalar()
    if schema is not None:
        reason = f"pgvector is in its schema {schema}, where Percel's tables go. First run there: "
        reason += "CREATE SCHEMA pgvector; ALTER EXTENSION vector SET SCHEMA pgvector"
        raise DatabaseUnusable(place_of(connection.engine), reason)


@contextmanager
def _usable(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        _explain(engine, error)
        raise DatabaseUnusable(place_of(engine), error.orig) from error


def check_schema(engine: Engine) -> None:
    """Raises: SchemaOutdated or SchemaTooNew unless the database has this program's schema."""
    with _usable(engine), engine.connect() as connection:
        found = _revision(connection)
    if found is not None and found not in _known():
        raise SchemaTooNew(found, _head())
    if found != _head():
        raise SchemaOutdated(found, _head())


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _known() -> list[str]:
    """Revisions of this program, the newest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]


def _head() -> str:
    return _known()[0]


@dataclass(frozen=True, slots=True)
class Revisions:
    """Where a database's schema is, and where this program's is."""

    found: str | None  # None: there are no tables yet
    wanted: str
    known: tuple[str, ...]  # to this program, the newest first


def schema_revisions(engine: Engine) -> Revisions:
    """Which schema the database has and which one this program needs. Raises: DatabaseUnusable."""
    with _usable(engine), engine.connect() as connection:
        return Revisions(_revision(connection), _head(), tuple(_known()))


def build_schema(engine: Engine, revision: str) -> None:
    """Makes the tables of an older program in a new database, for rows from its time; `migrate` brings both up."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
