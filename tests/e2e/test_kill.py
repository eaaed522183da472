"""SIGKILL at any point of an ingest: a second run completes it, and nothing is there twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.answer import ask
from api.library import documents_of, read_document
from store import catalog
from store.database import reading
from store.models import DocumentState
from store.sweep import check_blobs, sweep_blobs
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

TEXTS = {
    "long.txt": "\n\n".join(f"Entry {n}: the level at gate {n} was {n * 7 % 13}.{n:03} m. " * 40 for n in range(24)),
    "short.md": "# Keys\n\nThe key of cabinet 4 is KX-7731-b and hangs behind the door.",
}
# Every stage has its commits: accept two, parse two a document, encode one a batch, finish one; and its blobs.
POINTS = [
    *(("commit", n) for n in (2, 4, 6, 8, 10)),
    *(("committed", n) for n in (2, 5, 8, 11)),
    *(("blob", n) for n in (1, 2, 3, 4)),
    *(("file", n) for n in (1, 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("point", "number"), POINTS)
def test_a_killed_ingest_is_completed_by_the_next_run(home: Path, tmp_path: Path, point: str, number: int) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "tests.e2e.killed_ingest", str(home), str(folder), point, str(number)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    with Resources(Settings(home=home)) as resources:
        for name in TEXTS:
            accept(resources, "default", "test", Offer(folder / name, name, external_id=name))
        run_due_jobs(resources)
        documents = {document.title: document for document in documents_of(resources, "default", "test")}
        assert {name: document.state for name, document in documents.items()} == dict.fromkeys(
            TEXTS, DocumentState.READY
        )
        assert "\n".join(read_document(resources, documents["short.md"])) == TEXTS["short.md"].replace(
            "# ", ""
        ).replace("\n\n", "\n")
        with reading(resources.engine) as session:
            stats = catalog.store_stats(session, "default")
            passages = sum(len(c.passages) for d in documents.values() for c in catalog.list_chunks(session, d.id))
        assert stats.vectors == passages
        assert not [kind for kind, state in stats.jobs if state in ("queued", "running", "dead")]
        sweep_blobs(resources.engine, resources.blobs)
        found = check_blobs(resources.engine, resources.blobs, read=True, now=4e9)
        assert (found.missing, found.damaged) == ((), ())
        assert "KX-7731-b" in ask(resources, "default", "Which key opens cabinet 4?", collection="test").answer
