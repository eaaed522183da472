"""Owns search and answers over a collection: rows to hits, hits to caches, caches to a decoder."""

import time
from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from api.errors import ContextTooLarge
from api.library import load_caches
from compressor.cache import Cache, Reading
from compressor.decoders import load_decoder
from compressor.decoders.base import Evidence, ScoredPassage
from compressor.fuse import fuse
from compressor.rerank import PASSAGES, rerank, unread
from compressor.types import Box, Span
from store import catalog, lexical
from store.database import reading
from store.errors import BlobMissing
from store.models import Chunk, Collection
from store.types import ChunkCache, LivePassage
from workers.resources import Resources
from workers.timing import Timings, measured

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

POOL = 60  # passages asked of each ranking; more changes nothing on the benchmark's questions
WHOLE_READ = 24  # with the whole collection loaded, so many of its passages are read for the answer


@dataclass(frozen=True, slots=True)
class CitationReport:
    """Where a quote stands in its source."""

    document_id: str
    title: str
    page: int  # from 1
    boxes: tuple[Box, ...]  # on that page, normalised, origin top left
    quote: str  # verbatim
    lines: tuple[int, int] | None  # in formats without pages


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What was loaded for an answer."""

    chunks: int
    vision_tokens: int
    text_tokens: int  # of the same chunks, as the reference tokenizer counts them


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What a question is answered with; the fields of `percel ask --json`."""

    answer: str
    abstained: bool
    citations: tuple[CitationReport, ...]
    decoder: str
    confidence: float  # 0..1
    context: ContextReport
    timings: dict[str, float]  # seconds by step


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that fits a query, with its best passage; the fields of `percel search --json`."""

    document_id: str
    title: str
    chunk: int  # ordinal, from 0
    heading: str
    page: int  # source page the passage begins on
    boxes: tuple[Box, ...]
    text: str  # the passage, read out of the cache
    score: float  # meaning and words together; comparable within one search only
    metadata: Mapping[str, object]  # of the document


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk and the passages of it that search found, best first."""

    row: Chunk
    title: str
    passages: list[ScoredPassage]


def find_passages(
    resources: Resources,
    session: "Session",
    collection_id: str,
    query: str,
    *,
    pool: int,
    document_ids: AbstractCollection[str] | None = None,
) -> list[tuple[LivePassage, float]]:
    """Live passages by meaning and words together, best first; with document_ids only of those."""
    with ThreadPoolExecutor(1) as beside:  # words and meaning take about as long; the session is the thread's meanwhile
        words = beside.submit(lexical.search, session, collection_id, query, pool, document_ids=document_ids)
        vector = resources.embedder.embed([query])[0]
        near = resources.index(collection_id).search(vector, pool, document_ids=document_ids)
        worded = words.result()
    passages = {hit.passage.vector_id: hit.passage for hit in near}
    missing = [hit.vector_id for hit in worded if hit.vector_id not in passages]
    for passage in catalog.passages_by_vector_ids(session, collection_id, missing):
        passages[passage.vector_id] = passage
    by_vector = [(hit.passage.vector_id, hit.score) for hit in near]
    by_words = [(hit.vector_id, hit.score) for hit in worded if hit.vector_id in passages]
    return [
        (passages[vector_id], score)
        for vector_id, score in fuse(by_vector, by_words, read=resources.embedder.reads(query))
    ]


def find_chunks(
    resources: Resources,
    session: "Session",
    collection_id: str,
    query: str,
    *,
    k: int,
    where: Mapping[str, object] | None = None,
) -> list[FoundChunk]:
    """The k best chunks, a chunk as good as its best passage. Raises BadFilter."""
    document_ids = None if where is None else catalog.documents_where(session, collection_id, where)
    if document_ids is not None and not document_ids:
        return []
    pool = max(POOL, 4 * k)
    grouped: dict[int, list[tuple[LivePassage, float]]] = {}
    for passage, score in find_passages(resources, session, collection_id, query, pool=pool, document_ids=document_ids):
        if passage.chunk_id in grouped or len(grouped) < k:
            grouped.setdefault(passage.chunk_id, []).append((passage, score))
    rows = catalog.chunks_by_ids(session, list(grouped))
    return [
        FoundChunk(rows[chunk_id], members[0][0].title, [ScoredPassage(p.start, p.end, score) for p, score in members])
        for chunk_id, members in grouped.items()
        if chunk_id in rows
    ]


