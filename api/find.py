"""Owns finding: a question to the live chunks of a collection, by meaning and words together.

Questions that come at once are looked up together: each asks the same indexes and the same tables, and most of what a
small question costs is the asking.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from api.passages import FoundChunk, worth_reading
from compressor.decoders.base import ScoredPassage
from compressor.fuse import fuse
from store import catalog, lexical
from store.database import reading
from store.lexical import LexicalHit
from store.livepassages import DEEPER, Live, Ranking, with_spare
from store.types import LivePassage
from workers.resources import Resources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy.orm import Session

Ranked = list[tuple[LivePassage, float]]  # with their scores, best first
PASSED_OVER = 1_500  # hits asked of a ranking at most, to leave out those of other documents
POOL = 40  # passages asked of each ranking; more changes nothing on the benchmark's questions


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a collection."""

    collection_id: str
    query: str
    k: int  # chunks
    among: AbstractCollection[str] | None = None  # only of these documents
    # For a second look: no more passages than it needs, and the kept texts of those that are worth reading.
    texts: bool = False

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
    return find_together(resources, [Asked(collection_id, query, k, among)])[0].chunks


def embed_queries(resources: Resources, queries: Sequence[str]) -> "list[NDArray[np.float32]]":
    """The vector (d,) of each query."""
    return list(resources.embedder.embed_queries(queries))


def find_together(
    resources: Resources, asked: Sequence[Asked], vectors: "NDArray[np.float32] | None" = None
) -> list[Found]:
    """What each question finds; what all of them need is asked for once. Vectors (n, d) where they are known."""
    if vectors is None:
        vectors = resources.embedder.embed_queries([one.query for one in asked])
    groups: dict[Hashable, list[int]] = {}
    for number, one in enumerate(asked):
        if one.among is None or one.among:
            groups.setdefault(one.place, []).append(number)
    best: list[dict[int, list[ScoredPassage]]] = [{} for _ in asked]  # of each its chunks' passages by chunk id
    ids: dict[tuple[int, int, int], int] = {}  # chunk id, start, end -> vector id
    with reading(resources.engine) as session:
        for numbers in groups.values():
            ranked = find_passages(resources, session, [asked[number] for number in numbers], vectors[numbers])
            for number, passages in zip(numbers, ranked, strict=True):
                best[number] = _by_chunk(passages, asked[number].k)
                if asked[number].texts:
                    ids |= {(its.chunk_id, its.start, its.end): its.vector_id for its, _ in passages}
        rows = catalog.live_chunks(session, list({chunk_id for chunks in best for chunk_id in chunks}))
        found = [
            [FoundChunk(rows[chunk_id], passages) for chunk_id, passages in chunks.items() if chunk_id in rows]
            for chunks in best
        ]
        wanted = [worth_reading(chunks) if one.texts else set() for one, chunks in zip(asked, found, strict=True)]
        kept = catalog.passage_texts(session, [ids[key] for key in set().union(*wanted)]) if any(wanted) else {}
    return [
        Found(chunks, {key: kept.get(ids[key]) for key in keys}) for chunks, keys in zip(found, wanted, strict=True)
    ]


def _by_chunk(ranked: Sequence[tuple[LivePassage, float]], k: int) -> dict[int, list[ScoredPassage]]:
    """The passages of the k chunks that come first, by their chunks."""
    grouped: dict[int, list[ScoredPassage]] = {}
    for passage, score in ranked:
        if passage.chunk_id in grouped or len(grouped) < k:
            grouped.setdefault(passage.chunk_id, []).append(ScoredPassage(passage.start, passage.end, score))
    return grouped


