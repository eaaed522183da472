"""How long a service takes over what people and monitors ask again and again, where there are very many documents.

    python -m bench.many [--documents 1000000]

The home has rows of documents and of their jobs, all done, and no text: searches show what their filter costs. Each
request is made three times; the first one may find nothing in memory.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import httpx
from sqlalchemy import insert

from bench.report import OUT, show, write
from bench.service import serving
from store import catalog
from store.database import transaction
from store.models import Document, DocumentState, Job, JobKind, JobState
from workers.resources import Resources
from workers.settings import Settings

COLLECTION = "many"
BATCH = 10_000
KINDS = 1_000  # of documents, by their metadata: a filter leaves one in so many


def fill(resources: Resources, documents: int) -> None:
    """Rows of so many ready documents, a second apart, and of their jobs."""
    with transaction(resources.engine) as session:
        home = catalog.ensure_collection(session, resources.settings.tenant, COLLECTION)
    begun = time.time() - documents
    for first in range(0, documents, BATCH):
        numbers = range(first, min(documents, first + BATCH))
        with transaction(resources.engine) as session:
            session.execute(insert(Document), [_document(home.id, number, begun + number) for number in numbers])
            session.execute(insert(Job), [job for number in numbers for job in _jobs(home.id, number, begun + number)])


def _document(home: str, number: int, moment: float) -> dict[str, object]:
    return {
        "id": f"{number:032x}",
        "tenant": "default",
        "collection_id": home,
        "version": 1,
        "title": f"{number}.txt",
        "sha256": f"{number:064x}",
        "size": 10_000,
        "media_type": "text/plain",
        "blob": f"00/00/{number:064x}",
        "state": DocumentState.READY,
        "warnings": [],
        "document_metadata": {"kind": number % KINDS, "year": 2026},
        "source_pages": 1,
        "chunk_count": 3,
        "text_tokens": 2_500,
        "created_at": moment,
        "started_at": moment,
        "finished_at": moment + 1,
        "seconds": 1.0,
    }


def _jobs(home: str, number: int, moment: float) -> Iterator[dict[str, object]]:
    for kind in JobKind:
        yield {
            "kind": kind,
            "collection_id": home,
            "document_id": f"{number:032x}",
            "state": JobState.DONE,
            "attempts": 1,
            "not_before": moment,
            "last_progress": moment + 1,
            "created_at": moment,
            "updated_at": moment + 1,
        }


def timed(name: str, ask: Callable[[], httpx.Response]) -> dict[str, object]:
    """A row of the table. Raises HTTPStatusError."""
    took = []
    for _ in range(3):
        start = time.perf_counter()
        reply = ask()
        took.append(1000 * (time.perf_counter() - start))
        reply.raise_for_status()
    return {"asked": name, "first_ms": took[0], "then_ms": min(took[1:])}


def requests(client: httpx.Client, documents: int) -> Iterator[dict[str, object]]:
    """The rows of the table."""
    listed = f"/v1/documents?collection={COLLECTION}&limit=100"
    page = client.get(listed).raise_for_status().json()
    for name, path in (
        ("readiness", "/readyz"),
        ("metrics", "/metrics"),
        ("collections", "/v1/collections"),
        ("documents, the first 100", listed),
        ("documents, the next 100", f"{listed}&cursor={page['next']}"),
        ("documents, the newest 100", f"{listed}&order=newest"),
        ("documents that failed", f"{listed}&state=failed"),
        ("a document", f"/v1/documents/{documents // 2:032x}"),
        ("jobs", "/v1/jobs"),
    ):
        yield timed(name, partial(client.get, path))
    gone = count(documents // 3)
    yield timed("a document to be deleted", lambda: client.delete(f"/v1/documents/{next(gone):032x}"))
    for name, where in ((f"one document in {KINDS:,}", {"kind": 7}), ("all documents", {"year": 2026})):
        body = {"query": "anything", "collection": COLLECTION, "filter": where}
        yield timed(f"a search among {name}", partial(client.post, "/v1/search", json=body))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with Resources(Settings(home=home)) as resources:
            fill(resources, arguments.documents)
        with serving(home) as url, httpx.Client(base_url=url, timeout=300) as client:
            rows = list(requests(client, arguments.documents))
    show(f"Requests where there are {arguments.documents:,} documents", rows)
    print(write("many", {"documents": arguments.documents, "figures": rows}, arguments.out))


if __name__ == "__main__":
    main()
