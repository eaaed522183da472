"""S3 in trouble: what passes is waited for, what does not is one clear error; and no more is moved than is wanted."""

import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from compressor.cachefile import CacheFile, write_caches
from store.blobs import parse_address
from store.blobs.address import S3Address
from store.blobs.copies import LocalCopies
from store.blobs.s3 import S3Blobs, S3Ranges
from store.errors import BlobDamaged, BlobMissing, BlobStoreDown, BlobStoreUnusable, BlobTooLarge, StoreFull
from tests.compressor.test_cachefile import equal, make_cache
from tests.servers_s3 import Between, blob_url

TENANT = "acme"


def open_s3(url: str, copies: Path, **options: int) -> S3Blobs:
    address = parse_address(url)
    assert isinstance(address, S3Address)
    return S3Blobs(address, LocalCopies(copies, 1 << 30), **options)


@pytest.fixture
def blobs(s3_url: str, tmp_path: Path) -> Iterator[S3Blobs]:
    store = open_s3(s3_url, tmp_path / "copies")
    yield store
    store.close()


@pytest.fixture
def shaky(bucket: str, between: Between, tmp_path: Path) -> Iterator[S3Blobs]:
    """Blobs by way of `between`, two attempts each."""
    store = open_s3(blob_url(bucket, between.endpoint), tmp_path / "copies", attempts=2)
    yield store
    store.close()


def methods(between: Between) -> list[str]:
    return [method for method, _, _ in between.answered]


def test_a_server_that_fails_once_is_asked_again(shaky: S3Blobs, between: Between) -> None:
    key = shaky.put_bytes(b"bytes", tenant=TENANT).key
    for use in (lambda: shaky.read(key), lambda: shaky.read_range(key, 1, 2), lambda: shaky.exists(key)):
        between.failures = 1
        assert use()
        assert between.failures == 0


def test_a_server_that_keeps_failing_is_one_error_and_works_again_afterwards(shaky: S3Blobs, between: Between) -> None:
    key = shaky.put_bytes(b"bytes", tenant=TENANT).key
    between.failures = 1000
    message = rf"^S3 bucket {shaky.address.bucket} does not answer: InternalError \(not now\); try again in a while\.$"
    for use in (lambda: shaky.put_bytes(b"more", tenant=TENANT), lambda: shaky.read(key), lambda: list(shaky.list())):
        with pytest.raises(BlobStoreDown) as raised:
            use()
        assert isinstance(raised.value.__cause__, ClientError)
    with pytest.raises(BlobStoreDown, match=message):
        shaky.local_path(key)
    assert [path for path in shaky.copies.root.rglob("*") if path.is_file()] == []
    between.failures = 0
    assert shaky.read(key) == b"bytes"
    assert len(list(shaky.list())) == 1


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_body_that_breaks_off_is_read_on_from_there(shaky: S3Blobs, between: Between, knows_ranges: bool) -> None:
    data = os.urandom(3 << 20)
    key = shaky.put_bytes(data, tenant=TENANT).key
    between.knows_ranges = knows_ranges
    between.answered.clear()
    between.cuts = 1
    assert shaky.read(key) == data
    half = len(data) // 2
    assert between.answered == [("GET", 200, half), ("GET", 206, half) if knows_ranges else ("GET", 200, len(data))]
    for use in (
        lambda: shaky.read_range(key, 100, 2 << 20) == data[100 : 100 + (2 << 20)],
        lambda: shaky.read_range(key, len(data) - 5, 5) == data[-5:],
        lambda: shaky.verify(key) is None,
        lambda: shaky.local_path(key).read_bytes() == data,
    ):
        between.cuts = 1
        assert use()
        assert between.cuts == 0


def test_a_body_that_keeps_breaking_off_is_one_error_and_nothing_is_left(shaky: S3Blobs, between: Between) -> None:
    key = shaky.put_bytes(os.urandom(3 << 20), tenant=TENANT).key
    message = rf"^S3 bucket {shaky.address.bucket} does not answer: .*; try again in a while\.$"
    for use, tries in (  # half of all, more than a piece, is no failed attempt
        (lambda: shaky.read(key), 3),
        (lambda: shaky.read_range(key, 1, 1000), 2),
        (lambda: shaky.local_path(key), 3),
    ):
        between.cuts = 1000
        with pytest.raises(BlobStoreDown, match=message):
            use()
        assert between.cuts == 1000 - tries
    assert [path for path in shaky.copies.root.rglob("*") if path.is_file()] == []
    between.cuts = 0
    assert shaky.local_path(key)


