"""Owns page caches: a ready document's pages encoded by every model that the settings name, in each of their sizes.

A job of its own after the native caches are published, so that no fault of a model costs a document; a codec that is
named later is filled up by the same job. Ids in, safe to run twice, resumable after a kill: what is stored of a
document stays, what it lacks is due.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from compressor.cachefile import CacheFile
from compressor.errors import CompressorError, DeviceLost
from compressor.parse.raster import raster_pages
from compressor.vlm.codec import FORMAT, PageCodec, longest_side
from compressor.vlm.sizes import shrink
from compressor.vlm.typeset import draw_page, set_pages, unknown_characters
from store import catalog
from store.database import reading, transaction
from store.errors import BlobError, BlobStoreUnusable, NotFound, StoreFull
from store.models import Chunk, Document, Job
from store.types import EncodedChunk, NewCache
from workers.events import Event, Listener, Stage
from workers.ingest import SLICE_SECONDS, entry_name, publish
from workers.resources import Resources
from workers.stored import Put

if TYPE_CHECKING:
    from PIL.Image import Image

    from compressor.vlm.encode import PageEncoder
    from compressor.vlm.page import PageCache

log = logging.getLogger(__name__)

PDF = "application/pdf"
CHUNKS_IN_FILE = 8  # published together: so much is made again after a kill
SENT_SIDE = 1600  # pixels of the long side of a page image for a remote model, which scales larger ones down
PAGES_AT_ONCE = 8  # images in memory, and in one pass of the vision tower where they fit


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One page image to make."""

    entry: str
    image: "Image"


def make_pages(resources: Resources, job: Job, *, owner: str, listen: Listener) -> None:
    """Makes the page caches that a document lacks, for a slice of time; the job is given back where more is due.

    What a model or its images fail with becomes a warning of the document, `percel doctor --repair` tries again.
    Raises DeviceLost, StoreFull, BlobStoreUnusable, LeaseLost.
    """
    until = time.monotonic() + SLICE_SECONDS
    through = True
    for name in resources.settings.page_codecs:
        fault: str | None = None
        try:
            through = _fill(resources, job.document_id, resources.page_sizes(name), until=until, listen=listen)
        except (DeviceLost, StoreFull, BlobStoreUnusable):
            raise
        except (CompressorError, BlobError) as error:
            fault = str(error)
            log.warning("page caches not made", extra={"document_id": job.document_id, "codec": name, "reason": fault})
        with transaction(resources.engine) as session:
            catalog.note_warning(session, job.document_id, f"no page caches of {name}: ", fault)
        if not through:
            break
    with transaction(resources.engine) as session:
        if through:
            catalog.complete_job(session, job.id, owner=owner)
        else:
            catalog.yield_job(session, job.id, owner=owner)


def _fill(
    resources: Resources, document_id: str, sizes: Sequence[PageCodec], *, until: float, listen: Listener
) -> bool:
    """Makes what a document lacks of one model's sizes; False where time ran out before the end.

    Once nothing is lacking, older caches of the same model go.
    """
    codecs = {size.fingerprint: size for size in sizes}
    with reading(resources.engine) as session:
        document = catalog.load_document(session, document_id)
        lacking = {codec: {c.id for c in catalog.chunks_without(session, document_id, codec)} for codec in codecs}
        chunks = catalog.list_chunks(session, document_id)
    due = [chunk for chunk in chunks if any(chunk.id in ids for ids in lacking.values())]
    if document is None:
        return True
    if due:
        listen(Event(Stage.PAGES, document_id, document.title, due=len(due)))
    owned = owned_pages(chunks, document.source_pages or 1)
    for first in range(0, len(due), CHUNKS_IN_FILE):
        if first and time.monotonic() > until:
            return False
        group = due[first : first + CHUNKS_IN_FILE]
        wanted = [size for codec, size in codecs.items() if any(chunk.id in lacking[codec] for chunk in group)]
        with resources.timings.step("pages"):
            _store(resources, document, wanted, group, _images(resources, document, sizes[0], group, owned))
        listen(Event(Stage.PAGES, document_id, document.title, done=len(group)))
    with transaction(resources.engine) as session:
        catalog.drop_page_caches(session, document_id, sizes[0].model, keep=codecs.keys())
    return True


def owned_pages(chunks: Sequence[Chunk], source_pages: int) -> dict[int, range]:
    """Chunk id -> the source pages that begin in it, from 1; every page is some chunk's, and no page two chunks'.

    A page without text goes to the chunk before it, at the start of a document to the first.
    """
    owned: dict[int, range] = {}
    next_page = 1
    for chunk, after in zip(chunks, [*chunks[1:], None], strict=True):
        last = source_pages if after is None else max(max(pages_of(chunk)), min(pages_of(after)) - 1)
        owned[chunk.id] = range(next_page, max(next_page, min(last, source_pages) + 1))
        next_page = owned[chunk.id].stop
    return owned


def pages_of(chunk: Chunk) -> list[int]:
    """The source pages that a chunk's text stands on, in order."""
    return sorted({int(page or 1) for _, _, page, *_ in chunk.layout}) or [1]


def is_drawn_from_source(document: Document) -> bool:
    """Whether its page images are rasters of its own pages; else they are its chunks' texts, set as pages."""
    return document.media_type == PDF


