"""The same pages out of a directory and out of an S3 bucket that Percel wrote to; what cannot be had is one error."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from compressor.decoders.vllm import page_name
from conftest import ENTRY, MODEL, make_page, numbers, page_bytes, put_page
from store.blobs import open_blobs as open_store
from store.blobs import parse_address
from store.errors import InvalidBlobUrl
from tests.servers_s3 import Between, blob_url

from percel_vllm.blobs import Blobs, LocalPageFile, open_blobs
from percel_vllm.bucket import S3Pages
from percel_vllm.checked import CheckedPages
from percel_vllm.names import PageError, PlaceDownError, read_name


@pytest.fixture
def place(s3_url: str) -> Iterator[Blobs]:
    pages = open_blobs(s3_url)
    yield pages
    pages.close()


def upload(url: str, copies: Path, data: bytes) -> str:
    """Puts bytes where Percel's own blob store has them; the name of the page in them."""
    store = open_store(url, directory=copies, copies=copies, copies_bytes=1 << 30)
    key = store.put_bytes(data, tenant="default").key
    store.close()
    return page_name(MODEL, key, ENTRY)


def wait(pages: CheckedPages, name: str) -> None:
    until = time.monotonic() + 60
    while not pages.check(name, 6):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("format", ["int8", "bf16"])
def test_a_page_out_of_a_bucket_has_the_numbers_that_percel_reads(
    place: Blobs, s3_url: str, tmp_path: Path, format: str
) -> None:
    name = upload(s3_url, tmp_path, page_bytes(make_page(format)))
    pages = CheckedPages(place, MODEL)
    assert not pages.is_there(name)
    wait(pages, name)
    assert pages.is_there(name)
    assert torch.equal(pages.load(name, device="cpu", dtype=torch.float32), numbers(make_page(format)))


