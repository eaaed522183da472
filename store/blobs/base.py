"""Owns the contract of every blob store: bytes named by their content, written atomically, verified when read whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

PARTIAL_AGE = 24 * 3600.0  # something half written that is so old (seconds) belongs to nobody who is still writing


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that was just put."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob as the store lists it."""

    key: str
    size: int
    modified_at: float  # seconds since 1970; putting the same bytes again may renew it


class BlobRanges(Protocol):
    """One blob that is not on this machine, in ranges, not verified. Safe for several threads.

    Raises BlobMissing, BlobStoreDown.
    """

    @property
    def name(self) -> str: ...

    def size(self) -> int:
        """In bytes; known after the first read."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Bytes from start on; fewer where the blob ends before."""
        ...


class BlobStore(Protocol):
    """Bytes by key. A key is made by the store from tenant and content, `<tenant>/ab/cd/<sha256>`; keys from before
    there were tenants, `ab/cd/<sha256>`, are read and deleted too. Nothing else is accepted as one.

    Putting is atomic and idempotent: the same bytes of a tenant have the same key, and bytes that somebody overwrote
    are healed by putting the right ones again. A blob never changes. Every method that takes a key raises InvalidKey
    for what is not one, every method that puts InvalidTenant for what is not a tenant's name. Each of them raises
    BlobStoreUnusable where the store is elsewhere and does not do its part, as BlobStoreDown where that will pass.
    """

    def put_stream(self, stream: BinaryIO, *, tenant: str, limit: int | None = None) -> StoredBlob:
        """Stores what the stream still holds. Raises: BlobTooLarge above `limit` bytes, StoreFull; nothing is left."""
        ...

    def put_file(self, path: Path, *, tenant: str, limit: int | None = None) -> StoredBlob:
        """Stores a file's bytes. Raises: as put_stream."""
        ...

    def put_bytes(self, data: bytes, *, tenant: str) -> StoredBlob:
        """Stores bytes. Raises: StoreFull."""
        ...

    def read(self, key: str) -> bytes:
        """All of it, verified. Raises: BlobMissing, BlobDamaged."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes start to start + length, not verified. Raises: BlobMissing; BlobDamaged where it is shorter."""
        ...

    def ranges(self, key: str) -> Path | BlobRanges:
        """For reading parts of it: the file, to be mapped, where it is on this machine; ranges where it is not.

        Not verified. Raises: BlobMissing, ranges only when they are read.
        """
        ...

    def local_path(self, key: str) -> Path:
        """A read-only file with the bytes, fetched where they are elsewhere. Raises: BlobMissing; when it fetches
        BlobDamaged, StoreFull. A file that is here already is not verified."""
        ...

    def verify(self, key: str) -> None:
        """Reads all of it without keeping it. Raises: BlobMissing, BlobDamaged."""
        ...

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """In bytes. Raises: BlobMissing."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Takes blobs away; one that is gone is no error. Open maps of them stay valid.

        One that cannot be deleted keeps no other one: all are tried before the error is raised.
        """
        ...

    def list(self) -> Iterator[ListedBlob]:
        """Every blob, in no order."""
        ...

    def remove_partial(self, older_than: float = PARTIAL_AGE) -> int:
        """Deletes what writers that were killed left behind, at least `older_than` seconds ago. Returns how many.

        Local copies of blobs that are elsewhere are brought down to their limit.
        """
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...