@measured("search")
def search(
    resources: Resources,
    tenant: str,
    query: str,
    *,
    collection: str | None = None,
    k: int = 8,
    where: Mapping[str, object] | None = None,
) -> list[Hit]:
    """Chunks that fit, best first; `where` is a filter over metadata. Raises NotFound, BadFilter."""
    home = home_of(resources, tenant, collection)
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, home.id, query, k=max(k, PASSAGES), where=where)
        metadata = catalog.metadata_of(session, {chunk.row.document_id for chunk in found})
    _, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    texts = PassageTexts(resources, caches)
    found = rerank_chunks(query, found, texts, k=k)
    texts.read_ahead([(chunk.row.id, chunk.passages[0]) for chunk in found])
    hits = []
    for chunk in found:
        passage = chunk.passages[0]
        text = texts.read(chunk.row.id, passage.start, passage.end)
        spans = [span for span in spans_of(chunk.row) if span.start < passage.end and passage.start < span.end]
        page = spans[0].page if spans else 1
        boxes = tuple(dict.fromkeys(span.box for span in spans if span.page == page))
        title, row = chunk.title, chunk.row
        about = metadata.get(row.document_id, {})
        hits.append(Hit(row.document_id, title, row.ordinal, row.heading, page, boxes, text, passage.score, about))
    return hits


@measured("answer")
def ask(
    resources: Resources,
    tenant: str,
    question: str,
    *,
    collection: str | None = None,
    k: int = 8,
    whole: bool = False,
    where: Mapping[str, object] | None = None,
    decoder_name: str | None = None,
) -> AnswerReport:
    """Answers out of the caches of the k best chunks, or of the whole collection (what `where` leaves of it).

    Raises NotFound, BadFilter, ContextTooLarge, CacheDamaged.
    """
    timings = Timings()
    start = time.perf_counter()
    home = home_of(resources, tenant, collection)
    if whole:
        check_size(resources, home.id, where)
    with timings.step("search"), reading(resources.engine) as session:
        wanted = WHOLE_READ if whole else max(k, PASSAGES)
        found = find_chunks(resources, session, home.id, question, k=wanted, where=where)
    with timings.step("load"):
        rows, caches = load_chunks(
            resources, home.id, None if whole else [chunk.row.id for chunk in found], where=where
        )
    with timings.step("read"):
        decoder = load_decoder(decoder_name or resources.settings.decoder, embedder=resources.embedder)
        texts = PassageTexts(resources, caches)
        found = rerank_chunks(question, found, texts, k=wanted if whole else k)
        evidence = gather(found, texts, ahead=decoder.passages)
        if not whole:
            kept = {chunk.row.id for chunk in found}
            rows = [row for row in rows if row.chunk_id in kept]
    with timings.step("answer"):
        answer = decoder.answer(question, evidence)
    return AnswerReport(
        answer=answer.text,
        abstained=answer.abstained,
        citations=tuple(
            CitationReport(c.document_id, c.title, c.page, c.boxes, c.quote, c.lines) for c in answer.citations
        ),
        decoder=decoder.name,
        confidence=round(answer.confidence, 4),
        context=context_of(rows),
        timings={**timings.seconds, "total": round(time.perf_counter() - start, 3)},
    )


def check_size(resources: Resources, collection_id: str, where: Mapping[str, object] | None) -> None:
    """Raises ContextTooLarge for a collection (or what `where` leaves of it) of more tokens than may be loaded."""
    with reading(resources.engine) as session:
        among = None if where is None else catalog.documents_where(session, collection_id, where)
        tokens = catalog.context_tokens(session, collection_id, document_ids=among)
    if tokens > resources.settings.max_context_tokens:
        raise ContextTooLarge(tokens, resources.settings.max_context_tokens)


def home_of(resources: Resources, tenant: str, collection: str | None) -> Collection:
    """The collection asked, or the one of the settings. Raises NotFound."""
    with reading(resources.engine) as session:
        return catalog.find_collection(session, tenant, collection or resources.settings.collection)


def load_chunks(
    resources: Resources,
    collection_id: str,
    chunk_ids: Sequence[int] | None,
    *,
    where: Mapping[str, object] | None = None,
) -> tuple[list[ChunkCache], dict[int, Cache]]:
    """Rows and caches of chunks, or of the whole collection as far as `where` leaves it.

    Raises BlobMissing, CacheDamaged, BadFilter.
    """
    try:
        return _load_chunks(resources, collection_id, chunk_ids, where)
    except BlobMissing:  # between the look at the rows and the load, a file was put together anew or deleted
        return _load_chunks(resources, collection_id, chunk_ids, where)


