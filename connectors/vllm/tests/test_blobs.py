"""The same pages out of a directory and out of an S3 bucket that Percel wrote to; what cannot be had is one error."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from compressor.decoders.vllm import page_name
from conftest import ENTRY, MODEL, make_page, numbers, page_bytes, put_page
from store.blobs import open_blobs as open_store
from tests.servers_s3 import Between, blob_url

from percel_vllm.blobs import Blobs, open_blobs
from percel_vllm.bucket import S3Pages
from percel_vllm.checked import CheckedPages
from percel_vllm.names import PageError, read_name


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
    until = time.monotonic() + 20
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
        ("ftp://host/path", r"'ftp://host/path' is neither an existing directory nor"),
        ("s3:///prefix", r"an s3:// address begins with the bucket's name; credentials come from AWS_\* variables"),
        ("s3://me:secret@bucket/", r"an s3:// address begins with the bucket's name"),
        ("s3://bucket/?acl=public", r"an s3:// address has no option 'acl'"),
        ("s3://bucket/?endpoint_url=nowhere", r"S3 bucket bucket cannot be used: Invalid endpoint: nowhere"),
    ],
)
def test_an_address_that_cannot_be_is_refused(aws: None, address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_blobs(address)
