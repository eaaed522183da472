"""The main job on PostgreSQL, with either vector index: ingest, ask, replace, delete."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from api.answer import ask
from api.library import documents_of, read_document, remove_collection, remove_document
from api.search import Hit, search
from api.searches import Searches
from store import catalog
from store.database import reading
from store.errors import VectorsUnusable
from store.models import DocumentState
from store.sweep import BlobCheck, check_blobs
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

pytestmark = pytest.mark.servers
TEXTS = {
    "keys.md": "# Keys\n\nThe key of cabinet 4 is KX-7731-b and hangs behind the door of the archive.",
    "weir.txt": "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. " * 30,
    "level.zh.md": "# 校准\n\n序列号为HG4-1911236的水位计在25米处误差达到3.7毫米，判定为不合格。",
}


QUERIES = ("What is the key of cabinet 4?", "水位计 误差", "Marlow Weir")


def searched_at_once(resources: Resources) -> list[list[Hit]]:
    """What the service finds for each of the queries."""

    async def main(searches: Searches) -> list[list[Hit]]:
        return await asyncio.gather(*(searches("default", "test", query, k=8, where=None) for query in QUERIES))

    with closing(Searches(resources)) as searches:
        return asyncio.run(main(searches))


@pytest.mark.parametrize("vectors", ["faiss", "pgvector"])
def test_documents_are_ingested_found_replaced_and_deleted(
    home: Path, tmp_path: Path, pgvector_url: str, vectors: str
) -> None:
    settings = Settings.model_validate({"home": home, "database_url": pgvector_url, "vectors": vectors})

    def ingest(name: str, content: str) -> None:
        (tmp_path / name).write_text(content)
        accept(resources, "default", "test", Offer(tmp_path / name, name, external_id=name))

    with Resources(settings) as resources:
        for name, content in TEXTS.items():
            ingest(name, content)
        run_due_jobs(resources)
        documents = {document.title: document for document in documents_of(resources, "default", "test")}
        assert {document.state for document in documents.values()} == {DocumentState.READY}
        assert "KX-7731-b" in "\n".join(read_document(resources, documents["keys.md"]))
        assert "KX-7731-b" in ask(resources, "default", "What is the key of cabinet 4?", collection="test").answer
        assert search(resources, "default", "水位计 误差", collection="test")[0].title == "level.zh.md"
        alone = [search(resources, "default", query, collection="test") for query in QUERIES]
        assert [[hit.text for hit in hits] for hits in searched_at_once(resources)] == [
            [hit.text for hit in hits] for hits in alone
        ]
        assert [hits[0].title for hits in alone] == ["keys.md", "level.zh.md", "weir.txt"]
        ingest("keys.md", "# Keys\n\nThe key of cabinet 4 is ZZ-1 now.")
        run_due_jobs(resources)
        assert "ZZ-1" in ask(resources, "default", "What is the key of cabinet 4?", collection="test").answer
        remove_document(resources, documents["weir.txt"].id)
        assert {hit.title for hit in search(resources, "default", "Marlow Weir", collection="test")} == {
            "keys.md",
            "level.zh.md",
        }
        assert "weir.txt" not in {hit.title for hits in searched_at_once(resources) for hit in hits}
        assert check_blobs(resources.engine, resources.blobs, read=True, now=2e10) == BlobCheck((), (), ())
        remove_collection(resources, "default", "test")
        with reading(resources.engine) as session:
            assert catalog.store_stats(session, "default").vectors == 0
        assert list(resources.blobs.list()) == []


def test_pgvector_without_the_extension_stops_the_start(home: Path, postgresql_url: str) -> None:
    settings = Settings(home=home, database_url=postgresql_url, vectors="pgvector")
    with Resources(settings) as resources, pytest.raises(VectorsUnusable, match=r"or set PERCEL_VECTORS=faiss\."):
        _ = resources.engine
