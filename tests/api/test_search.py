"""What a search shows of a passage, and what it costs: no cache is read where the text is kept."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

import api.search as searching
from api.library import remove_document
from api.search import load_chunks, search
from store.database import reading, transaction
from store.models import Passage, Vector
from store.words import WordIndex
from tests.workers.test_ingest import STORY, ingest, offer
from workers.resources import Resources

QUERY = "serial number of the gauge at Marlow Weir"
NOTE = "The gauge at the weir, ﬁtted in 2019 … was cleaned. 水位计在25米处误差达到3.7毫米。"  # not as full text has it


@pytest.fixture
def titles(resources: Resources, tmp_path: Path) -> list[str]:
    items = offer(tmp_path, "a.md", f"# Weirs\n\n{STORY}"), offer(tmp_path, "b.txt", NOTE)
    return list(ingest(resources, *items))


def test_a_hit_is_the_same_with_its_text_kept_and_out_of_its_cache(resources: Resources, titles: list[str]) -> None:
    hits = search(resources, "default", QUERY, collection="test")
    assert {hit.title for hit in hits} == set(titles)
    assert "serial GX-20418" in hits[0].text
    assert NOTE in {hit.text for hit in hits}
    blobs = resources.settings.home / "blobs"
    blobs.rename(blobs.with_name("away"))
    assert search(resources, "default", QUERY, collection="test") == hits
    blobs.with_name("away").rename(blobs)
    with transaction(resources.engine) as session:
        session.execute(delete(Passage).where(Passage.id > session.scalar(select(Passage.id).limit(1))))
    assert search(resources, "default", QUERY, collection="test") == hits


def test_documents_that_go_while_their_texts_are_read_leave_the_other_hits(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left has more passages than were worth reading while the others were there, and its cache is not read."""
    asked = "gauge at Marlow Weir read by the keeper"
    rest = "It stood at a quarter of a metre and was rising in the reach below the lock. " * 6
    long = "\n\n".join(f"# Gauge {n}\n\nThe gauge at Marlow Weir was read by the keeper. {rest}" for n in range(40))
    notes = [offer(tmp_path, f"note {n}.txt", f"The {asked}, note {n}.") for n in range(5)]
    documents = ingest(resources, offer(tmp_path, "long.md", long), *notes)
    going = [document.id for title, document in documents.items() if title != "long.md"]
    with transaction(resources.engine) as session:
        session.execute(delete(Passage).where(Passage.id.in_(select(Vector.id).where(Vector.document_id.in_(going)))))

    def load(*args: Any, **options: Any) -> Any:
        for document_id in going:
            remove_document(resources, document_id)
        return load_chunks(*args, **options)

    monkeypatch.setattr(searching, "load_chunks", load)
    hits = search(resources, "default", asked, collection="test")
    assert {hit.title for hit in hits} == {"long.md"}


def test_texts_go_with_their_document(resources: Resources, tmp_path: Path) -> None:
    documents = ingest(resources, offer(tmp_path, "a.txt", STORY), offer(tmp_path, "b.txt", NOTE))
    with reading(resources.engine) as session:
        assert set(session.scalars(select(Passage.id))) == set(session.scalars(select(Vector.id)))
    remove_document(resources, documents["a.txt"].id)
    with reading(resources.engine) as session:
        left = set(session.scalars(select(Passage.id)))
        assert left == set(session.scalars(select(Vector.id))) != set()


def test_a_process_that_asks_once_finds_the_same_without_cutting_passages(
    resources: Resources, titles: list[str]
) -> None:
    with Resources(resources.settings, brief=True) as brief:
        found, usual = (search(its, "default", QUERY, collection="test") for its in (brief, resources))
        assert [hit.text for hit in found] == [hit.text for hit in usual]
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in usual], rel=0.01)
        words = [
            index.held_bytes() for its in (brief, resources) for index in its.open_indexes() if type(index) is WordIndex
        ]
        assert words[0] == 0 < words[1]