@pytest.mark.parametrize("answers", [[True, False], [False, True], [False, False], [True, True]])
def test_each_answer_is_taken_for_what_it_says_itself(shaky: S3Blobs, between: Between, answers: list[bool]) -> None:
    data = os.urandom(3 << 20)
    key = shaky.put_bytes(data, tenant=TENANT).key
    between.answers, between.cuts = list(answers), 1
    assert S3Ranges(shaky, key).read(1000, 2 << 20) == data[1000 : 1000 + (2 << 20)]
    assert (between.answers, between.cuts) == ([], 0)


def test_a_range_from_elsewhere_is_refused(shaky: S3Blobs, between: Between) -> None:
    key = shaky.put_bytes(bytes(1000), tenant=TENANT).key
    between.moved = 1
    with pytest.raises(BlobStoreUnusable, match=r"asked for the bytes from 10 on it sent 'bytes 11-29/1000'\. Check"):
        shaky.read_range(key, 10, 20)


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_chunks_without_an_end_are_asked_for_no_more_than_is_missing(
    shaky: S3Blobs, between: Between, knows_ranges: bool
) -> None:
    data = os.urandom(2 << 20)
    key = shaky.put_bytes(data, tenant=TENANT).key
    between.unended, between.knows_ranges = 1, knows_ranges
    between.answered.clear()
    assert S3Ranges(shaky, key).read(0, len(data)) == data
    assert methods(between) == ["GET"]
    between.unended, between.knows_ranges = 1, True
    assert shaky.read(key) == data


def overwrite(blobs: S3Blobs, key: str, data: bytes) -> None:
    blobs.client.put_object(Bucket=blobs.address.bucket, Key=f"some/prefix/{key}", Body=data)


@pytest.mark.parametrize("size", [3 << 20, 100])
def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(
    shaky: S3Blobs, blobs: S3Blobs, between: Between, size: int
) -> None:
    data, other = os.urandom(3 << 20), os.urandom(size)
    key = shaky.put_bytes(data, tenant=TENANT).key
    between.cuts, between.after_cut = 1, lambda: overwrite(blobs, key, other)
    assert S3Ranges(shaky, key).read(10, 2 << 20) == other[10 : 10 + (2 << 20)]
    overwrite(blobs, key, data)
    between.cuts, between.after_cut = 1, lambda: overwrite(blobs, key, other)
    with pytest.raises(BlobDamaged, match=rf"Blob {key} is damaged \(it was replaced while it was read\)"):
        shaky.read(key)


def test_a_full_store_is_said_with_what_was_needed(shaky: S3Blobs, between: Between) -> None:
    between.failures, between.failing, between.status, between.code = 1000, {"PUT"}, 507, "InsufficientStorage"
    with pytest.raises(StoreFull, match=f"No space left at S3 bucket {shaky.address.bucket}: 4 bytes are needed"):
        shaky.put_bytes(b"more", tenant=TENANT)


def test_a_bucket_that_is_not_there_is_one_error(s3_server: str, aws: None, tmp_path: Path) -> None:
    blobs = open_s3(blob_url("no-such-bucket", s3_server), tmp_path / "copies")
    key = f"{TENANT}/ab/cd/abcd{'0' * 60}"
    message = r"^S3 bucket no-such-bucket cannot be used: .*uch.?[bB]ucket.*\. Check PERCEL_BLOB_URL and the AWS"
    for use in (
        lambda: blobs.put_bytes(b"bytes", tenant=TENANT),
        lambda: blobs.exists(key),
        lambda: blobs.read(key),
        lambda: list(blobs.list()),
    ):
        with pytest.raises(BlobStoreUnusable, match=message):
            use()
    blobs.close()


