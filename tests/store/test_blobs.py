"""Blobs: every store keeps the same contract; what is damaged, missing, too large or too much is said."""

import hashlib
import io
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from compressor.cachefile import CacheFile
from compressor.ranges import ByteRanges
from store.blobs import BlobStore, DirectoryBlobs, open_blobs
from store.blobs.s3 import S3Blobs
from store.errors import BlobDamaged, BlobMissing, BlobTooLarge, InvalidKey, InvalidTenant

TENANT = "acme"


@pytest.fixture(params=["directory", "s3"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    url = request.getfixturevalue("s3_url") if request.param == "s3" else ""
    store = open_blobs(url, directory=tmp_path / "blobs", copies=tmp_path / "copies", copies_bytes=1 << 30)
    yield store
    store.close()


def overwrite(store: BlobStore, key: str, data: bytes) -> None:
    """What somebody does to a blob behind the store's back."""
    if isinstance(store, S3Blobs):
        store.client.put_object(Bucket=store.address.bucket, Key=f"{store.address.prefix}/{key}", Body=data)
    else:
        assert isinstance(store, DirectoryBlobs)
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_bytes_come_back(any_store: BlobStore, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(data)
    stored = any_store.put_bytes(data, tenant=TENANT)
    assert stored == any_store.put_file(tmp_path / "source", tenant=TENANT)
    assert stored == any_store.put_stream(io.BytesIO(data), tenant=TENANT)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert stored.key == f"acme/{stored.sha256[:2]}/{stored.sha256[2:4]}/{stored.sha256}"
    assert any_store.read(stored.key) == data
    assert any_store.read_range(stored.key, 1000, 50) == data[1000:1050]
    assert any_store.size(stored.key) == stored.size == len(data)
    assert [(blob.key, blob.size) for blob in any_store.list()] == [(stored.key, len(data))]
    any_store.verify(stored.key)


def test_a_blob_that_the_disk_cannot_read_is_damaged(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    key = blobs.put_bytes(b"some bytes", tenant=TENANT).key
    blobs.delete([key])
    (tmp_path / key).symlink_to("/proc/self/mem")  # whose first byte nobody can read: EIO
    for read in (blobs.read, blobs.verify, lambda key: blobs.read_range(key, 0, 1)):
        with pytest.raises(BlobDamaged, match=r"is damaged \(the disk cannot read it\)\. Restore it from a backup"):
            read(key)


def test_no_bytes_are_bytes_too(any_store: BlobStore) -> None:
    assert any_store.read(any_store.put_bytes(b"", tenant=TENANT).key) == b""


def test_tenants_share_nothing(any_store: BlobStore) -> None:
    ours, theirs = any_store.put_bytes(b"the same", tenant="acme"), any_store.put_bytes(b"the same", tenant="ab")
    assert ours.key != theirs.key
    any_store.delete([ours.key])
    assert any_store.read(theirs.key) == b"the same"
    assert [blob.key for blob in any_store.list()] == [theirs.key]


@pytest.mark.parametrize("name", ["", "Acme", "a/b", "..", "-a", "a" * 64, "a\n", "a_b", "a.b"])
def test_a_tenant_has_a_plain_name(any_store: BlobStore, name: str) -> None:
    puts: list[Callable[[], object]] = [
        lambda: any_store.put_bytes(b"bytes", tenant=name),
        lambda: any_store.put_stream(io.BytesIO(b"bytes"), tenant=name),
        lambda: any_store.put_file(Path(__file__), tenant=name),
    ]
    for put in puts:
        with pytest.raises(InvalidTenant, match="is no name for a tenant: take 1 to 63 small letters"):
            put()
    assert list(any_store.list()) == []


def test_keys_from_before_there_were_tenants_are_read_and_deleted(any_store: BlobStore) -> None:
    sha256 = hashlib.sha256(b"old").hexdigest()
    key = f"{sha256[:2]}/{sha256[2:4]}/{sha256}"
    overwrite(any_store, key, b"old")
    assert any_store.read(key) == any_store.local_path(key).read_bytes() == b"old"
    assert [(blob.key, blob.size) for blob in any_store.list()] == [(key, 3)]
    any_store.delete([key])
    assert not any_store.exists(key)


def test_ranges_are_a_file_to_map_or_bytes_from_afar(any_store: BlobStore) -> None:
    data = os.urandom(1000)
    key = any_store.put_bytes(data, tenant=TENANT).key
    found = any_store.ranges(key)
    if isinstance(found, Path):
        assert found.read_bytes() == data
        return
    ranges: ByteRanges = found  # what the compressor reads cache files with
    assert (ranges.read(0, 64_000), ranges.read(990, 100), ranges.read(1000, 5)) == (data, data[990:], b"")
    assert (ranges.size(), ranges.name) == (1000, key.rpartition("/")[2])


def test_a_map_outlives_the_delete(any_store: BlobStore) -> None:
    key = any_store.put_bytes(b"mapped", tenant=TENANT).key
    with any_store.local_path(key).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        any_store.delete([key])
        any_store.delete([key])
        assert not any_store.exists(key)
        assert mapped[:] == b"mapped"


def test_what_is_missing_is_named(any_store: BlobStore) -> None:
    key = any_store.put_bytes(b"gone", tenant=TENANT).key
    any_store.delete([key])
    reads: list[Callable[[], object]] = [
        lambda: any_store.read(key),
        lambda: any_store.read_range(key, 0, 1),
        lambda: any_store.local_path(key),
        lambda: any_store.size(key),
        lambda: any_store.verify(key),
        lambda: CacheFile(any_store.ranges(key)),
    ]
    for read in reads:
        with pytest.raises(BlobMissing, match=f"Blob {key} is missing. Restore it"):
            read()
    assert not any_store.exists(key)
    assert list(any_store.list()) == []


@pytest.mark.parametrize(
    "key",
    [
        *("../../etc/passwd", "/etc/passwd", "ab/cd/" + "0" * 64, "ab/cd/abcd", "", "ab/cd/abcd" + "0" * 60 + "\n"),
        *("acme/ab/cd/" + "0" * 64, "Acme/ab/cd/abcd" + "0" * 60, "../ab/cd/abcd" + "0" * 60),
    ],
)
def test_only_its_own_keys_are_keys(any_store: BlobStore, key: str) -> None:
    def delete(key: str) -> None:
        any_store.delete([key])

    for use in (any_store.read, any_store.exists, delete, any_store.local_path, any_store.ranges):
        with pytest.raises(InvalidKey, match="is not a blob key"):
            use(key)


def test_one_flipped_byte_is_found_and_putting_the_bytes_again_heals_it(any_store: BlobStore) -> None:
    data = os.urandom(1000)
    key = any_store.put_bytes(data, tenant=TENANT).key
    overwrite(any_store, key, data[:500] + bytes([data[500] ^ 1]) + data[501:])
    for read in (any_store.read, any_store.verify):
        with pytest.raises(BlobDamaged, match=f"Blob {key} is damaged .its bytes have the sha256 .* Restore it"):
            read(key)
    any_store.put_bytes(data, tenant=TENANT)
    assert any_store.read(key) == data


def test_a_truncated_blob_is_found_by_a_range_read(any_store: BlobStore) -> None:
    key = any_store.put_bytes(b"0123456789", tenant=TENANT).key
    overwrite(any_store, key, b"01234")
    with pytest.raises(BlobDamaged, match="it ends before byte 9"):
        any_store.read_range(key, 3, 6)


def test_a_stream_over_the_cap_leaves_nothing(any_store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2001))
    with pytest.raises(BlobTooLarge, match="More than 2,000 bytes: over the size limit"):
        any_store.put_stream(io.BytesIO(bytes(2001)), limit=2000, tenant=TENANT)
    with pytest.raises(BlobTooLarge):
        any_store.put_file(tmp_path / "large", limit=2000, tenant=TENANT)
    assert list(any_store.list()) == []
    assert any_store.put_stream(io.BytesIO(bytes(2000)), limit=2000, tenant=TENANT).size == 2000


class _Breaking(io.BytesIO):
    """A client that hangs up in the middle."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise ConnectionResetError("the client went away")
        return super().read(10)


def test_a_broken_or_too_large_upload_leaves_nothing(blobs: DirectoryBlobs) -> None:
    stream: BinaryIO = _Breaking(bytes(100))
    with pytest.raises(ConnectionResetError):
        blobs.put_stream(stream, tenant=TENANT)
    with pytest.raises(BlobTooLarge):
        blobs.put_stream(io.BytesIO(bytes(100)), limit=99, tenant=TENANT)
    assert [path for path in blobs.root.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_said_with_its_place_and_need_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel refuses the write in the middle: a file size limit stands in for the disk's end."""
    script = f"""
import resource
from pathlib import Path
from store.blobs import DirectoryBlobs
from store.errors import StoreFull
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    DirectoryBlobs(Path({str(tmp_path)!r})).put_bytes(bytes(5_000_000), tenant="acme")
except StoreFull as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"No space left at {tmp_path}: 5,000,000 bytes are needed, ")
    assert "Free space there, then run the same again." in done.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_killed_writers_left_is_removed_once_it_is_old(blobs: DirectoryBlobs) -> None:
    blobs.put_bytes(b"whole", tenant=TENANT)
    blobs.put_bytes(b"of a tenant of that name", tenant="partial")
    left = blobs.root / "partial" / "left"
    left.write_bytes(b"half")
    assert blobs.remove_partial() == 0
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    assert blobs.remove_partial() == 1
    assert not left.exists()
    assert len(list(blobs.list())) == 2
