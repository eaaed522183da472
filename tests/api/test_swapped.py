"""A sound cache file that is another document's, as after a restore gone wrong, is damage wherever it is looked at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from api.context import save_context
from api.library import read_document
from api.merged import read_merged
from api.reports import Question
from api.search import load_chunks
from api.upkeep import fault_of
from compressor.errors import CacheDamaged
from store import catalog
from store.database import reading
from store.models import Document
from tests.workers.test_ingest import ingest, offer
from workers.pages import read_chunks
from workers.resources import Resources

TEXTS = {"weir.txt": "The gauge at the weir stood at 3.25 metres.", "quay.txt": "The quay was closed.\n" * 40}


@pytest.fixture
def swapped(home: Path, resources: Resources, tmp_path: Path) -> Document:
    """The first of two documents, each with the cache file of the other one."""
    documents = ingest(resources, *(offer(tmp_path, name, text) for name, text in TEXTS.items()))
    with reading(resources.engine) as session:
        rows = [catalog.document_caches(session, documents[name].id) for name in TEXTS]
    one, other = (home / "blobs" / each[0].blob for each in rows)
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    return documents["weir.txt"]


def read_pages(resources: Resources, document: Document) -> None:
    with reading(resources.engine) as session:
        chunks = catalog.list_chunks(session, document.id)
    read_chunks(resources, document.id, chunks)


def write_context(resources: Resources, document: Document) -> None:
    asked = Question("How high did the weir stand?", "default", "test", whole=True)
    save_context(resources, asked, resources.settings.home / "context")


READERS: dict[str, Callable[[Resources, Document], object]] = {
    "read": read_document,
    "read --rate": lambda resources, document: list(read_merged(resources, document, None, 40)),
    "ask": lambda resources, document: load_chunks(resources, document.collection_id, None),
    "context": write_context,
    "pages": read_pages,
}


@pytest.mark.parametrize("how", READERS)
def test_nothing_is_read_out_of_it(resources: Resources, swapped: Document, how: str) -> None:
    with pytest.raises(CacheDamaged, match="is damaged: 000000 is not of the text that was parsed; `percel doctor"):
        READERS[how](resources, swapped)


def test_the_doctor_names_it_without_reading_all(resources: Resources, swapped: Document) -> None:
    assert "000000 is not of the text that was parsed" in (fault_of(resources, swapped, deep=False) or "")
