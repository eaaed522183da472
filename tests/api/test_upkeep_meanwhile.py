"""The doctor looks at a store that is in use: what goes meanwhile is no damage."""

import io
from pathlib import Path

import pytest

from api.library import delete_documents, documents_of
from api.upkeep import examine
from store.blobs import BlobRanges
from store.models import JobKind
from store.sweep import sweep_blobs
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import Runner


def test_what_is_deleted_or_put_together_during_the_look_is_not_damaged(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = Runner(resources, "a")
    monkeypatch.setattr(resources, "batch_chunks", 1)  # each chunk in a file of its own, until it is finished
    long = "\n\n".join(f"Entry {n}: the gauge at the weir stood at {n * 37 % 1000} mm.\n" for n in range(90))
    for name, text in (("long.txt", long), ("short.txt", "The key hangs behind the door.\n")):
        accept(resources, "default", "main", Offer(io.BytesIO(text.encode()), name))
    for kind in (JobKind.PARSE, JobKind.ENCODE):
        while runner.step(kind):
            pass
    kept, gone = documents_of(resources, "default", "main")
    assert kept.chunk_count is not None
    assert kept.chunk_count > 1
    opened = resources.blobs.ranges

    def meanwhile(key: str) -> Path | BlobRanges:
        while runner.step(JobKind.FINISH):
            pass
        delete_documents(resources, [gone.id])
        sweep_blobs(resources.engine, resources.blobs)
        return opened(key)

    monkeypatch.setattr(resources.blobs, "ranges", meanwhile)
    caches = next(finding for finding in examine(resources, repair=True) if finding.check == "caches")
    assert (caches.ok, caches.repaired, caches.detail) == (True, False, "2 documents")
