"""Owns the step from rows to what HTTP shows of documents and collections."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.library import report_in
from api.schemas import CollectionOut, DocumentOut, moment
from store import catalog
from store.models import Collection, Document
from store.sums import CollectionSums


def document_out(session: Session, document: Document, *, collection: str) -> DocumentOut:
    """One document as it is now."""
    return documents_out(session, [document], collection=collection)[0]


def documents_out(session: Session, documents: Sequence[Document], *, collection: str) -> list[DocumentOut]:
    """Documents of one collection as they are now."""
    cut = [document.id for document in documents if document.chunk_count]  # others have no chunks to count
    progress = catalog.ready_chunks(session, cut) if cut else {}
    return [
        DocumentOut.of(document, report, collection=collection, chunks_ready=progress.get(document.id, 0))
        for document, report in zip(documents, report_in(session, documents), strict=True)
    ]


def collection_out(session: Session, home: Collection, sums: CollectionSums) -> CollectionOut:
    """A collection and its figures."""
    figures = sums.of(session, home.id)
    return CollectionOut(
        name=home.name,
        documents=figures.documents,
        ready=figures.ready,
        text_tokens=figures.text_tokens,
        vision_tokens=figures.vision_tokens,
        cache_bytes=figures.cache_bytes,
        created_at=moment(home.created_at),
    )
