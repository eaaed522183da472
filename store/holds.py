"""Owns holds on blobs: while somebody is about to name one in a row nobody deletes it, and the other way round.

They outlast transactions, so that a slow store of blobs is asked outside of them. On PostgreSQL they belong to a
connection, which the transaction inside uses as well: were it lost, and the holds with it, nothing would be committed.
SQLite is one machine's, and the holds are locks on files beside it. Both are let go of when the process ends.
"""

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ARRAY, BigInteger, Connection, Engine, bindparam, text
from sqlalchemy.exc import DBAPIError

from store.database import explaining
from store.locks import lock_key
from store.space import on_disk

_KEYS = bindparam("keys", type_=ARRAY(BigInteger))
_SHARE = text("SELECT pg_advisory_lock_shared(key) FROM unnest(:keys) AS key").bindparams(_KEYS)
_TAKE = text("SELECT key FROM unnest(:keys) AS key WHERE pg_try_advisory_lock(key)").bindparams(_KEYS)
_LET_GO = text("SELECT pg_advisory_unlock_all()")


@dataclass(frozen=True, slots=True)
class Held:
    """Blobs that are held, and the connection for transactions meanwhile (None: any)."""

    keys: frozenset[str]
    connection: Connection | None = None


@contextmanager
def hold(engine: Engine, keys: Iterable[str]) -> Iterator[Held]:
    """No sweep deletes these blobs until the block ends; any number may hold one. Waits for a sweep that is at one.

    Look whether they are there inside the block, then commit the rows that name them. Never inside a transaction.
    Raises: DatabaseUnreachable, StoreFull.
    """
    held = frozenset(keys)
    if engine.dialect.name == "sqlite":
        with ExitStack() as stack:
            for path in sorted({_file(engine, key) for key in held}):
                _lock(stack, path, fcntl.LOCK_SH)
            yield Held(held)
        return
    with _connected(engine) as connection:
        with explaining(engine):
            connection.execute(_SHARE, {"keys": sorted(map(_number, held))})
            connection.commit()
        yield Held(held, connection)


@contextmanager
def hold_alone(engine: Engine, keys: Iterable[str]) -> Iterator[Held]:
    """Those of the blobs that nobody else holds; who is about to name one waits until the block ends.

    Raises: DatabaseUnreachable, StoreFull.
    """
    wanted = frozenset(keys)
    if engine.dialect.name == "sqlite":
        with ExitStack() as stack:
            free = {path for path in {_file(engine, key) for key in wanted} if _try_lock(stack, path)}
            yield Held(frozenset(key for key in wanted if _file(engine, key) in free))
        return
    with _connected(engine) as connection:
        with explaining(engine):
            taken = set(connection.scalars(_TAKE, {"keys": sorted(map(_number, wanted))}))
            connection.commit()
        yield Held(frozenset(key for key in wanted if _number(key) in taken), connection)


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    """A connection that has let go of everything when it goes back to the others."""
    with explaining(engine):
        connection = engine.connect()
    with connection:
        try:
            yield connection
        finally:
            try:
                connection.rollback()
                connection.execute(_LET_GO)
                connection.commit()
            except DBAPIError:
                connection.invalidate()  # the server lets go of what an ended connection held


def _number(key: str) -> int:
    return lock_key(f"blob {key}")


def _file(engine: Engine, key: str) -> Path:
    """The file whose lock stands for the blob, and for some others."""
    return Path(f"{engine.url.database}-holds") / hashlib.sha256(key.encode()).hexdigest()[:2]


def _lock(stack: ExitStack, path: Path, operation: int) -> None:
    with on_disk(path.parent.parent):
        path.parent.mkdir(exist_ok=True)
        file = stack.enter_context(path.open("a+"))  # on NFS only a file that can be read is locked together
    fcntl.flock(file, operation)
    stack.callback(fcntl.flock, file, fcntl.LOCK_UN)  # a process that was forked meanwhile has it open for longer


def _try_lock(stack: ExitStack, path: Path) -> bool:
    try:
        _lock(stack, path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
