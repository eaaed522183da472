"""Owns what becomes of a write that a full disk refuses."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import NO_SPACE, StoreFull


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Says of a full disk where it is full, and how much is free. Raises StoreFull."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StoreFull(str(folder), None, shutil.disk_usage(folder).free) from error
        raise