def test_a_directory_is_taken_by_path_and_as_an_address(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    for address in (str(blobs), blobs.as_uri()):
        pages = CheckedPages(open_blobs(address), MODEL)
        assert torch.equal(pages.load(name, device="cpu", dtype=torch.float32), numbers(make_page()))


def test_a_file_that_gives_little_at_a_time_is_read_to_its_end(blobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little(io.FileIO):
        def readinto(self, buffer: memoryview) -> int:
            return super().readinto(memoryview(buffer)[:7])

    (blobs / "file").write_bytes(bytes(range(100)))
    file = open_blobs(str(blobs)).open("file")
    monkeypatch.setattr(Path, "open", lambda path, mode, buffering: Little(path))
    assert file.read(10, 60) == bytes(range(10, 70))
    assert file.read(90, 60) == bytes(range(90, 100))
    monkeypatch.setattr(LocalPageFile, "size", lambda file: 200)  # it was cut off meanwhile
    assert file.read(90, 60) == bytes(range(90, 100))


def test_a_page_that_is_not_in_the_bucket_is_named(place: Blobs, s3_url: str, tmp_path: Path) -> None:
    name = upload(s3_url, tmp_path, page_bytes(make_page())).replace("default/", "other/")
    with pytest.raises(
        PageError, match=r"^there is no page file other/\S+ in S3 bucket \S+: its document was deleted, or"
    ):
        wait(CheckedPages(place, MODEL), name)


@pytest.mark.parametrize("cut", [0, 4, 30, 700, -1])
def test_an_object_that_is_cut_off_is_found(place: S3Pages, s3_url: str, tmp_path: Path, cut: int) -> None:
    name = upload(s3_url, tmp_path, page_bytes(make_page()))
    key = f"{place.prefix}/{read_name(name).blob}"
    place.client.put_object(Bucket=place.bucket, Key=key, Body=page_bytes(make_page())[:cut])
    with pytest.raises(PageError, match=r"^page file \w{64} is damaged: "):
        wait(CheckedPages(place, MODEL), name)


def test_a_bucket_that_is_not_there_or_says_no_is_one_error(
    s3_server: str, aws: None, s3_url: str, tmp_path: Path
) -> None:
    name = upload(s3_url, tmp_path, page_bytes(make_page()))
    nowhere = CheckedPages(open_blobs(blob_url("no-such-bucket", s3_server)), MODEL)
    with pytest.raises(PageError, match=r"cannot be read from S3 bucket no-such-bucket: NoSuchBucket \("):
        wait(nowhere, name)


def test_a_server_that_fails_is_asked_again_and_then_given_up(bucket: str, between: Between, tmp_path: Path) -> None:
    name = upload(blob_url(bucket, between.endpoint), tmp_path, page_bytes(make_page()))
    pages = CheckedPages(S3Pages(bucket, "some/prefix", between.endpoint, "us-east-1", attempts=2), MODEL)
    between.failures = 1
    assert torch.equal(pages.load(name, device="cpu", dtype=torch.float32), numbers(make_page()))
    assert between.failures == 0
    between.failures = 100
    with pytest.raises(PageError, match=rf"cannot be read from S3 bucket {bucket}: InternalError \(not now\)$"):
        pages.load(name, device="cpu", dtype=torch.float32)
    between.failures = 0
    wait(pages, name)


def test_a_server_that_is_down_is_waited_for_and_a_page_that_has_gone_is_not(
    bucket: str, between: Between, tmp_path: Path
) -> None:
    name = upload(blob_url(bucket, between.endpoint), tmp_path, page_bytes(make_page()))
    pages = CheckedPages(S3Pages(bucket, "some/prefix", between.endpoint, "us-east-1", attempts=1), MODEL)
    between.failures = 3
    loaded = pages.load(name, device="cpu", dtype=torch.float32, until=time.monotonic() + 60)
    assert torch.equal(loaded, numbers(make_page()))
    assert between.failures == 0
    down = rf"cannot be read from S3 bucket {bucket}: InternalError \(not now\)$"
    for seconds in (0.5, 20.0):  # a busy machine may take the shorter time for one try
        between.failures = 100
        with pytest.raises(PlaceDownError, match=down):
            pages.load(name, device="cpu", dtype=torch.float32, until=time.monotonic() + seconds)
        if between.failures < 99:
            break
    assert between.failures < 99  # once is no waiting
    between.failures = 0
    between.answered.clear()
    gone = name.replace("default/", "other/")
    with pytest.raises(PageError, match="there is no page file"):
        pages.load(gone, device="cpu", dtype=torch.float32, until=time.monotonic() + 60)
    assert len(between.answered) == 1


def test_closing_ends_the_waiting_for_a_server_that_is_down(bucket: str, between: Between, tmp_path: Path) -> None:
    name = upload(blob_url(bucket, between.endpoint), tmp_path, page_bytes(make_page()))
    pages = CheckedPages(S3Pages(bucket, "some/prefix", between.endpoint, "us-east-1", attempts=1), MODEL)
    between.failures = 1000
    closing = threading.Timer(0.5, pages.close)
    closing.start()
    with pytest.raises(PlaceDownError, match=r"InternalError \(not now\)$"):
        pages.load(name, device="cpu", dtype=torch.float32, until=time.monotonic() + 3600)
    closing.join()


def test_a_body_that_breaks_off_is_asked_for_again_and_then_given_up(
    bucket: str, between: Between, tmp_path: Path
) -> None:
    name = upload(blob_url(bucket, between.endpoint), tmp_path, page_bytes(make_page()))
    pages = CheckedPages(S3Pages(bucket, "some/prefix", between.endpoint, "us-east-1", attempts=2), MODEL)
    between.cuts = 1
    assert torch.equal(pages.load(name, device="cpu", dtype=torch.float32), numbers(make_page()))
    assert between.cuts == 0
    between.cuts = 100
    with pytest.raises(
        PageError, match=rf"^page file \w{{64}} cannot be read from S3 bucket {bucket}: .*IncompleteRead"
    ):
        pages.load(name, device="cpu", dtype=torch.float32)
    assert between.cuts == 98
    between.cuts = 0
    wait(pages, name)


@pytest.mark.parametrize(("once", "tries"), [(True, 1), (False, 6)])
def test_who_tries_again_himself_asks_once(bucket: str, between: Between, once: bool, tries: int) -> None:
    pages = open_blobs(blob_url(bucket, between.endpoint), once=once)
    assert isinstance(pages, S3Pages)
    assert pages.attempts == tries
    if once:
        between.failures = 100
        with pytest.raises(PlaceDownError, match=r"InternalError \(not now\)$"):
            pages.open("x").read(0, 10)
        assert between.failures == 99


def test_nobody_who_answers_is_one_error(aws: None) -> None:
    pages = S3Pages("b", "", "http://127.0.0.1:9", "us-east-1", attempts=1)
    with pytest.raises(
        PageError, match=r"^page file x cannot be read from S3 bucket b: Could not connect to the endpoint"
    ):
        pages.open("x").read(0, 10)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", r"'' is neither an existing directory nor an s3:// address"),
        ("/no/such/place", r"'/no/such/place' is neither an existing directory nor"),
        ("file:///no/such/place", r"'file:///no/such/place' is neither an existing directory nor"),
        ("s3://bucket/?region=no%20where", r"S3 bucket bucket cannot be used: .*'no where'"),
    ],
)
def test_a_place_that_cannot_be_is_refused(aws: None, address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_blobs(address)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/path",
        "file://",
        "file://elsewhere/tmp",
        "file:///tmp?x=1",
        "file://me:hunter2@localhost/tmp",
        "s3:///prefix",
        "s3://bucket:9000/x",
        "s3://me:hunter2@bucket/",
        "s3://[bucket",
        "s3://bucket?acl=public",
        "s3://bucket?region",
        "s3://bucket?endpoint_url=nowhere",
        "s3://bucket?endpoint_url=http://minio/path",
        "s3://bucket?endpoint_url=http://me:hunter2@minio",
    ],
)
def test_an_address_that_percel_refuses_is_refused_with_its_words(aws: None, address: str) -> None:
    with pytest.raises(InvalidBlobUrl) as percel:
        parse_address(address)
    with pytest.raises(ValueError, match=r"^the address of blobs .* or a directory's path$") as ours:
        open_blobs(address)
    given = "region=..., or "
    assert str(ours.value).partition(given)[:2] == str(percel.value).partition(given)[:2]
    assert "hunter2" not in str(ours.value)
