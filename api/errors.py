"""Owns what the edges make of errors: one table from error to exit code (and, for HTTP, to status)."""

from compressor.errors import CompressorError
from store.errors import NotFound, StoreError
from workers.errors import SettingsError, WorkerError

# The first class that fits counts.
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (SettingsError, 2),
    (NotFound, 3),
    (CompressorError, 1),
    (StoreError, 1),
    (WorkerError, 1),
    (FileNotFoundError, 3),
    (PermissionError, 1),
)


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that is meant for people; None for one that is a fault of the program."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)
