"""Owns the agreement between a blob that was put and the row that will name it, whatever a sweep does in between.

The store of blobs is not asked inside a transaction: where it is elsewhere and slow, nobody could write meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from store import catalog
from store.blobs import StoredBlob
from store.database import transaction
from store.errors import LeaseLost
from workers.resources import Resources

Put = Callable[[], StoredBlob]  # puts the same bytes each time


def ensure_stored(resources: Resources, key: str, put: Put) -> None:
    """Puts a blob again that a sweep took before its row was there: the same bytes were deleted elsewhere meanwhile.

    Call it when the transaction that names the blob in a row has committed: from then on no sweep takes it.
    """
    if resources.blobs.exists(key):
        return
    put()
    with transaction(resources.engine) as session:
        catalog.discard_blobs(session, [key])  # the row may be gone by now; the sweep keeps what a row names


@contextmanager
def discarded_if_lost(resources: Resources, key: str) -> Iterator[None]:
    """Puts a blob on the list for deletion when its document was deleted while it was made."""
    try:
        yield
    except LeaseLost:
        with transaction(resources.engine) as session:
            catalog.discard_blobs(session, [key])  # the sweep keeps what a row names
        raise
