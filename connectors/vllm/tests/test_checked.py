"""Before a request runs its pages are found, of the right model and size, and whole; the request waits meanwhile."""

import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import MODEL, make_page, numbers, page_path, put_page

from percel_vllm.blobs import DirectoryPages
from percel_vllm.checked import CheckedPages
from percel_vllm.names import PageError


def wait(pages: CheckedPages, name: str, rows: int = 6) -> None:
    until = time.monotonic() + 60
    while not pages.check(name, rows):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_whole_page_is_there_after_its_check(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    pages = CheckedPages(DirectoryPages(blobs), MODEL)
    assert not pages.is_there(name)
    wait(pages, name)
    assert pages.is_there(name)
    assert torch.equal(pages.load(name, device="cpu", dtype=torch.float32), numbers(make_page()))
    page_path(blobs, name).unlink()
    assert not pages.is_there(name)
    with pytest.raises(PageError, match=r"^the file of percel:.* has gone$"):
        pages.check(name, 6)
    pages.close()


def test_another_number_of_rows_is_refused(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    pages = CheckedPages(DirectoryPages(blobs), MODEL)
    with pytest.raises(PageError, match=r"has 6 rows; the grid in the request asks for 8$"):
        wait(pages, name, 8)
    wait(pages, name)  # and the page is as good as before


def test_a_page_of_another_model_is_refused(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    other = CheckedPages(DirectoryPages(blobs), "hf:qwen3_vl@ffffffffffff")
    with pytest.raises(PageError, match=rf"is of {MODEL}; this server reads pages of hf:qwen3_vl@f{{12}}$"):
        wait(other, name)
    with pytest.raises(PageError, match=rf"was made by {MODEL}; this server reads pages of hf:qwen3_vl@f{{12}}$"):
        wait(other, name.replace(MODEL, "hf:qwen3_vl@ffffffffffff"))


def test_a_damaged_page_is_refused_until_it_is_mended(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    pages = CheckedPages(DirectoryPages(blobs), MODEL)
    with pytest.raises(PageError, match=r"is damaged: the checksum of "):
        wait(pages, name)
    path.write_bytes(data)
    wait(pages, name)


def test_a_check_is_renewed_after_a_while_and_the_page_stays_known_meanwhile(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    store = DirectoryPages(blobs)
    pages = CheckedPages(store, MODEL)
    wait(pages, name)
    store.known_seconds = 0.0
    opened = threading.Event()
    held = threading.Event()
    open_file = store.open

    def open_slowly(key: str) -> object:
        opened.set()
        assert held.wait(60)
        return open_file(key)

    store.open = open_slowly
    assert not pages.check(name, 6)
    assert opened.wait(60)
    assert pages.is_there(name)  # a request that runs goes on
    page_path(blobs, name).write_bytes(b"")
    held.set()
    with pytest.raises(PageError, match=r"is damaged"):
        wait(pages, name)
    assert not pages.is_there(name)


def test_what_was_found_since_a_request_came_counts_however_long_the_rest_takes(blobs: Path) -> None:
    names = [put_page(blobs, make_page(seed=seed)) for seed in range(3)]
    store = DirectoryPages(blobs)
    store.known_seconds = 0.0  # all checks take longer
    pages = CheckedPages(store, MODEL)
    opened: list[str] = []
    open_file = store.open

    def open_counted(key: str) -> object:
        opened.append(key)
        return open_file(key)

    store.open = open_counted
    since = time.monotonic()
    while not all(pages.check(name, 6, since=since) for name in names):
        assert time.monotonic() < since + 60
        time.sleep(0.005)
    assert len(opened) == len(names)
    assert not pages.check(names[0], 6, since=time.monotonic())  # the next request's own check
    pages.close()
