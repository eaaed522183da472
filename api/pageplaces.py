"""Owns which pages a question is about: of found chunks or a whole collection, where their caches lie, and in order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from compressor.sealed import load_from
from compressor.vlm.codec import PageCodec
from compressor.vlm.page import PageCache
from compressor.vlm.pagefile import PageFile
from compressor.vlm.reader import PageKey
from store import catalog
from store.database import reading
from store.models import Chunk, Document
from store.types import ChunkCache
from workers.pages import is_drawn_from_source, owned_pages, page_entry, pages_of
from workers.resources import Resources

OPEN_FILES = 64  # page files at a time


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page in one size."""

    key: PageKey
    positions: int  # tokens of the decoder's context
    stored_bytes: int
    grid: tuple[int, int] | None  # rows and columns of features, of families whose positions have them


@dataclass(frozen=True, slots=True)
class PagePlace:
    """One stored page of a live document, in a size."""

    document: Document
    chunk: Chunk  # that the page begins in
    place: int  # among the pages that begin there, from 0
    source_page: int | None  # that it is a picture of; None where the chunk's text was set as pages
    image_token: int
    sizes: tuple[StoredPage, ...]  # the full one first; where one is not stored or saves nothing, the one before it
    size: int = 0  # the one that is meant

    @property
    def stored(self) -> StoredPage:
        """The page in that size."""
        return self.sizes[self.size]

    @property
    def key(self) -> PageKey:
        """Where it lies."""
        return self.stored.key

    @property
    def positions(self) -> int:
        """Tokens of the decoder's context."""
        return self.stored.positions

    @property
    def stored_bytes(self) -> int:
        """Bytes, also in memory."""
        return self.stored.stored_bytes

    @property
    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of features; None where the model's positions run in a line."""
        return self.stored.grid

    @property
    def is_smaller(self) -> bool:
        """Whether it is not in its full size."""
        return self.stored is not self.sizes[0]


@dataclass(frozen=True, slots=True)
class Places:
    """Pages of chunks in their full size, and how many of the chunks have none."""

    pages: tuple[PagePlace, ...]
    lacking: int  # chunks


def find_places(resources: Resources, sizes: Sequence[PageCodec], chunk_ids: Sequence[int]) -> Places:
    """The pages of chunks of live documents, in the order of the chunks, each page once; `sizes` from the full one.

    Raises BlobMissing, CacheDamaged.
    """
    with reading(resources.engine) as session:
        chunks = catalog.chunks_by_ids(session, chunk_ids)
        documents = catalog.live_documents(session, list({chunk.document_id for chunk in chunks.values()}))
        ids = [document.id for document in documents]
        rows = [catalog.page_caches(session, ids, size.fingerprint) for size in sizes]
        every = {document.id: catalog.list_chunks(session, document.id) for document in documents}
    by_chunk, *smaller = ({row.chunk_id: row for row in part} for part in rows)
    wanted = [chunks[chunk_id] for chunk_id in chunk_ids if chunk_id in chunks]
    about = {document.id: _About(document, every[document.id]) for document in documents}
    found: dict[PageKey, PagePlace] = {}
    headers = _Headers(resources, smaller)
    for chunk in wanted:
        if chunk.id in by_chunk and chunk.document_id in about:
            for place in about[chunk.document_id].places(chunk, by_chunk, headers):
                found.setdefault(place.key, place)
    return Places(tuple(found.values()), sum(chunk.id not in by_chunk for chunk in wanted))


def in_order(places: Sequence[PagePlace]) -> list[PagePlace]:
    """By the arrival of their documents, then as they stand there: the same pages always make the same prompt."""
    return sorted(places, key=lambda p: (p.document.created_at, p.document.id, p.chunk.ordinal, p.place))


def load_pages(resources: Resources, places: Sequence[PagePlace]) -> list[PageCache]:
    """The caches of pages, each file opened once, several of them read at a time. Raises BlobMissing, CacheDamaged."""
    members: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        members.setdefault(place.key.blob, []).append(number)
    pages: dict[int, PageCache] = {}
    blobs = list(members)
    for first in range(0, len(blobs), OPEN_FILES):
        some = blobs[first : first + OPEN_FILES]
        entries = [[places[number].key.entry for number in members[blob]] for blob in some]
        with ExitStack() as stack:
            files = [stack.enter_context(PageFile(resources.blobs.ranges(blob))) for blob in some]
            loaded = load_from(list(zip(files, entries, strict=True)))
        for blob, found in zip(some, loaded, strict=True):
            pages |= dict(zip(members[blob], found, strict=True))
    return [pages[number] for number in range(len(places))]


class _About:
    """A document, and for every source page the chunk that it begins in."""

    def __init__(self, document: Document, chunks: Sequence[Chunk]) -> None:
        self._document = document
        self._owned = owned_pages(chunks, document.source_pages or 1) if is_drawn_from_source(document) else None
        self._owners = {page: chunk for chunk in chunks for page in (self._owned or {}).get(chunk.id, ())}

    def places(self, chunk: Chunk, rows: Mapping[int, ChunkCache], headers: "_Headers") -> Iterator[PagePlace]:
        """The pages that a chunk stands on, in order."""
        if self._owned is None:
            row = rows[chunk.id]
            number = 0
            while PageKey(row.blob, page_entry(chunk.ordinal, number)) in headers:
                yield headers.place(self._document, chunk, number, row, source_page=None)
                number += 1
            return
        for page in sorted({*pages_of(chunk), *self._owned[chunk.id]}):
            owner = self._owners.get(page)
            if owner is not None and owner.id in rows:
                number = page - self._owned[owner.id].start
                yield headers.place(self._document, owner, number, rows[owner.id], source_page=page)


class _Headers:
    """The headers of page files, each read once; the files are closed again, as a collection may have thousands."""

    def __init__(self, resources: Resources, smaller: Sequence[Mapping[int, ChunkCache]]) -> None:
        """`smaller` are the rows of each smaller size, by chunk."""
        self._resources = resources
        self._smaller = smaller
        self._files: dict[str, PageFile] = {}

    def __contains__(self, key: PageKey) -> bool:
        return key.entry in self._file(key.blob)

    def place(
        self, document: Document, chunk: Chunk, number: int, row: ChunkCache, *, source_page: int | None
    ) -> PagePlace:
        """A page with what its headers say."""
        entry = page_entry(chunk.ordinal, number)
        sizes = [self._stored(PageKey(row.blob, entry))]
        for rows in self._smaller:
            other = rows.get(chunk.id)
            stored = None if other is None else self._stored(PageKey(other.blob, entry))
            saves = stored is not None and stored.positions < sizes[-1].positions
            sizes.append(stored if stored is not None and saves else sizes[-1])
        return PagePlace(
            document=document,
            chunk=chunk,
            place=number,
            source_page=source_page,
            image_token=self._file(row.blob).facts(entry)["image_token"],
            sizes=tuple(sizes),
        )

    def _stored(self, key: PageKey) -> StoredPage:
        file = self._file(key.blob)
        grid = file.facts(key.entry)["grid"]
        return StoredPage(
            key=key,
            positions=file.positions(key.entry),
            stored_bytes=file.stored_bytes(key.entry),
            grid=None if grid is None else (grid[0], grid[1]),
        )

    def _file(self, blob: str) -> PageFile:
        if blob not in self._files:
            with PageFile(self._resources.blobs.ranges(blob)) as file:
                self._files[blob] = file
        return self._files[blob]