def find_passages(
    resources: Resources,
    session: "Session",
    asked: Sequence[Asked],
    vectors: "NDArray[np.float32]",
    *,
    pool: int | None = None,
    live: Live | None = None,
) -> list[Ranked]:
    """For each question of one `place` its live passages by meaning and words together, best first. vectors: (n, d).

    `pool` are asked of each ranking, or as many as is usual; more where those are of fewer chunks than are wanted.
    `live` is what was looked up before.

    For a second look only the first ones are looked up, until they have enough chunks: a row costs more than finding it
    did. Where these are live, and the best by words, nothing comes before them; where one is not, all are looked up.
    One further behind that is not live then only counts for how low the last of a ranking is.
    """
    place, pool = asked[0], pool or asked[0].pool
    one_in = _one_in(session, place)

    def near(numbers: Sequence[int], k: int) -> Sequence[Ranking]:
        index, (k, among) = resources.index(place.collection_id), _hits(place.among, k, one_in)
        return index.nearest_many(session, vectors[list(numbers)], k, document_ids=among)

    def worded(numbers: Sequence[int], k: int) -> Sequence[Ranking]:
        queries, (k, among) = [asked[number].query for number in numbers], _hits(place.among, k, one_in)
        found = find_words(resources, session, place.collection_id, queries, with_spare(k), document_ids=among)
        return [dict(hits) for hits in found]

    every = range(len(asked))
    by_vector, by_words = near(every, pool), worded(every, pool)
    live = live or Live(session, place.collection_id, place.among)
    ranked = _leading(resources, asked, by_vector, by_words, live, pool)
    rest = [number for number in every if number not in ranked]
    if rest:
        vector_hits = live.best([by_vector[n] for n in rest], pool, lambda some, k: near([rest[n] for n in some], k))
        word_hits = live.best([by_words[n] for n in rest], pool, lambda some, k: worded([rest[n] for n in some], k))
        for number, *both in zip(rest, vector_hits, word_hits, strict=True):
            passages = {passage.vector_id: passage for hits in both for passage, _ in hits}
            scores = [[(passage.vector_id, score) for passage, score in hits] for hits in both]
            ranked[number] = [
                (passages[key], score) for key, score in _fuse(resources, asked[number], *scores, pool=pool)
            ]
    few = [
        number
        for number in every
        if len(ranked[number]) >= pool  # with fewer these are all there are: a ranking may give none to spare
        and len({passage.chunk_id for passage, _ in ranked[number]}) < asked[number].k
    ]
    if few:  # long chunks, each with many passages that fit
        some, more_of_each = [asked[number] for number in few], DEEPER * pool
        more = find_passages(resources, session, some, vectors[few], pool=more_of_each, live=live)
        ranked |= dict(zip(few, more, strict=True))
    return [ranked[number] for number in every]


def _one_in(session: "Session", place: Asked) -> int:
    """Of how many hits one is of the documents asked for, where they are as good a match as the others."""
    if place.among is None:
        return 1
    return max(1, round(catalog.count_ready(session, place.collection_id) / max(1, len(place.among))))


def _hits(among: AbstractCollection[str] | None, k: int, one_in: int) -> tuple[int, AbstractCollection[str] | None]:
    """How many hits to ask an index for to have k, and of which documents alone.

    An index looks up every passage of those documents first, which of most of a collection takes seconds: then more
    hits are asked for, and those of others passed over. Where others match better that many are not enough.
    """
    return (k * one_in, None) if k * one_in <= PASSED_OVER else (k, among)


def _leading(
    resources: Resources,
    asked: Sequence[Asked],
    by_vector: Sequence[Ranking],
    by_words: Sequence[Ranking],
    live: Live,
    pool: int,
) -> dict[int, Ranked]:
    """By their numbers the questions for which the first passages are enough, and live, with these."""
    fused: dict[int, dict[int, float]] = {}
    for number, one in enumerate(asked):
        if one.texts:
            both = (list(islice(ranking[number].items(), pool)) for ranking in (by_vector, by_words))
            fused[number] = dict(_fuse(resources, one, *both, pool=pool))
    found = live.leading(
        [list(its) for its in fused.values()],
        max(one.k for one in asked),
        needed=[list(islice(by_words[number], 1)) for number in fused],  # the others' scores go by the best one's
    )
    return {
        number: [(passage, its[passage.vector_id]) for passage in passages]
        for (number, its), passages in zip(fused.items(), found, strict=True)
        if passages is not None
    }


def _fuse(
    resources: Resources,
    one: Asked,
    by_vector: Sequence[tuple[int, float]],
    by_words: Sequence[tuple[int, float]],
    *,
    pool: int,
) -> list[tuple[int, float]]:
    return fuse(by_vector, by_words, pool=pool, read=resources.embedder.reads(one.query))


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
    hits = None if index is None else index.search_many(session, queries, k, document_ids=document_ids)
    if hits is None:
        hits = [lexical.search(session, collection_id, query, k, document_ids=document_ids) for query in queries]
    return hits
