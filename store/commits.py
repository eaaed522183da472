"""Owns the knowledge that nothing was committed to the database since somebody looked, so that what was read holds.

It knows nothing about what is committed, and who remembers what.
"""

import sqlite3
import threading
from typing import Generic, TypeVar

from sqlalchemy import Engine

Key = TypeVar("Key")
Value = TypeVar("Value")


class Commits:
    """Tells of commits over any other connection, of this process or another. Close it at the end.

    Safe for threads. SQLite says so in microseconds, out of memory that its processes share; a server would have to be
    asked.
    """

    def __init__(self, engine: Engine) -> None:
        self._lock = threading.Lock()  # to close the connection while another thread asks would end the process
        self._connection: sqlite3.Connection | None = None
        if engine.dialect.name == "sqlite":
            # It waits for nobody: an event loop asks. And it begins no transaction, in which all would look the same.
            self._connection = sqlite3.connect(
                str(engine.url.database), timeout=0, isolation_level=None, check_same_thread=False
            )

    def mark(self) -> int | None:
        """Equal to one from before only if nothing was committed in between; None where nobody can tell.

        What is read after it was given is no older than it.
        """
        with self._lock:
            if self._connection is None:
                return None
            try:
                # To its last row: a statement that is not at its end would keep its view of the database.
                ((version,),) = self._connection.execute("PRAGMA data_version")
            except sqlite3.OperationalError:  # locked, say; whoever reads the database finds out, or waits
                return None
            return int(version)

    def close(self) -> None:
        """Lets go of the database; nobody can tell from then on."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Remembered(Generic[Key, Value]):
    """What was read of the database, for as long as nothing is committed. Marks are those of one `Commits`."""

    def __init__(self) -> None:
        self._mark: int | None = None
        self._kept: dict[Key, Value] = {}

    def recall(self, key: Key, mark: int | None) -> Value | None:
        """What was kept and still holds; None: it must be read."""
        if mark is None or mark != self._mark:
            self._mark, self._kept = mark, {}
        return self._kept.get(key)

    def keep(self, key: Key, value: Value, mark: int | None) -> None:
        """Keeps what was read after the mark was given."""
        if mark is not None and mark == self._mark:
            self._kept[key] = value