def _images(
    resources: Resources, document: Document, codec: PageCodec, group: Sequence[Chunk], owned: Mapping[int, range]
) -> Iterator[list[_Wanted]]:
    """The page images of some chunks, a few at a time."""
    if not is_drawn_from_source(document):
        yield from _set_images(resources, document, codec, group)
        return
    from compressor.vlm.load import load_image_processor

    places = [(page_entry(chunk.ordinal, k), page) for chunk in group for k, page in enumerate(owned[chunk.id])]
    if not places:
        return
    path = resources.blobs.local_path(document.blob)
    longest = longest_side(load_image_processor(codec.directory, codec.family), codec.family)
    for first in range(0, len(places), PAGES_AT_ONCE):
        part = places[first : first + PAGES_AT_ONCE]
        numbers = [page for _, page in part]
        images = raster_pages(path, numbers, name=document.title, longest=longest, limits=resources.limits)
        yield [_Wanted(entry, image) for (entry, _), image in zip(part, images, strict=True)]


def draw_chunk(
    resources: Resources, document_id: str, chunk_id: int, *, skip: Collection[tuple[str, str]] = ()
) -> "Iterator[tuple[str, Image]]":
    """Images of the pages that a chunk stands on, by a name of each in its document, but (document, name) in `skip`.

    Raises ParserFailed, NotFound, CacheDamaged, BlobMissing.
    """
    with reading(resources.engine) as session:
        document = catalog.load_document(session, document_id)
        chunk = catalog.chunks_by_ids(session, [chunk_id]).get(chunk_id)
    if document is None or chunk is None:
        return
    if is_drawn_from_source(document):
        numbers = [page for page in pages_of(chunk) if (document_id, str(page)) not in skip]
        path = resources.blobs.local_path(document.blob)
        images = raster_pages(path, numbers, name=document.title, longest=SENT_SIDE, limits=resources.limits)
        yield from zip(map(str, numbers), images, strict=True)
        return
    (text,) = read_chunks(resources, document_id, [chunk])
    recipe = resources.page_recipe
    for k, page in enumerate(set_pages(text, recipe)):
        yield page_entry(chunk.ordinal, k), draw_page(text, page, recipe)


def _set_images(
    resources: Resources, document: Document, codec: PageCodec, group: Sequence[Chunk]
) -> Iterator[list[_Wanted]]:
    for chunk, text in zip(group, read_chunks(resources, document.id, group), strict=True):
        unknown = unknown_characters(text, codec.recipe)
        if unknown:
            facts = {"document_id": document.id, "chunk": chunk.ordinal, "characters": unknown}
            log.warning("characters drawn as boxes in a page image", extra=facts)
        pages = set_pages(text, codec.recipe)
        for first in range(0, len(pages), PAGES_AT_ONCE):
            part = pages[first : first + PAGES_AT_ONCE]
            yield [
                _Wanted(page_entry(chunk.ordinal, first + k), draw_page(text, page, codec.recipe))
                for k, page in enumerate(part)
            ]


def read_chunks(resources: Resources, document_id: str, chunks: Sequence[Chunk]) -> list[str]:
    """The texts of a document's chunks, read out of its exact caches.

    Raises NotFound for a document that was deleted or replaced meanwhile, CacheDamaged, BlobMissing.
    """
    with reading(resources.engine) as session:
        rows = {row.chunk_id: row for row in catalog.document_caches(session, document_id)}
    texts = []
    for chunk in chunks:
        row = rows.get(chunk.id)
        if row is None:
            raise NotFound("document", document_id, "It was deleted or replaced meanwhile.")
        with CacheFile(resources.blobs.ranges(row.blob)) as file:
            file.check_chunks({row.entry: row.expected})
            texts += resources.codec(row.codec).read([file.load(row.entry)])
    return texts


def page_entry(ordinal: int, k: int) -> str:
    """The name in a page file of the k-th page that begins in a chunk; sorts as the pages do."""
    return f"{entry_name(ordinal)}.{k:04}"


def _store(
    resources: Resources,
    document: Document,
    sizes: Sequence[PageCodec],
    group: Sequence[Chunk],
    images: Iterator[list[_Wanted]],
) -> None:
    """Encodes images into one page file for each size, drawn once for all of them, and makes them known together."""
    from compressor.vlm.pagefile import write_pages

    encoder = resources.page_encoder(sizes[0])
    pages: list[dict[str, PageCache]] = [{} for _ in sizes]
    for wanted in images:
        for size, made in zip(sizes, pages, strict=True):
            made |= resources.aside(partial(_encode, encoder, size, wanted))
    puts = [partial(resources.blobs.put_bytes, write_pages(made), tenant=document.tenant) for made in pages]
    blobs = [put().key for put in puts]
    stored = list(zip(sizes, blobs, pages, strict=True))
    rows = [tuple(_row(size, chunk.ordinal, blob, made) for size, blob, made in stored) for chunk in group]
    chunks = [EncodedChunk(chunk.id, row, ()) for chunk, row in zip(group, rows, strict=True)]
    files: dict[str, Put] = dict(zip(blobs, puts, strict=True))
    publish(resources, chunks, files)


def _encode(encoder: "PageEncoder", size: PageCodec, wanted: Sequence[_Wanted]) -> "dict[str, PageCache]":
    """Page caches of one size by entry."""
    from compressor.vlm.encode import encode_as_fits
    from compressor.vlm.page import store_page

    tokens = encode_as_fits(encoder, [shrink(item.image, size.scale) for item in wanted])
    return {
        item.entry: store_page(one, codec=size.model, image_token=encoder.image_token, format=FORMAT)
        for item, one in zip(wanted, tokens, strict=True)
    }


def _row(codec: PageCodec, ordinal: int, blob: str, pages: "Mapping[str, PageCache]") -> NewCache:
    mine = [page for entry, page in pages.items() if entry.startswith(f"{entry_name(ordinal)}.")]
    return NewCache(
        codec=codec.fingerprint,
        blob=blob,
        entry=entry_name(ordinal),
        vision_tokens=sum(page.positions for page in mine),
        raw_char_accuracy=0.0,
        residual_bytes=0,
        cache_bytes=sum(page.stored_bytes for page in mine),
    )
