"""Owns what the edges do with documents: offer, list, read, remove. Every edge calls the same functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from api.errors import AmbiguousName
from compressor.cache import Cache, text_digest
from compressor.cachefile import CacheFile
from compressor.errors import CacheDamaged
from compressor.marks import to_markdown
from store import catalog, lexical
from store.database import reading, transaction, truncate_log
from store.errors import BlobMissing, NotFound
from store.generations import remove_index_files
from store.models import Document, DocumentState
from store.sweep import sweep_blobs
from store.types import ChunkCache
from workers.resources import Resources


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """What programs and people are told of a document; the fields of `percel ingest --json`."""

    id: str  # "" where the file was refused before it became a document
    title: str
    state: str
    chunks: int | None = None
    source_pages: int | None = None
    text_tokens: int | None = None
    vision_tokens: int | None = None
    compression: float | None = None  # text tokens per vision token
    raw_char_accuracy: float | None = None
    exact: bool = False  # every published cache is: it was read back before it was published
    cache_bytes: int | None = None  # page caches included
    seconds: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    codecs: tuple[str, ...] = ()
    rates: Mapping[str, int] = field(default_factory=dict)  # "native-40" -> chunks that were given that rate


def files_below(paths: Sequence[Path]) -> Iterator[Path]:
    """The files named, and those below folders in a fixed order, each once; hidden ones below folders are left out.

    Raises FileNotFoundError for a path that is not there.
    """
    files: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        for found in _walk(path) if path.is_dir() else [path]:
            file = found.resolve()  # as it is known: two names of one file are one document
            if file not in files:
                files.add(file)
                yield found


def _walk(folder: Path) -> Iterator[Path]:
    for found in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in found.relative_to(folder).parts)
        if found.is_file() and not hidden:
            yield found


def report(resources: Resources, documents: Sequence[Document]) -> list[DocumentReport]:
    """Figures of documents, read from their rows."""
    with reading(resources.engine) as session:
        return report_in(session, documents)


def report_in(session: Session, documents: Sequence[Document]) -> list[DocumentReport]:
    """The same inside a transaction."""
    # What is not ready shows no figures: a document is looked at again and again while it is on its way.
    ready_ones = [document.id for document in documents if document.state is DocumentState.READY]
    figures = catalog.document_figures(session, ready_ones) if ready_ones else {}
    reports = []
    for document in documents:
        every = figures.get(document.id, ())
        parts = [part for part in every if part.exact]
        tokens = sum(part.text_tokens for part in parts)
        positions = sum(part.vision_tokens for part in parts)
        ready = document.state is DocumentState.READY
        accuracy = sum(part.raw_char_accuracy * part.text_tokens for part in parts) / max(1, tokens)
        reports.append(
            DocumentReport(
                id=document.id,
                title=document.title,
                state=document.state.value,
                chunks=document.chunk_count,
                source_pages=document.source_pages,
                text_tokens=document.text_tokens,
                vision_tokens=positions if ready else None,
                compression=round(tokens / max(1, positions), 2) if ready else None,
                raw_char_accuracy=round(accuracy, 6) if ready else None,
                exact=ready,
                cache_bytes=sum(part.cache_bytes for part in every) if ready else None,
                seconds=None if document.seconds is None else round(document.seconds, 3),
                error=document.error,
                warnings=tuple(document.warnings),
                codecs=tuple(part.codec for part in every),
                rates={part.codec.partition("@")[0]: part.chunks for part in parts},
            )
        )
    return reports


def documents_of(resources: Resources, tenant: str, collection: str) -> list[Document]:
    """A collection's documents in the order of arrival. Raises NotFound."""
    with reading(resources.engine) as session:
        home = catalog.find_collection(session, tenant, collection)
        return catalog.list_documents(session, home.id)


def resolve_document(resources: Resources, tenant: str, collection: str, name: str, *, only: bool = False) -> Document:
    """A document by id, by the beginning of its id (6 digits or more), or by title; of several the newest ready one.

    Raises NotFound, and with `only` AmbiguousName where there are several.
    """
    with reading(resources.engine) as session:
        home = catalog.find_collection(session, tenant, collection)
        found = catalog.documents_named(session, home.id, name) or (
            catalog.documents_named(session, home.id, name, first_of_id=True) if len(name) >= 6 else []
        )
        if not found:
            return catalog.find_document(session, tenant, name)
    if only and len(found) > 1:
        raise AmbiguousName(f"{name!r} is {len(found)} documents; give an id: {', '.join(d.id for d in found)}")
    ready = [document for document in found if document.state is DocumentState.READY]
    return (ready or found)[-1]


class TextFormat(StrEnum):
    """How a text is shown."""

    TEXT = "text"  # the letters alone, exactly as they were parsed
    MARKDOWN = "markdown"  # with marks for headings, emphasis, code and links


@dataclass(frozen=True, slots=True)
class StyledText:
    """A chunk's text as it was drawn."""

    text: str
    styles: NDArray[np.uint8]  # (characters,) of Style
    starts: frozenset[int]  # characters at which a block begins; none while its document is ingested


