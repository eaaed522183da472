"""Owns search over a collection: a query to hits with their texts, chunks to their loaded caches."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.find import Asked, Found, find_together
from api.library import load_caches
from api.passages import FoundChunk, PassageTexts, rerank_chunks, spans_of
from compressor.cache import Cache
from compressor.rerank import PASSAGES
from compressor.types import Box
from store import catalog
from store.database import reading
from store.errors import BlobMissing
from store.models import Collection
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANKED = 100  # chunks of a whole collection that come first in what matters; the others follow by arrival


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search is for."""

    query: str
    k: int = 8  # hits
    where: Mapping[str, object] | None = None  # a filter over metadata


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


def rank_chunks(
    resources: Resources,
    collection_id: str,
    query: str,
    *,
    k: int,
    among: AbstractCollection[str] | None = None,
) -> tuple[list[FoundChunk], PassageTexts]:
    """The k best chunks after a look at the texts of their passages, best first; and those texts."""
    asked = Asked(collection_id, query, max(k, PASSAGES), among, texts=True)
    return _rank_together(resources, [asked], [k])[0]


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
    """Chunks of a collection that fit, best first; `where` is a filter over metadata. Raises NotFound, BadFilter."""
    return search_together(resources, home_of(resources, tenant, collection), [Sought(query, k, where)])[0]


def search_together(
    resources: Resources, home: Collection, sought: Sequence[Sought], vectors: "NDArray[np.float32] | None" = None
) -> list[list[Hit]]:
    """The same for several searches of one collection. Vectors (n, d) of the queries where they are known."""
    asked = [
        Asked(home.id, one.query, max(one.k, PASSAGES), filtered_documents(resources, home.id, one.where), texts=True)
        for one in sought
    ]
    ranked = _rank_together(resources, asked, [one.k for one in sought], vectors)
    return [_hits_of(found, texts) for found, texts in ranked]


def _rank_together(
    resources: Resources, asked: Sequence[Asked], ks: Sequence[int], vectors: "NDArray[np.float32] | None" = None
) -> list[tuple[list[FoundChunk], PassageTexts]]:
    """Of each question its k best chunks after a look at texts, best first; and those texts."""
    ranked = []
    for one, k, found in zip(asked, ks, find_together(resources, asked, vectors), strict=True):
        texts = _texts_of(resources, one.collection_id, found)
        ranked.append((rerank_chunks(one.query, found.chunks, texts, k=k), texts))
    return ranked


def _hits_of(found: Sequence[FoundChunk], texts: PassageTexts) -> list[Hit]:
    """What is shown of found chunks."""
    texts.read_ahead([(chunk.row.id, chunk.passages[0]) for chunk in found])
    hits = []
    for chunk in found:
        passage = chunk.passages[0]
        text = texts.read(chunk.row.id, passage.start, passage.end)
        spans = spans_of(chunk.row, start=passage.start, end=passage.end)
        page = spans[0].page if spans else 1
        boxes = tuple(dict.fromkeys(span.box for span in spans if span.page == page))
        row = chunk.row
        hits.append(
            Hit(
                row.document_id,
                row.title,
                row.ordinal,
                row.heading,
                page,
                boxes,
                text,
                passage.score,
                row.metadata,
            )
        )
    return hits


def _texts_of(resources: Resources, collection_id: str, found: Found) -> PassageTexts:
    """The texts of what was found: as they are kept; of chunks of which one is not, out of their caches."""
    lacking = {key[0] for key, text in found.texts.items() if text is None}
    caches = load_chunks(resources, collection_id, sorted(lacking))[1] if lacking else {}
    kept = {key: text for key, text in found.texts.items() if text is not None and key[0] not in lacking}
    return PassageTexts(resources, caches, kept)


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
