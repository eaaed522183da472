"""Owns the passages of found chunks: read out of loaded caches, ranked again, handed to a decoder."""

from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from compressor.cache import Cache, Reading
from compressor.decoders.base import Evidence, ScoredPassage
from compressor.rerank import PASSAGES, rerank, unread
from compressor.types import Box, Span
from store.models import Chunk
from store.types import LiveChunk
from workers.resources import Resources

_SCORE = attrgetter("score")


class FoundChunk(NamedTuple):
    """A chunk and the passages of it that search found, best first."""

    row: LiveChunk
    passages: list[ScoredPassage]


class PassageTexts:
    """Reads passages out of loaded caches, each once; those that are kept beside their vectors need no cache."""

    def __init__(
        self,
        resources: Resources,
        caches: Mapping[int, Cache],
        kept: Mapping[tuple[int, int, int], str] | None = None,
    ) -> None:
        self._resources = resources
        self._caches = caches
        self._read = dict(kept or {})  # (chunk id, start, end) -> text
        self._chunks = caches.keys() | {chunk_id for chunk_id, _, _ in self._read}

    def __contains__(self, chunk_id: int) -> bool:
        return chunk_id in self._chunks

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


def worth_reading(found: Sequence[FoundChunk]) -> set[tuple[int, int, int]]:
    """What a second look needs of found chunks, and what is shown of them after it: (chunk id, start, end)."""
    best = [*_best_passages(found, PASSAGES), *((chunk.row.id, chunk.passages[0]) for chunk in found)]
    return {(chunk_id, passage.start, passage.end) for chunk_id, passage in best}


def rerank_chunks(query: str, found: Sequence[FoundChunk], texts: PassageTexts, *, k: int) -> list[FoundChunk]:
    """The k best chunks whose texts are at hand, after a look at those of the best passages."""
    present = [chunk for chunk in found if chunk.row.id in texts]
    # Of all that were found: the next ones, where a document is gone meanwhile, were not worth reading then.
    best = [(chunk_id, passage) for chunk_id, passage in _best_passages(found, PASSAGES) if chunk_id in texts]
    texts.read_ahead(best)
    fused = [(texts.read(chunk_id, passage.start, passage.end), passage.score) for chunk_id, passage in best]
    places = [(chunk_id, passage.start, passage.end) for chunk_id, passage in best]
    scores = dict(zip(places, rerank(query, fused), strict=True))
    again = []
    for chunk in present:
        chunk_id = chunk.row.id
        passages = [
            ScoredPassage(p.start, p.end, scores.get((chunk_id, p.start, p.end), unread(p.score)))
            for p in chunk.passages
        ]
        again.append(FoundChunk(chunk.row, sorted(passages, key=_SCORE, reverse=True)))
    return sorted(again, key=lambda chunk: chunk.passages[0].score, reverse=True)[:k]


def _best_passages(found: Sequence[FoundChunk], count: int) -> list[tuple[int, ScoredPassage]]:
    """The best passages of all chunks, each with its chunk's id."""
    every = [(chunk.row.id, passage) for chunk in found for passage in chunk.passages]
    return sorted(every, key=lambda pair: pair[1].score, reverse=True)[:count]


def gather(found: Sequence[FoundChunk], texts: PassageTexts, *, ahead: int) -> list[Evidence]:
    """Evidence for a decoder: the best `ahead` passages are read in one batch, anything else when asked for."""
    texts.read_ahead(_best_passages(found, ahead))
    return [
        Evidence(
            document_id=chunk.row.document_id,
            title=chunk.row.title,
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


def spans_of(chunk: LiveChunk | Chunk, *, start: int = 0, end: int | None = None) -> tuple[Span, ...]:
    """The layout of a chunk as it was stored; with a range of its characters, what that touches."""
    spans = []
    for begins, ends, page, x0, y0, x1, y1, first, last in chunk.layout:
        if end is not None and not ((begins or 0) < end and start < (ends or 0)):
            continue
        lines = None if first is None or last is None else (int(first), int(last))
        box = Box(*(float(corner or 0) for corner in (x0, y0, x1, y1)))
        spans.append(Span(int(begins or 0), int(ends or 0), int(page or 1), box, lines))
    return tuple(spans)