def read_document(
    resources: Resources, document: Document, ordinal: int | None = None, *, format: TextFormat = TextFormat.TEXT
) -> list[str]:
    """The texts of a document's chunks (or of one), read out of the caches. Raises NotFound, CacheDamaged."""
    if format is TextFormat.MARKDOWN:
        chunks = read_styled(resources, document, ordinal)
        return [to_markdown(chunk.text, chunk.styles, chunk.starts) for chunk in chunks]
    rows, caches = document_caches(resources, document.id, ordinal)
    return _texts(resources, document, rows, caches)


def read_styled(resources: Resources, document: Document, ordinal: int | None = None) -> list[StyledText]:
    """The texts with their styles, both read out of the caches. Raises NotFound, CacheDamaged."""
    rows, caches = document_caches(resources, document.id, ordinal)
    texts = _texts(resources, document, rows, caches)
    with reading(resources.engine) as session:
        chunks = catalog.chunks_by_ids(session, [row.chunk_id for row in rows])
    found = []
    for row, cache, text in zip(rows, caches, texts, strict=True):
        (styles,) = resources.codec(cache.codec).read_styles([cache])
        layout = chunks[row.chunk_id].layout if row.chunk_id in chunks else []
        found.append(StyledText(text, styles, frozenset(int(span[0] or 0) for span in layout)))
    return found


def _texts(resources: Resources, document: Document, rows: Sequence[ChunkCache], caches: Sequence[Cache]) -> list[str]:
    texts: list[str] = []
    for cache, row in zip(caches, rows, strict=True):
        texts += resources.codec(cache.codec).read([cache])
        if text_digest(texts[-1]) != row.text_sha256:
            raise CacheDamaged(
                f"chunk {row.ordinal} of {document.title} is not the text that was parsed: run `percel doctor --repair`"
            )
    return texts


def document_caches(
    resources: Resources, document_id: str, ordinal: int | None
) -> tuple[list[ChunkCache], list[Cache]]:
    """The rows and caches of a document's chunks, or of one, in order. Raises NotFound, BlobMissing, CacheDamaged."""
    try:
        return _found_caches(resources, document_id, ordinal)
    except BlobMissing:  # between the look at the rows and the load, its files were put together
        return _found_caches(resources, document_id, ordinal)


def _found_caches(resources: Resources, document_id: str, ordinal: int | None) -> tuple[list[ChunkCache], list[Cache]]:
    with reading(resources.engine) as session:
        rows = catalog.document_caches(session, document_id)
        if ordinal is not None:
            catalog.find_chunk(session, document_id, ordinal)
            rows = [row for row in rows if row.ordinal == ordinal]
            if not rows:
                hint = "It is not encoded yet: follow the document until it is ready."
                raise NotFound("cache of chunk", f"{document_id}/{ordinal}", hint)
    return rows, load_caches(resources, rows)


def load_caches(resources: Resources, rows: Sequence[ChunkCache]) -> list[Cache]:
    """The caches behind rows, each file opened once, read where they are. Raises BlobMissing, CacheDamaged."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.blob, []).append(place)
    caches: dict[int, Cache] = {}
    for blob, members in places.items():
        with CacheFile(resources.blobs.ranges(blob)) as file:
            file.check_chunks({rows[place].entry: rows[place].expected for place in members})
            found = file.load_many([rows[place].entry for place in members])
        caches |= dict(zip(members, found, strict=True))
    return [caches[place] for place in range(len(rows))]


def forget_gone(resources: Resources) -> int:
    """Drops what the decoder keeps of pages whose documents were deleted or made anew; -> how much."""
    reader = resources.open_reader()
    if reader is None or not reader.sources:
        return 0
    with reading(resources.engine) as session:
        live = catalog.live_blobs(session, reader.sources)
    return reader.forget(reader.sources - live)


def delete_documents(resources: Resources, document_ids: Sequence[str]) -> None:
    """Deletes documents: gone for readers at once; a worker's tender sweeps their blobs and wipes the rest (`tend`)."""
    for document_id in document_ids:
        with transaction(resources.engine) as session:
            catalog.delete_document(session, document_id)
    forget_gone(resources)


def remove_document(resources: Resources, document_id: str) -> None:
    """Deletes a document: gone for readers at once, then its blobs, vectors and full-text rows."""
    with transaction(resources.engine) as session:
        document = catalog.load_document(session, document_id)
        catalog.delete_document(session, document_id)
    forget_gone(resources)
    if document is not None:
        for index in resources.indexes(document.collection_id).every:
            index.purge()
    purge(resources)


def delete_collection(resources: Resources, tenant: str, name: str) -> int:
    """Deletes a collection and all in it as `delete_documents` does; -> how many documents it had. Raises NotFound."""
    with transaction(resources.engine) as session:
        home = catalog.find_collection(session, tenant, name)
        count, _ = catalog.count_documents(session, home.id)
        catalog.delete_collection(session, home.id)
    forget_gone(resources)
    resources.close_index(home.id)
    remove_index_files(resources.index_directory, home.id)
    return count


def remove_collection(resources: Resources, tenant: str, name: str) -> int:
    """Deletes a collection, and all that is left of it at once. Raises NotFound."""
    count = delete_collection(resources, tenant, name)
    purge(resources)
    return count


def purge(resources: Resources) -> None:
    """Overwrites what a delete left behind: blobs, words in the full-text index, pages in the write-ahead log."""
    with transaction(resources.engine) as session:
        lexical.merge(session)
    truncate_log(resources.engine)
    sweep_blobs(resources.engine, resources.blobs)  # last, as a blob may refuse to go
