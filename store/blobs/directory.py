"""Owns blobs as files under one directory, safe for many processes on one machine."""

import errno
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from store.blobs.base import PARTIAL_AGE, ListedBlob, StoredBlob
from store.blobs.keys import blob_key, check_key, compare, is_key
from store.blobs.partial import arriving, pieces_of, remove_old
from store.errors import BlobDamaged, BlobMissing
from store.tenants import check_tenant

_FOLDERS = "[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*"


class DirectoryBlobs:
    """Blobs as files; a key is a path below the root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put_stream(self, stream: BinaryIO, *, tenant: str, limit: int | None = None) -> StoredBlob:
        return self._put(stream, tenant, limit=limit, expected=None)

    def put_file(self, path: Path, *, tenant: str, limit: int | None = None) -> StoredBlob:
        with path.open("rb") as file:
            return self._put(file, tenant, limit=limit, expected=path.stat().st_size)

    def put_bytes(self, data: bytes, *, tenant: str) -> StoredBlob:
        return self._put(io.BytesIO(data), tenant, limit=None, expected=len(data))

    def _put(self, stream: BinaryIO, tenant: str, *, limit: int | None, expected: int | None) -> StoredBlob:
        check_tenant(tenant)
        with arriving(self.root, pieces_of(stream), limit=limit, expected=expected) as arrived:
            key = blob_key(tenant, arrived.sha256)
            arrived.move(self.root / key)
        return StoredBlob(key, arrived.sha256, arrived.size)

    def read(self, key: str) -> bytes:
        with self._open(key) as file:
            data = file.read()
        compare(key, hashlib.sha256(data).hexdigest())
        return data

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._open(key) as file:
            file.seek(start)
            data = file.read(length)
        if len(data) != length:
            raise BlobDamaged(key, f"it ends before byte {start + length}")
        return data

    def ranges(self, key: str) -> Path:
        return self.local_path(key)

    def local_path(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise BlobMissing(key)
        return path

    def verify(self, key: str) -> None:
        with self._open(key) as file:
            compare(key, hashlib.file_digest(file, "sha256").hexdigest())

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        return self.local_path(key).stat().st_size

    def delete(self, keys: Sequence[str]) -> None:
        fault: OSError | None = None
        for path in [self._path(key) for key in keys]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                fault = error
        if fault is not None:
            raise fault

    def list(self) -> Iterator[ListedBlob]:
        for pattern in (_FOLDERS, f"*/{_FOLDERS}"):
            for path in self.root.glob(pattern):
                key = path.relative_to(self.root).as_posix()
                try:
                    if is_key(key) and path.is_file():
                        status = path.stat()
                        yield ListedBlob(key, status.st_size, status.st_mtime)
                except FileNotFoundError:  # deleted meanwhile
                    continue

    def remove_partial(self, older_than: float = PARTIAL_AGE) -> int:
        return remove_old(self.root, older_than)

    def close(self) -> None:
        pass

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextmanager
    def _open(self, key: str) -> Iterator[io.BufferedReader]:
        try:
            with self._path(key).open("rb") as file:
                yield file
        except FileNotFoundError as error:
            raise BlobMissing(key) from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise BlobDamaged(key, "the disk cannot read it") from error
