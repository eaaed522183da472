"""Owns the stages of ingestion as plain functions over job rows: accept, parse, encode, finish.

Ids in, safe to run twice, resumable after a kill at any point. Who calls them, and when, is the runner's business.
"""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from compressor.cache import Cache
from compressor.cachefile import CacheFile, PackedCache, join_caches, seal_caches
from compressor.chunk import chunk_blocks
from compressor.errors import DeviceFull, EmptyDocument
from compressor.styles import StyleRun, styles_of
from compressor.types import Chunk
from store import catalog
from store.blobs import StoredBlob
from store.database import reading, transaction
from store.errors import LeaseLost
from store.models import Job, JobKind
from store.types import ChunkCache, EncodedChunk, NewCache, NewChunk, NewVector, Parsed
from workers.events import Event, Listener, Stage
from workers.pending import PendingText, read_pending, write_pending
from workers.resources import Resources
from workers.stored import Put, discarded_if_lost, stored

log = logging.getLogger(__name__)

SLICE_SECONDS = 5.0  # how long one claim of encode jobs is worked on before others get their turn
PUBLISHED_AT_ONCE = 4  # chunks in one transaction: on SQLite others wait while it writes, over a millisecond a chunk
ADDED_AT_ONCE = 64  # chunk rows in one transaction, for the same reason


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that a caller wants in a collection."""

    source: Path | BinaryIO  # a stream must be seekable
    title: str  # as people know it; metadata, never a path on disk
    external_id: str | None = None
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Chunks with their caches and vectors, and how to put the cache files again, by key."""

    chunks: list[EncodedChunk]
    files: dict[str, Put]


@dataclass(frozen=True, slots=True)
class Work:
    """One chunk to encode."""

    job_id: int
    document_id: str
    tenant: str
    title: str
    chunk_id: int
    ordinal: int
    heading: str
    text: str
    styles: tuple[StyleRun, ...]
    passages: list[list[int]]


def accept(
    resources: Resources,
    tenant: str,
    collection: str,
    offer: Offer,
    *,
    also: Callable[[Session, catalog.Accepted], None] = lambda session, accepted: None,
) -> catalog.Accepted:
    """Stores a file's bytes, then its rows, then wakes. The same bytes again: the existing document, nothing runs.

    `also` takes part in the transaction. Raises EmptyDocument, BlobTooLarge, StoreFull, OSError and stores nothing.
    """
    if not _size(offer.source):
        raise EmptyDocument(f"{offer.title} is empty: it has no bytes")
    put = partial(_put, resources, tenant, offer.source)
    blob = put()
    with stored(resources, {blob.key: put}) as held, transaction(resources.engine, held.connection) as session:
        home = catalog.ensure_collection(session, tenant, collection)
        accepted = catalog.accept_document(
            session,
            home,
            title=offer.title,
            sha256=blob.sha256,
            size=blob.size,
            blob=blob.key,
            external_id=offer.external_id,
            metadata=offer.metadata,
        )
        also(session, accepted)
    if accepted.job is not None:
        resources.wake(JobKind.PARSE)
    return accepted


def _size(source: Path | BinaryIO) -> int:
    return source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)


def _put(resources: Resources, tenant: str, source: Path | BinaryIO) -> StoredBlob:
    limit = resources.settings.max_file_bytes
    if isinstance(source, Path):
        return resources.blobs.put_file(source, tenant=tenant, limit=limit)
    source.seek(0)
    return resources.blobs.put_stream(source, tenant=tenant, limit=limit)


