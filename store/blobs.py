"""Owns bytes: blobs named by their content, written atomically, verified when read whole. Knows no rows."""

import errno
import hashlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import uuid4

from store.errors import BlobDamaged, BlobMissing, BlobTooLarge, InvalidKey, StoreFull

_KEY = re.compile(r"([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_PIECE = 1 << 20  # bytes copied at a time
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # disk, quota, or the process's file size limit
_PARTIAL_AGE = 24 * 3600  # a temporary file this old (seconds) belongs to nobody who is still writing


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
    modified_at: float  # seconds since 1970; putting the same bytes again renews it


class BlobStore(Protocol):
    """Bytes by key. A key is made by the store from the content, `ab/cd/<sha256>`; nothing else is accepted as one.

    Putting is atomic and idempotent: the same bytes have the same key, and a damaged blob is healed by putting its
    bytes again. A blob never changes. Every method that takes a key raises InvalidKey for what is not one.
    """

    def put_stream(self, stream: BinaryIO, *, limit: int | None = None) -> StoredBlob:
        """Stores what the stream still holds. Raises: BlobTooLarge above `limit` bytes, StoreFull; nothing is left."""
        ...

    def put_file(self, path: Path, *, limit: int | None = None) -> StoredBlob:
        """Stores a file's bytes. Raises: as put_stream."""
        ...

    def put_bytes(self, data: bytes) -> StoredBlob:
        """Stores bytes. Raises: StoreFull."""
        ...

    def read(self, key: str) -> bytes:
        """All of it, verified. Raises: BlobMissing, BlobDamaged."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes start to start + length, not verified. Raises: BlobMissing; BlobDamaged where it is shorter."""
        ...

    def local_path(self, key: str) -> Path:
        """A read-only file with the bytes, for memory maps, not verified. Raises: BlobMissing."""
        ...

    def verify(self, key: str) -> None:
        """Reads all of it without keeping it. Raises: BlobMissing, BlobDamaged."""
        ...

    def exists(self, key: str) -> bool: ...

    def size(self, key: str) -> int:
        """In bytes. Raises: BlobMissing."""
        ...

    def delete(self, key: str) -> None:
        """Takes the blob away; one that is gone is no error. Open maps of it stay valid."""
        ...

    def list(self) -> Iterator[ListedBlob]:
        """Every blob, in no order."""
        ...


class DirectoryBlobs:
    """Blobs as files under one directory, safe for many processes on one machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._partial = root / "partial"  # on the same file system, so that a rename is atomic

    def put_stream(self, stream: BinaryIO, *, limit: int | None = None) -> StoredBlob:
        return self._put(stream, limit=limit, expected=None)

    def put_file(self, path: Path, *, limit: int | None = None) -> StoredBlob:
        with path.open("rb") as file:
            return self._put(file, limit=limit, expected=path.stat().st_size)

    def put_bytes(self, data: bytes) -> StoredBlob:
        return self._put(io.BytesIO(data), limit=None, expected=len(data))

    def _put(self, stream: BinaryIO, *, limit: int | None, expected: int | None) -> StoredBlob:
        if limit is not None and expected is not None and expected > limit:
            raise BlobTooLarge(limit)
        partial = self._partial / uuid4().hex
        size = 0
        try:
            self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
            digest = hashlib.sha256()
            # Unbuffered: what the disk refuses is refused here, not when the file is closed.
            with open(partial, "xb", buffering=0, opener=_private) as file:
                while piece := stream.read(_PIECE):
                    size += len(piece)
                    if limit is not None and size > limit:
                        raise BlobTooLarge(limit)
                    digest.update(piece)
                    _write_all(file, piece)
                os.fsync(file.fileno())
            key = _key_of(digest.hexdigest())
            target = self.root / key
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.replace(partial, target)
            _sync_directory(target.parent)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in _NO_SPACE:
                free = shutil.disk_usage(self.root).free
                raise StoreFull(str(self.root), max(expected or 0, size), free) from error
            raise
        return StoredBlob(key, digest.hexdigest(), size)

    def read(self, key: str) -> bytes:
        with self._open(key) as file:
            data = file.read()
        _compare(key, hashlib.sha256(data).hexdigest())
        return data

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._open(key) as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise BlobDamaged(key, f"it ends before byte {start + length}")
        return data

    def local_path(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise BlobMissing(key)
        return path

    def verify(self, key: str) -> None:
        with self._open(key) as file:
            _compare(key, hashlib.file_digest(file, "sha256").hexdigest())

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        return self.local_path(key).stat().st_size

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def list(self) -> Iterator[ListedBlob]:
        for path in self.root.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"):
            key = path.relative_to(self.root).as_posix()
            if _KEY.fullmatch(key):
                try:
                    status = path.stat()
                except FileNotFoundError:  # deleted meanwhile
                    continue
                yield ListedBlob(key, status.st_size, status.st_mtime)

    def remove_partial(self, older_than: float = _PARTIAL_AGE) -> int:
        """Deletes what writers that were killed left behind, at least `older_than` seconds ago. Returns how many."""
        removed = 0
        for path in self._partial.glob("*"):
            if path.stat().st_mtime <= time.time() - older_than:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise InvalidKey(key)
        return self.root / key

    def _open(self, key: str) -> io.BufferedReader:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(key) from error


def _key_of(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _compare(key: str, sha256: str) -> None:
    if _key_of(sha256) != key:
        raise BlobDamaged(key, f"its bytes have the sha256 {sha256}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_all(file: io.FileIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
