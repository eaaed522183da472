"""Owns search over a collection: a query to live chunks, chunks to their loaded caches."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from api.library import load_caches
from api.passages import FoundChunk, PassageTexts, rerank_chunks, spans_of
from compressor.cache import Cache
from compressor.decoders.base import ScoredPassage
from compressor.fuse import fuse
from compressor.rerank import PASSAGES
from compressor.types import Box
from store import catalog, lexical
from store.database import reading
from store.errors import BlobMissing
from store.lexical import LexicalHit
from store.models import Collection
from store.types import ChunkCache, LivePassage
from workers.resources import Resources
from workers.timing import measured

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

POOL = 60  # passages asked of each ranking; more changes nothing on the benchmark's questions
RANKED = 100  # chunks of a whole collection that come first in what matters; the others follow by arrival


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that fits a query, with its best passage; the fields of `percel search --json`."""

    document_id: str
    title: str
    chunk: int  # ordinal, from 0
    heading: str
    page: int  # source page the passage begins on
    boxes: tuple[Box, ...]
    text: str  # the passage, exactly as its cache reads back
    score: float  # meaning and words together; comparable within one search only
    metadata: Mapping[str, object]  # of the document


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
    vector = resources.embed_question(query)  # before its turn: those that wait for theirs are embedded together
    with resources.search_turn:
        near = resources.index(collection_id).search(vector, pool, document_ids=document_ids)
        passages = {hit.passage.vector_id: hit.passage for hit in near}
        by_vector = [(hit.passage.vector_id, hit.score) for hit in near]
        worded = partial(find_words, resources, session, collection_id, query, document_ids=document_ids)
        by_words = _live(session, collection_id, passages, worded, pool)
    return [
        (passages[vector_id], score)
        for vector_id, score in fuse(by_vector, by_words, read=resources.embedder.reads(query))
    ]


def find_words(
    resources: Resources,
    session: "Session",
    collection_id: str,
    query: str,
    k: int,
    *,
    document_ids: AbstractCollection[str] | None = None,
) -> list[LexicalHit]:
    """The k best passages by words, live or not: of the word index, or where it cannot say of the full text.

    Passages that came since the index was written are cut by every process that asks it: one question is answered
    sooner without.
    """
    index = None if resources.brief else resources.indexes(collection_id).words
    hits = None if index is None else index.search(query, k, document_ids=document_ids)
    if hits is None:
        hits = lexical.search(session, collection_id, query, k, document_ids=document_ids)
    return hits


def _live(
    session: "Session",
    collection_id: str,
    passages: dict[int, LivePassage],
    worded: Callable[[int], list[LexicalHit]],
    pool: int,
) -> list[tuple[int, float]]:
    """The `pool` best live passages by words, with their scores; adds to `passages` those that are not known yet."""
    fetch = 2 * pool  # some are not live
    while True:
        hits = worded(fetch)
        live: list[tuple[int, float]] = []
        for first in range(0, len(hits), pool):
            part = hits[first : first + pool]
            missing = [hit.vector_id for hit in part if hit.vector_id not in passages]
            found = catalog.passages_by_vector_ids(session, collection_id, missing)
            passages |= {passage.vector_id: passage for passage in found}
            live += [(hit.vector_id, hit.score) for hit in part if hit.vector_id in passages]
            if len(live) >= pool:
                return live[:pool]
        if len(hits) < fetch:
            return live
        fetch *= 4


def find_chunks(
    resources: Resources,
    session: "Session",
    collection_id: str,
    query: str,
    *,
    k: int,
    among: AbstractCollection[str] | None = None,
) -> list[FoundChunk]:
    """The k best chunks, a chunk as good as its best passage; with `among` only of those documents."""
    if among is not None and not among:
        return []
    pool = max(POOL, 4 * k)
    grouped: dict[int, list[tuple[LivePassage, float]]] = {}
    for passage, score in find_passages(resources, session, collection_id, query, pool=pool, document_ids=among):
        if passage.chunk_id in grouped or len(grouped) < k:
            grouped.setdefault(passage.chunk_id, []).append((passage, score))
    rows = catalog.chunks_by_ids(session, list(grouped))
    return [
        FoundChunk(rows[chunk_id], members[0][0].title, [ScoredPassage(p.start, p.end, score) for p, score in members])
        for chunk_id, members in grouped.items()
        if chunk_id in rows
    ]