def parse(resources: Resources, job: Job, *, owner: str, listen: Listener) -> None:
    """File to chunks, in a child process. Raises DocumentError when the file cannot be ingested as it is."""
    with transaction(resources.engine) as session:
        document = catalog.start_parsing(session, job.document_id)
        # A worker that was paused until its lease ran out must not set a document back that another one has parsed.
        catalog.extend_lease(session, job.id, owner=owner, lease_seconds=resources.settings.lease_seconds)
        if document is None:
            catalog.complete_job(session, job.id, owner=owner)
            return
    path = resources.blobs.local_path(document.blob)
    with resources.timings.step("parse"):
        parsed = resources.parser.parse(path, name=document.title, limits=resources.limits)
    with resources.timings.step("chunk"):
        chunks = resources.aside(lambda: list(chunk_blocks(parsed.blocks, count_tokens=resources.count_tokens)))
    if not chunks:
        reasons = "".join(f"; {warning}" for warning in parsed.warnings)
        raise EmptyDocument(f"{document.title} holds no text{reasons}")
    pending = write_pending([PendingText(chunk.text, chunk.styles) for chunk in chunks])
    put = partial(resources.blobs.put_bytes, pending, tenant=document.tenant)
    blob = put()
    found = Parsed(
        media_type=parsed.media_type,
        title=None,  # people know a document by its file's name
        source_pages=parsed.source_pages,
        warnings=parsed.warnings,
        pending_blob=blob.key,
        chunks=tuple(_new_chunk(chunk) for chunk in chunks),
    )
    with discarded_if_lost(resources, blob.key):
        _add_chunks(resources, job, found.chunks, owner=owner)
        with stored(resources, {blob.key: put}) as held, transaction(resources.engine, held.connection) as session:
            if catalog.record_parsed(session, document.id, found):
                catalog.enqueue(session, document.id, JobKind.ENCODE)
            catalog.complete_job(session, job.id, owner=owner)
    resources.wake(JobKind.ENCODE)
    listen(Event(Stage.ENCODE, document.id, document.title, due=len(chunks)))


def _add_chunks(resources: Resources, job: Job, chunks: Sequence[NewChunk], *, owner: str) -> None:
    """Adds a long document's chunks but the last few, which `record_parsed` adds, in transactions that are short."""
    if len(chunks) <= ADDED_AT_ONCE:
        return
    with _parsing(resources, job, owner=owner) as session:
        kept = catalog.keep_chunks(session, job.document_id, chunks)
    for first in range(kept, len(chunks) - ADDED_AT_ONCE, ADDED_AT_ONCE):
        with _parsing(resources, job, owner=owner) as session:
            catalog.add_chunks(session, job.document_id, chunks[first : first + ADDED_AT_ONCE])


@contextmanager
def _parsing(resources: Resources, job: Job, *, owner: str) -> Iterator[Session]:
    """A transaction of whoever parses the document. Raises LeaseLost: it is deleted, or another worker's."""
    with transaction(resources.engine) as session:
        catalog.hold_document(session, job.document_id)  # before its job, as a delete does
        catalog.extend_lease(session, job.id, owner=owner, lease_seconds=resources.settings.lease_seconds)
        yield session


def _new_chunk(chunk: Chunk) -> NewChunk:
    return NewChunk(
        ordinal=chunk.ordinal,
        heading=chunk.heading,
        characters=len(chunk.text),
        text_tokens=chunk.text_tokens,
        text_sha256=hashlib.sha256(chunk.text.encode()).hexdigest(),
        layout=[
            [s.start, s.end, s.page, s.box.x0, s.box.y0, s.box.x1, s.box.y1, *(s.lines or (None, None))]
            for s in chunk.spans
        ],
        passages=[[passage.start, passage.end] for passage in chunk.passages],
    )


