"""Owns bytes: blobs named by their tenant and content, in a directory or an S3 bucket. Knows no rows."""

from pathlib import Path

from store.blobs.address import S3Address, parse_address
from store.blobs.base import BlobRanges, BlobStore, ListedBlob, StoredBlob
from store.blobs.directory import DirectoryBlobs

__all__ = [
    "BlobRanges",
    "BlobStore",
    "DirectoryBlobs",
    "ListedBlob",
    "S3Address",
    "StoredBlob",
    "open_blobs",
    "parse_address",
]


def open_blobs(url: str, *, directory: Path, copies: Path, copies_bytes: int) -> BlobStore:
    """The store behind an address: `directory` for an empty one. Connects to nothing yet. Raises InvalidBlobUrl.

    Of a store that is elsewhere, up to `copies_bytes` are kept in the folder `copies`.
    """
    place = parse_address(url) if url else directory
    if isinstance(place, Path):
        return DirectoryBlobs(place)
    from store.blobs.copies import LocalCopies
    from store.blobs.s3 import S3Blobs

    return S3Blobs(place, LocalCopies(copies, copies_bytes))