def test_an_endpoint_where_nobody_listens_is_one_error(aws: None, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, not listening: the port stays nobody's
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        blobs = open_s3(blob_url("bucket", endpoint), tmp_path / "copies", attempts=1)
        message = f"^S3 bucket bucket does not answer: Could not connect to the endpoint URL: .{endpoint}/.*; try again"
        with pytest.raises(BlobStoreDown, match=message) as raised:
            blobs.put_bytes(b"bytes", tenant=TENANT)
        assert isinstance(raised.value.__cause__, BotoCoreError)
        blobs.close()


def test_missing_credentials_are_one_error(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    blobs = open_s3(s3_url, tmp_path / "copies")
    with pytest.raises(BlobStoreUnusable, match=r"cannot be used: Unable to locate credentials\. Check PERCEL_BLOB_"):
        blobs.put_bytes(b"bytes", tenant=TENANT)
    blobs.close()


def test_bytes_that_are_there_are_not_sent_again(shaky: S3Blobs, between: Between) -> None:
    stored = shaky.put_bytes(b"bytes", tenant=TENANT)
    assert methods(between) == ["HEAD", "HEAD", "PUT"]  # the object, the bucket once
    between.answered.clear()
    assert shaky.put_stream(io.BytesIO(b"bytes"), tenant=TENANT) == stored
    assert methods(between) == ["HEAD"]


def test_a_large_blob_is_sent_in_parts_and_comes_back(blobs: S3Blobs, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 33
    (tmp_path / "large").write_bytes(data)
    stored = blobs.put_file(tmp_path / "large", tenant=TENANT)
    assert blobs.size(stored.key) == len(data)
    blobs.verify(stored.key)
    assert blobs.local_path(stored.key).read_bytes() == data
    assert blobs.put_bytes(data, tenant=TENANT) == stored


def test_a_stream_over_the_cap_is_not_sent(shaky: S3Blobs, between: Between) -> None:
    with pytest.raises(BlobTooLarge, match="More than 99 bytes"):
        shaky.put_stream(io.BytesIO(bytes(100)), tenant=TENANT, limit=99)
    assert between.answered == []
    assert [path for path in shaky.copies.root.rglob("*") if path.is_file()] == []


def test_a_copy_is_fetched_once_compared_and_gone_with_the_blob(shaky: S3Blobs, between: Between) -> None:
    key = shaky.put_bytes(b"bytes", tenant=TENANT).key
    path = shaky.local_path(key)
    between.answered.clear()
    assert shaky.local_path(key) == shaky.ranges(key) == path
    assert between.answered == []
    shaky.delete([key])
    assert not path.exists()
    with pytest.raises(BlobMissing):
        shaky.local_path(key)


@pytest.mark.parametrize("status", [200, 501])
def test_blobs_are_deleted_together_or_where_a_server_cannot_one_by_one(
    shaky: S3Blobs, between: Between, status: int
) -> None:
    keys = [shaky.put_bytes(text, tenant=TENANT).key for text in (b"one", b"two", b"three")]
    between.answered.clear()
    between.failures, between.failing, between.status = int(status != 200), {"POST"}, status
    shaky.delete(keys[:2])
    assert methods(between) == (["POST"] if status == 200 else ["POST", "DELETE", "DELETE"])
    assert [shaky.exists(key) for key in keys] == [False, False, True]


def test_a_damaged_blob_becomes_no_copy(blobs: S3Blobs) -> None:
    key = blobs.put_bytes(b"bytes", tenant=TENANT).key
    blobs.client.put_object(Bucket=blobs.address.bucket, Key=f"some/prefix/{key}", Body=b"bites")
    with pytest.raises(BlobDamaged, match=f"Blob {key} is damaged"):
        blobs.local_path(key)
    assert [path for path in blobs.copies.root.rglob("*") if path.is_file()] == []


def test_other_objects_in_the_bucket_are_left_alone(blobs: S3Blobs) -> None:
    key = blobs.put_bytes(b"bytes", tenant=TENANT).key
    for name in (key, "some/prefix/notes.txt", f"some/prefix-2/{key}"):
        blobs.client.put_object(Bucket=blobs.address.bucket, Key=name, Body=b"theirs")
    assert [(blob.key, blob.size) for blob in blobs.list()] == [(key, 5)]


def test_every_page_of_the_list_is_read(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    for number in range(10):
        blobs.put_bytes(bytes(number), tenant=TENANT)
    assert sorted(blob.size for blob in blobs.list()) == list(range(10))


def test_parts_that_a_killed_writer_left_are_removed_once_they_are_old(blobs: S3Blobs) -> None:
    blobs.client.create_multipart_upload(Bucket=blobs.address.bucket, Key="some/prefix/acme/ab/cd/abcd")
    assert blobs.remove_partial(older_than=1e9) == 0  # the server dates them all in 2010
    assert blobs.remove_partial() == 1
    assert blobs.remove_partial() == 0


def test_one_chunks_cache_moves_a_small_part_of_its_documents_bytes(shaky: S3Blobs, between: Between) -> None:
    caches = {f"{number:06}": make_cache(42, number) for number in range(300)}
    data = write_caches(caches)
    key = shaky.put_bytes(data, tenant=TENANT).key
    between.answered.clear()
    with CacheFile(shaky.ranges(key)) as file:
        assert equal(file.load("000217"), caches["000217"])
    assert methods(between) == ["GET"] * 2  # the header and the index, the entry
    assert sum(size for _, _, size in between.answered) < len(data) / 15