def encode(resources: Resources, jobs: Sequence[Job], *, owner: str, listen: Listener) -> None:
    """Chunks of several documents to verified caches and vectors, published batch by batch.

    After a slice of time the jobs that are not through are given back, so that other collections get their turn;
    short documents come first, so that they do not wait for long ones.
    """
    found = sorted((pending_work(resources, job) for job in jobs), key=len)
    work = [item for items in found for item in items]
    until = time.monotonic() + SLICE_SECONDS
    done = 0
    while done < len(work) and (done == 0 or time.monotonic() < until):
        batch = work[done : done + resources.batch_chunks]
        encoded = resources.aside(partial(encode_as_fits, resources, batch))
        for first in range(0, len(encoded.chunks), PUBLISHED_AT_ONCE):
            publish(resources, encoded.chunks[first : first + PUBLISHED_AT_ONCE], encoded.files)
        done += len(batch)
        for item in batch:
            listen(Event(Stage.ENCODE, item.document_id, item.title, done=1))
    unfinished = {item.job_id for item in work[done:]}
    for job in jobs:
        with suppress(LeaseLost), transaction(resources.engine) as session:  # lost: its document was deleted
            catalog.hold_document(session, job.document_id)
            # Also what was parsed since the look above: whoever recorded it found this job, and added none.
            if job.id in unfinished or catalog.pending_chunks(session, 1, document_id=job.document_id):
                catalog.yield_job(session, job.id, owner=owner)
            else:
                catalog.complete_job(session, job.id, owner=owner)
                catalog.enqueue(session, job.document_id, JobKind.FINISH)
    resources.wake(JobKind.FINISH)


def publish(resources: Resources, chunks: Sequence[EncodedChunk], files: Mapping[str, Put]) -> None:
    """Makes encoded chunks known. `files` are the cache files that they are in, by key."""
    named = {cache.blob: files[cache.blob] for item in chunks for cache in item.caches}
    with (
        resources.timings.step("publish"),
        stored(resources, named) as held,  # each time: documents with the same bytes share a file
        transaction(resources.engine, held.connection) as session,
    ):
        catalog.publish(session, chunks)


def encode_as_fits(resources: Resources, batch: Sequence[Work]) -> Encoded:
    """Encodes a batch, in halves where the device's memory is too small for all of it. Raises DeviceFull."""
    try:
        return encode_batch(resources, batch)
    except DeviceFull:
        if len(batch) == 1:
            raise
    half = len(batch) // 2
    log.warning("batch halved: the device is out of memory", extra={"chunks": len(batch)})
    one, other = encode_as_fits(resources, batch[:half]), encode_as_fits(resources, batch[half:])
    return Encoded([*one.chunks, *other.chunks], one.files | other.files)


def pending_work(resources: Resources, job: Job) -> list[Work]:
    """What a document still waits for; nothing once it is deleted or ready."""
    with reading(resources.engine) as session:
        document = catalog.load_document(session, job.document_id)
        if document is None or document.pending_blob is None:
            return []
        chunks = catalog.pending_chunks(session, document_id=document.id)
    texts = read_pending(resources.blobs.read(document.pending_blob))
    return [
        Work(
            job_id=job.id,
            document_id=document.id,
            tenant=document.tenant,
            title=document.title,
            chunk_id=chunk.id,
            ordinal=chunk.ordinal,
            heading=chunk.heading,
            text=texts[chunk.ordinal].text,
            styles=texts[chunk.ordinal].styles,
            passages=chunk.passages,
        )
        for chunk in chunks
    ]


def encode_batch(resources: Resources, batch: Sequence[Work]) -> Encoded:
    """Encodes, verifies, embeds and stores a batch; cache files are in the blob store when it returns.

    Raises DeviceFull, DeviceLost.
    """
    from compressor.device import device_faults

    with device_faults(resources.settings.device):
        with resources.timings.step("render, encode and verify"):
            styles = [styles_of(item.styles, len(item.text)) for item in batch]
            caches = adaptive_caches(resources, [item.text for item in batch], styles)
        with resources.timings.step("embed"):
            vectors = passage_vectors(resources, batch)
    encoded = Encoded([], {})
    for group in _by_document(batch):
        file = seal_caches({entry_name(batch[place].ordinal): caches[place] for place in group})
        put = partial(resources.blobs.put_bytes, file.data, tenant=batch[group[0]].tenant)
        key = put().key
        encoded.files[key] = put
        for place in group:
            entry = entry_name(batch[place].ordinal)
            cache = new_cache(caches[place], key, entry, stored_bytes=file.stored_bytes[entry])
            encoded.chunks.append(EncodedChunk(batch[place].chunk_id, (cache,), tuple(vectors[place])))
    return encoded


