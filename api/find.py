"""Owns finding: a question to the live chunks of a collection, by meaning and words together.

Questions that come at once are looked up together: each asks the same indexes and the same tables, and most of what a
small question costs is the asking.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.passages import FoundChunk, worth_reading
from compressor.decoders.base import ScoredPassage
from compressor.fuse import fuse
from store import catalog, lexical
from store.database import reading
from store.lexical import LexicalHit
from store.livepassages import Live, with_spare
from store.types import LivePassage
from workers.resources import Resources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

POOL = 60  # passages asked of each ranking; more changes nothing on the benchmark's questions


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a collection."""

    collection_id: str
    query: str
    k: int  # chunks
    among: AbstractCollection[str] | None = None  # only of these documents
    texts: bool = False  # the kept texts of the passages that are worth reading, too

    @property
    def pool(self) -> int:
        """Passages asked of each ranking."""
        return max(POOL, 4 * self.k)

    @property
    def place(self) -> Hashable:
        """Equal for questions that can be searched for as one."""
        return self.collection_id, self.pool, None if self.among is None else id(self)


@dataclass(frozen=True, slots=True)
class Found:
    """What a question finds, best first."""

    chunks: list[FoundChunk]
    texts: Mapping[tuple[int, int, int], str | None]  # (chunk id, start, end) -> kept text; None: it is not kept


def find_chunks(
    resources: Resources,
    collection_id: str,
    query: str,
    *,
    k: int,
    among: AbstractCollection[str] | None = None,
) -> list[FoundChunk]:
    """The k best chunks, a chunk as good as its best passage; with `among` only of those documents."""
    return find(resources, collection_id, query, k=k, among=among).chunks


def find(
    resources: Resources,
    collection_id: str,
    query: str,
    *,
    k: int,
    among: AbstractCollection[str] | None = None,
    texts: bool = False,
) -> Found:
    """The k best chunks, and the kept texts of their best passages where they are asked for."""
    if among is not None and not among:
        return Found([], {})
    asked = Asked(collection_id, query, k, among, texts)
    if resources.engine.dialect.name == "sqlite":
        if not resources.brief:
            for index in resources.indexes(collection_id).every:
                index.open()  # a large one takes seconds, in which questions to other collections need not wait
        return resources.together(find_together, asked)
    vector = resources.together(embed_queries, query)
    return find_together(resources, [asked], vector[None])[0]  # a server works on several by itself


def embed_queries(resources: Resources, queries: Sequence[str]) -> "list[NDArray[np.float32]]":
    """The vector (d,) of each query."""
    return list(resources.embedder.embed(queries))


def find_together(
    resources: Resources, asked: Sequence[Asked], vectors: "NDArray[np.float32] | None" = None
) -> list[Found]:
    """What each question finds; what all of them need is asked for once. Vectors (n, d) where they are known."""
    if vectors is None:
        vectors = resources.embedder.embed([one.query for one in asked])
    groups: dict[Hashable, list[int]] = {}
    for number, one in enumerate(asked):
        groups.setdefault(one.place, []).append(number)
    best: dict[int, dict[int, list[ScoredPassage]]] = {}  # question -> chunk id -> its passages
    with reading(resources.engine) as session:
        for numbers in groups.values():
            ranked = find_passages(resources, session, [asked[number] for number in numbers], vectors[numbers])
            for number, passages in zip(numbers, ranked, strict=True):
                best[number] = _by_chunk(passages, asked[number].k)
        rows = catalog.live_chunks(session, list({chunk_id for chunks in best.values() for chunk_id in chunks}))
        found = [
            [FoundChunk(rows[chunk_id], passages) for chunk_id, passages in best[number].items() if chunk_id in rows]
            for number in range(len(asked))
        ]
        wanted = [worth_reading(chunks) if one.texts else set() for one, chunks in zip(asked, found, strict=True)]
        kept = catalog.passage_texts(session, set().union(*wanted)) if any(wanted) else {}
    return [Found(chunks, {key: kept.get(key) for key in keys}) for chunks, keys in zip(found, wanted, strict=True)]


def _by_chunk(ranked: Sequence[tuple[LivePassage, float]], k: int) -> dict[int, list[ScoredPassage]]:
    """The passages of the k chunks that come first, by their chunks."""
    grouped: dict[int, list[ScoredPassage]] = {}
    for passage, score in ranked:
        if passage.chunk_id in grouped or len(grouped) < k:
            grouped.setdefault(passage.chunk_id, []).append(ScoredPassage(passage.start, passage.end, score))
    return grouped


def find_passages(
    resources: Resources, session: "Session", asked: Sequence[Asked], vectors: "NDArray[np.float32]"
) -> list[list[tuple[LivePassage, float]]]:
    """For each question of one `place` its live passages by meaning and words together, best first. vectors: (n, d)."""
    first = asked[0]
    near = resources.index(first.collection_id).search_many(vectors, first.pool, document_ids=first.among)
    known = [hit.passage for hits in near for hit in hits]
    worded = _live_words(resources, session, asked, Live(session, first.collection_id, first.among, known=known))
    ranked = []
    for one, hits, words in zip(asked, near, worded, strict=True):
        passages = {hit.passage.vector_id: hit.passage for hit in hits}
        passages |= {passage.vector_id: passage for passage, _ in words}
        by_vector = [(hit.passage.vector_id, hit.score) for hit in hits]
        by_words = [(passage.vector_id, score) for passage, score in words]
        fused = fuse(by_vector, by_words, read=resources.embedder.reads(one.query))
        ranked.append([(passages[vector_id], score) for vector_id, score in fused])
    return ranked


def _live_words(
    resources: Resources, session: "Session", asked: Sequence[Asked], live: Live, *, deeper: int = 1
) -> list[list[tuple[LivePassage, float]]]:
    """For each question of one place the live passages that are best by words, with their scores."""
    pool = asked[0].pool
    fetch = deeper * with_spare(pool)
    worded = find_words(
        resources, session, asked[0].collection_id, [one.query for one in asked], fetch, document_ids=asked[0].among
    )
    scores = [dict(hits) for hits in worded]
    found = [
        [(passage, its[passage.vector_id]) for passage in passages]
        for passages, its in zip(live.first([list(its) for its in scores], pool), scores, strict=True)
    ]
    short = [n for n, passages in enumerate(found) if len(passages) < pool and len(worded[n]) == fetch]
    if short:
        again = _live_words(resources, session, [asked[n] for n in short], live, deeper=4 * deeper)
        for n, passages in zip(short, again, strict=True):
            found[n] = passages
    return found


def find_words(
    resources: Resources,
    session: "Session",
    collection_id: str,
    queries: Sequence[str],
    k: int,
    *,
    document_ids: AbstractCollection[str] | None = None,
) -> list[list[LexicalHit]]:
    """For each query the k best passages by words, live or not: of the word index, or where it cannot say of the full
    text.

    Passages that came since the index was written are cut by every process that asks it: one question is answered
    sooner without.
    """
    index = None if resources.brief else resources.indexes(collection_id).words
    hits = None if index is None else index.search_many(queries, k, document_ids=document_ids)
    if hits is None:
        hits = [lexical.search(session, collection_id, query, k, document_ids=document_ids) for query in queries]
    return hits
