"""Owns the edges' own errors, and one table from error to exit code."""

from compressor.errors import CompressorError
from store.errors import NotFound, StoreError
from workers.errors import SettingsError, WorkerError


class AmbiguousName(Exception):
    """A name that several documents have, where one is meant."""


# The first class that fits counts.
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (SettingsError, 2),
    (AmbiguousName, 2),
    (NotFound, 3),
    (FileNotFoundError, 3),
    (CompressorError, 1),
    (StoreError, 1),
    (WorkerError, 1),
    (OSError, 1),
)


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that is meant for people; None for one that is a fault of the program."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)