def adaptive_caches(resources: Resources, texts: Sequence[str], styles: Sequence[NDArray[np.uint8]]) -> list[Cache]:
    """Caches in as few tokens as the settings' budget allows each chunk; `styles` are (characters,) a text."""
    from compressor.codec.adaptive import Budget, encode_adaptive

    budget = Budget(resources.settings.least_accuracy, resources.settings.most_residual)
    return encode_adaptive(resources.codecs, texts, styles, budget=budget)


def passage_vectors(resources: Resources, batch: Sequence[Work]) -> list[list[NewVector]]:
    """The vectors of every chunk's passages, embedded with the headings they stand under."""
    passages = [(place, start, end) for place, item in enumerate(batch) for start, end in item.passages]
    texts = [batch[place].text[start:end] for place, start, end in passages]
    known_as = [headed(batch[place].heading, text) for (place, _, _), text in zip(passages, texts, strict=True)]
    data = resources.embedder.embed(known_as).astype("<f2")
    vectors: list[list[NewVector]] = [[] for _ in batch]
    for (place, start, end), text, known, vector in zip(passages, texts, known_as, data, strict=True):
        vectors[place].append(NewVector(resources.embedder.fingerprint, start, end, vector.tobytes(), text, known))
    return vectors


def headed(heading: str, passage: str) -> str:
    """A passage as search knows it: under its heading."""
    return f"{heading}\n{passage}" if heading else passage


def _by_document(batch: Sequence[Work]) -> Iterator[list[int]]:
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(batch):
        groups.setdefault(item.document_id, []).append(place)
    yield from groups.values()


def entry_name(ordinal: int) -> str:
    """A chunk's name inside its cache file; sorts as the chunks do."""
    return f"{ordinal:06}"


def new_cache(cache: Cache, blob: str, entry: str, *, stored_bytes: int) -> NewCache:
    """The row of a cache under its entry in a file, of which it takes so many bytes."""
    return NewCache(
        codec=cache.codec,
        blob=blob,
        entry=entry,
        vision_tokens=cache.vision_tokens,
        raw_char_accuracy=cache.raw_char_accuracy,
        residual_bytes=len(cache.residual),
        cache_bytes=stored_bytes,
    )


def finish(resources: Resources, job: Job, *, owner: str) -> None:
    """Puts a document's caches into one file. A document in one file already, or deleted, is left as it is."""
    with reading(resources.engine) as session:
        document = catalog.load_document(session, job.document_id)
        rows = catalog.document_caches(session, job.document_id) if document else []
    files = {row.blob for row in rows}
    if document is None or len(files) <= 1:
        with transaction(resources.engine) as session:
            _complete(resources, session, job, owner=owner)
        return
    together = resources.aside(lambda: join_caches(_packed(resources, rows)).data)
    put = partial(resources.blobs.put_bytes, together, tenant=document.tenant)
    key = put().key
    with (
        discarded_if_lost(resources, key),
        stored(resources, {key: put}) as held,
        transaction(resources.engine, held.connection) as session,
    ):
        catalog.move_caches(session, job.document_id, moved=files, key=key)
        _complete(resources, session, job, owner=owner)


def _complete(resources: Resources, session: Session, job: Job, *, owner: str) -> None:
    """Ends a finish job; where the settings name page codecs, the document's page caches are due next."""
    catalog.complete_job(session, job.id, owner=owner)
    if resources.settings.page_codecs and catalog.load_document(session, job.document_id) is not None:
        catalog.enqueue(session, job.document_id, JobKind.PAGES)


def _packed(resources: Resources, rows: Sequence[ChunkCache]) -> dict[str, PackedCache]:
    """Caches by entry as they lie in their files, checked. Raises CacheDamaged, BlobMissing."""
    packed: dict[str, PackedCache] = {}
    for blob in dict.fromkeys(row.blob for row in rows):
        expected = {row.entry: row.expected for row in rows if row.blob == blob}
        with CacheFile(resources.blobs.ranges(blob)) as file:
            file.check_chunks(expected)
            packed |= dict(zip(expected, file.packed(list(expected)), strict=True))
    return packed
