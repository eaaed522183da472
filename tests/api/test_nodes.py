"""What one API node does about that another one did: they share rows and blobs, and have index files of their own."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import app
from api.app import keep_indexes
from api.library import delete_collection
from api.search import home_of
from tests.workers.test_ingest import STORY, ingest, offer
from workers.resources import Resources
from workers.settings import Settings
from workers.tend import Tender, start_thread


@pytest.fixture
def other(resources: Resources, tmp_path: Path) -> Iterator[Resources]:
    """A second node over the rows and blobs of the first."""
    shared = {"database_url": resources.settings.database, "blob_url": f"file://{resources.settings.home}/blobs"}
    with Resources(Settings(home=tmp_path / "other", **shared)) as opened:
        yield opened


def test_a_node_keeps_nothing_of_a_collection_that_another_one_deleted(
    resources: Resources, other: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(resources, offer(tmp_path, "a.txt", STORY))
    for index in other.indexes(home_of(other, "default", "test").id).every:
        index.compact(force=True)
    assert list(other.index_directory.glob("*/**/*.faiss"))
    cut_off = resources.settings.home / "blobs" / "partial" / "upload"  # of a node that was killed meanwhile
    cut_off.parent.mkdir(exist_ok=True)
    cut_off.write_text("half a document")
    os.utime(cut_off, (0, 0))
    delete_collection(resources, "default", "test")

    monkeypatch.setattr(app, "KEEP_SECONDS", 0.05)
    monkeypatch.setattr(app, "WIPE_SECONDS", 0.0)
    stop = threading.Event()
    keeper = start_thread("keeper", lambda stop: keep_indexes(other, stop), stop)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (list(other.index_directory.glob("*/")) or cut_off.exists()):
        time.sleep(0.05)
    stop.set()
    keeper.join()
    assert list(other.index_directory.glob("*/")) == []
    assert other.open_indexes() == []
    assert not cut_off.exists()


def test_what_cannot_be_cleaned_is_not_tried_at_every_tick(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def refuse(_: float = 0) -> int:
        tried.append(1)
        raise PermissionError("the bucket's owner allows no list")

    tender = Tender(resources)
    monkeypatch.setattr(resources.blobs, "remove_partial", refuse)
    later = time.monotonic() + 601
    monkeypatch.setattr("workers.tend.time.monotonic", lambda: later)
    with pytest.raises(PermissionError):
        tender.tick()
    tender.tick()
    assert len(tried) == 1