def rank_chunks(
    resources: Resources,
    collection_id: str,
    query: str,
    *,
    k: int,
    among: AbstractCollection[str] | None = None,
) -> tuple[list[FoundChunk], PassageTexts]:
    """The k best chunks after a look at the texts of their passages, best first; and those texts."""
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, collection_id, query, k=max(k, PASSAGES), among=among)
        wanted = {(chunk.row.id, passage.start, passage.end) for chunk in found for passage in chunk.passages}
        kept = catalog.passage_texts(session, wanted)
    texts = _texts_of(resources, collection_id, found, kept)
    return rerank_chunks(query, found, texts, k=k), texts


@measured("search")
def search(
    resources: Resources,
    tenant: str,
    query: str,
    *,
    collection: str | None = None,
    home: Collection | None = None,
    k: int = 8,
    where: Mapping[str, object] | None = None,
) -> list[Hit]:
    """Chunks that fit, best first; `where` is a filter over metadata. Raises NotFound, BadFilter.

    Of the collection of that name, or `home` where the caller has looked it up.
    """
    home = home or home_of(resources, tenant, collection)
    among = filtered_documents(resources, home.id, where)
    found, texts = rank_chunks(resources, home.id, query, k=k, among=among)
    with reading(resources.engine) as session:
        metadata = catalog.metadata_of(session, {chunk.row.document_id for chunk in found})
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


def _texts_of(
    resources: Resources,
    collection_id: str,
    found: Sequence[FoundChunk],
    kept: Mapping[tuple[int, int, int], str],
) -> PassageTexts:
    """The texts of what was found: as they are kept; of chunks of which one is not, out of their caches."""
    wanted = {chunk.row.id: [(chunk.row.id, p.start, p.end) for p in chunk.passages] for chunk in found}
    lacking = [chunk_id for chunk_id, keys in wanted.items() if any(key not in kept for key in keys)]
    caches = load_chunks(resources, collection_id, lacking)[1] if lacking else {}
    return PassageTexts(resources, caches, {key: text for key, text in kept.items() if key[0] not in lacking})


def home_of(resources: Resources, tenant: str, collection: str | None) -> Collection:
    """The collection asked, or the one of the settings. Raises NotFound."""
    with reading(resources.engine) as session:
        return catalog.find_collection(session, tenant, collection or resources.settings.collection)


def filtered_documents(
    resources: Resources, collection_id: str, where: Mapping[str, object] | None
) -> frozenset[str] | None:
    """The ready documents that a filter over metadata leaves, asked once a question; None: all. Raises BadFilter."""
    if where is None:
        return None
    with reading(resources.engine) as session:
        return catalog.documents_where(session, collection_id, where)


def load_chunks(
    resources: Resources,
    collection_id: str,
    chunk_ids: Sequence[int] | None,
    *,
    among: AbstractCollection[str] | None = None,
) -> tuple[list[ChunkCache], dict[int, Cache]]:
    """Rows and caches of chunks, or of the whole collection, with `among` of those of its documents.

    Raises BlobMissing, CacheDamaged.
    """
    try:
        return _load_chunks(resources, collection_id, chunk_ids, among)
    except BlobMissing:  # between the look at the rows and the load, a file was put together anew or deleted
        return _load_chunks(resources, collection_id, chunk_ids, among)


def _load_chunks(
    resources: Resources,
    collection_id: str,
    chunk_ids: Sequence[int] | None,
    among: AbstractCollection[str] | None,
) -> tuple[list[ChunkCache], dict[int, Cache]]:
    with reading(resources.engine) as session:
        if chunk_ids is None:
            rows = catalog.collection_caches(session, collection_id, document_ids=among)
        else:
            rows = catalog.chunk_caches(session, chunk_ids)
    caches = load_caches(resources, rows)
    return rows, {row.chunk_id: cache for row, cache in zip(rows, caches, strict=True)}
