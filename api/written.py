"""Owns answers that a vision-language model writes: page caches into its context, its words and where they come from.

Searched, the pages of the best chunks are loaded as far as they fit the model's context and this machine's memory, the
best first. The whole of a collection is loaded or refused with the numbers: an answer over a part of it would pass for
one over all of it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.errors import ContextTooLarge, NoPageCaches
from api.library import forget_gone
from api.pagecitations import cite_pages
from api.pageplaces import PagePlace, Places, find_places, in_order, load_pages
from api.passages import PassageTexts, rerank_chunks
from api.reports import AnswerReport, ContextReport, Question, Step
from api.search import filtered_documents, find_chunks, home_of, load_chunks
from compressor.errors import ContextTooLong
from compressor.rerank import PASSAGES
from compressor.vlm.memory import MemoryPlan
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import PageReader, Prefilled
from store import catalog
from store.database import reading
from store.errors import BlobMissing
from store.models import Collection
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import Timings

NOTHING_FOUND = "Nothing in these documents answers this."


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The pages of one question."""

    rows: tuple[ChunkCache, ...]  # the exact caches of their chunks, for what text they stand for
    ranked: tuple[PagePlace, ...]  # that are loaded, the likeliest first
    left_out: int
    plan: MemoryPlan


def write(resources: Resources, asked: Question, decoder: str) -> Iterator[Step]:
    """What was loaded, the answer in pieces as the model makes them (with its marks), then all of it (without).

    Raises NotFound, BadFilter, NoPageCaches, ContextTooLarge, ContextTooLong, DeviceFull, ModelError, CacheDamaged.
    """
    timings = Timings()
    reader = resources.page_reader(resources.page_codec(decoder))
    home = home_of(resources, asked.tenant, asked.collection)
    forget_gone(resources)
    with timings.step("search"):
        rows = _whole(resources, home, asked) if asked.whole else _best(resources, home, asked)
    if not rows:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield AnswerReport(NOTHING_FOUND, True, (), decoder, reader.attention, None, nothing, timings.with_total())
        return
    with timings.step("plan"):
        chosen = _choose(resources, home, asked, decoder, reader, rows)
    shown = in_order(chosen.ranked)
    before = time.perf_counter()
    steps = reader.write(
        [place.key for place in shown],
        lambda: load_pages(resources, shown),
        asked.text,
        plan=chosen.plan,
        limit=resources.settings.answer_tokens,
    )
    said: list[str] = []
    context = ContextReport(0, 0, 0)
    for step in steps:
        if isinstance(step, Prefilled):
            timings.add("prefill", time.perf_counter() - before)
            context = _context(chosen, step.tokens)
            yield context
            before = time.perf_counter()
        else:
            said.append(step)
            yield step
    timings.add("answer", time.perf_counter() - before)
    pointing = read_pointing("".join(said))
    text = pointing.text.strip()
    yield AnswerReport(
        answer=text or NOTHING_FOUND,
        abstained=not text,
        citations=cite_pages(resources, pointing, shown, chosen.ranked, reader.codec.recipe) if text else (),
        decoder=decoder,
        mode=reader.attention,
        confidence=None,
        context=context,
        timings=timings.with_total(),
    )


def _best(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of the k best chunks, best first."""
    among = filtered_documents(resources, home.id, asked.where)
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, home.id, asked.text, k=max(asked.k, PASSAGES), among=among)
    rows, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    found = rerank_chunks(asked.text, found, PassageTexts(resources, caches), k=asked.k)
    by_chunk = {row.chunk_id: row for row in rows}
    return [by_chunk[chunk.row.id] for chunk in found]


def _whole(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of a collection's chunks, as far as the filter leaves them, in the order of arrival."""
    among = filtered_documents(resources, home.id, asked.where)
    with reading(resources.engine) as session:
        return catalog.collection_caches(session, home.id, document_ids=among)


def _choose(
    resources: Resources, home: Collection, asked: Question, decoder: str, reader: PageReader, rows: list[ChunkCache]
) -> _Chosen:
    """Which pages are loaded, and the memory that they take. Raises as `write`."""
    places = _places(resources, reader, [row.chunk_id for row in rows])
    if not places.pages or (asked.whole and places.lacking):
        raise NoPageCaches(home.name, decoder, places.lacking, len(rows))
    token = places.pages[0].image_token
    one, two = (reader.prompt_tokens(asked.text, pages, token) for pages in (1, 2))
    between = two - one  # tokens of the prompt that come with each further page
    fixed = one - between + resources.settings.answer_tokens
    taken = [place.positions + between for place in places.pages]
    if asked.whole:
        vision = sum(place.positions for place in places.pages)
        if vision > resources.settings.max_context_tokens:
            raise ContextTooLarge(vision, resources.settings.max_context_tokens)
        plan = reader.plan(fixed + sum(taken), held=_held(places.pages))
        return _Chosen(tuple(rows), places.pages, 0, plan)
    room = min(reader.room(held=_held(places.pages)), resources.settings.max_context_tokens)
    used, kept = fixed, []
    for place, tokens in zip(places.pages, taken, strict=True):
        if used + tokens <= room:
            used += tokens
            kept.append(place)
    if not kept:
        raise ContextTooLong(
            f"no page fits: the smallest of {len(taken)} needs {fixed + min(taken):,} tokens with question and answer, "
            f"and there is room for {room:,} in the context of {decoder} and in memory"
        )
    return _Chosen(tuple(rows), tuple(kept), len(taken) - len(kept), reader.plan(used, held=_held(kept)))


def _held(places: Sequence[PagePlace]) -> int:
    """Bytes of page caches, as they are held while a model reads them."""
    return sum(place.stored_bytes for place in places)


def _places(resources: Resources, reader: PageReader, chunk_ids: Sequence[int]) -> Places:
    try:
        return find_places(resources, reader.codec, chunk_ids)
    except BlobMissing:  # between the look at the rows and the files, pages were made anew or deleted
        return find_places(resources, reader.codec, chunk_ids)


def _context(chosen: _Chosen, prefilled: int) -> ContextReport:
    return ContextReport(
        chunks=len(chosen.rows),
        vision_tokens=sum(place.positions for place in chosen.ranked),
        text_tokens=sum(row.text_tokens for row in chosen.rows),
        pages=len(chosen.ranked),
        left_out=chosen.left_out,
        prefilled=prefilled,
        planned_bytes=chosen.plan.total + _held(chosen.ranked),
    )