def _load_chunks(
    resources: Resources, collection_id: str, chunk_ids: Sequence[int] | None, where: Mapping[str, object] | None
) -> tuple[list[ChunkCache], dict[int, Cache]]:
    with reading(resources.engine) as session:
        if chunk_ids is None:
            rows = catalog.collection_caches(session, collection_id)
            if where is not None:
                wanted = catalog.documents_where(session, collection_id, where)
                rows = [row for row in rows if row.document_id in wanted]
        else:
            rows = catalog.chunk_caches(session, chunk_ids)
    caches = load_caches(resources, rows)
    return rows, {row.chunk_id: cache for row, cache in zip(rows, caches, strict=True)}


def context_of(rows: Sequence[ChunkCache]) -> ContextReport:
    """What a decoder was given."""
    return ContextReport(len(rows), sum(row.vision_tokens for row in rows), sum(row.text_tokens for row in rows))


class PassageTexts:
    """Reads passages out of loaded caches, each once."""

    def __init__(self, resources: Resources, caches: Mapping[int, Cache]) -> None:
        self._resources = resources
        self._caches = caches
        self._read: dict[tuple[int, int, int], str] = {}

    def __contains__(self, chunk_id: int) -> bool:
        return chunk_id in self._caches

    def read_ahead(self, passages: Sequence[tuple[int, ScoredPassage]]) -> None:
        """Reads passages of chunks by id, in one batch; those that were read before cost nothing."""
        wanted = [(chunk_id, passage.start, passage.end) for chunk_id, passage in passages]
        missing = [key for key in dict.fromkeys(wanted) if key not in self._read]
        readings = [Reading(self._caches[chunk_id], start, end) for chunk_id, start, end in missing]
        self._read |= dict(zip(missing, read_ranges(self._resources, readings), strict=True))

    def read(self, chunk_id: int, start: int, end: int) -> str:
        """The characters of a passage, or any others of the chunk."""
        if (chunk_id, start, end) in self._read:
            return self._read[chunk_id, start, end]
        return read_ranges(self._resources, [Reading(self._caches[chunk_id], start, end)])[0]


def rerank_chunks(query: str, found: Sequence[FoundChunk], texts: PassageTexts, *, k: int) -> list[FoundChunk]:
    """The k best chunks whose caches are loaded, after a look at the texts of the best passages."""
    present = [chunk for chunk in found if chunk.row.id in texts]
    best = _best_passages(present, PASSAGES)
    texts.read_ahead(best)
    fused = [(texts.read(chunk_id, passage.start, passage.end), passage.score) for chunk_id, passage in best]
    scores = dict(zip(best, rerank(query, fused), strict=True))
    again = []
    for chunk in present:
        passages = [replace(p, score=scores.get((chunk.row.id, p), unread(p.score))) for p in chunk.passages]
        again.append(replace(chunk, passages=sorted(passages, key=lambda passage: -passage.score)))
    return sorted(again, key=lambda chunk: -chunk.passages[0].score)[:k]


def _best_passages(found: Sequence[FoundChunk], count: int) -> list[tuple[int, ScoredPassage]]:
    """The best passages of all chunks, each with its chunk's id."""
    every = [(chunk.row.id, passage) for chunk in found for passage in chunk.passages]
    return sorted(every, key=lambda pair: -pair[1].score)[:count]


def gather(found: Sequence[FoundChunk], texts: PassageTexts, *, ahead: int) -> list[Evidence]:
    """Evidence for a decoder: the best `ahead` passages are read in one batch, anything else when asked for."""
    texts.read_ahead(_best_passages(found, ahead))
    return [
        Evidence(
            document_id=chunk.row.document_id,
            title=chunk.title,
            chunk_id=chunk.row.id,
            heading=chunk.row.heading,
            spans=spans_of(chunk.row),
            passages=tuple(chunk.passages),
            read=partial(texts.read, chunk.row.id),
        )
        for chunk in found
    ]


def read_ranges(resources: Resources, readings: Sequence[Reading]) -> list[str]:
    """Reads ranges of caches of any codec, those of one codec in one batch."""
    texts: dict[int, str] = {}
    for codec in dict.fromkeys(item.cache.codec for item in readings):
        places = [place for place, item in enumerate(readings) if item.cache.codec == codec]
        found = resources.codec(codec).read_ranges([readings[place] for place in places])
        texts |= dict(zip(places, found, strict=True))
    return [texts[place] for place in range(len(readings))]


def spans_of(chunk: Chunk) -> tuple[Span, ...]:
    """The layout of a chunk as it was stored."""
    spans = []
    for start, end, page, x0, y0, x1, y1, first, last in chunk.layout:
        lines = None if first is None or last is None else (int(first), int(last))
        box = Box(*(float(corner or 0) for corner in (x0, y0, x1, y1)))
        spans.append(Span(int(start or 0), int(end or 0), int(page or 1), box, lines))
    return tuple(spans)
