"""Owns the agreement between a blob that was put and the row that will name it, whatever a sweep does in between.

The store of blobs is not asked inside a transaction: where it is elsewhere and slow, nobody could write meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from store import catalog
from store.blobs import StoredBlob
from store.database import transaction
from store.errors import LeaseLost
from store.holds import Held, hold
from workers.resources import Resources

Put = Callable[[], StoredBlob]  # puts the same bytes each time


@contextmanager
def stored(resources: Resources, puts: Mapping[str, Put]) -> Iterator[Held]:
    """Blobs by key that are there and stay there until the block ends: commit the rows that name them inside it.

    One that a sweep took since it was put (the same bytes were deleted elsewhere meanwhile) is put again.
    """
    with hold(resources.engine, puts.keys()) as held:
        for key, put in sorted(puts.items()):
            if not resources.blobs.exists(key):
                put()
        yield held


@contextmanager
def discarded_if_lost(resources: Resources, key: str) -> Iterator[None]:
    """Puts a blob on the list for deletion when its document was deleted while it was made."""
    try:
        yield
    except LeaseLost:
        with transaction(resources.engine) as session:
            catalog.discard_blobs(session, [key])  # the sweep keeps what a row names
        raise
