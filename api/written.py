"""Owns answers that a vision-language model writes: page caches into its context, its words and where they come from.

Searched, the pages of the best chunks are loaded as far as they fit the model's context, this machine's memory and the
budget, the best first. The whole of a collection is loaded or refused with the numbers: an answer over a part of it
would pass for one over all of it.
"""

import time
from collections.abc import Iterator

from api.library import forget_gone
from api.pagechoice import Chosen, choose_pages
from api.pagecitations import cite_pages
from api.pageplaces import in_order, load_pages
from api.passages import PassageTexts, rerank_chunks
from api.reports import AnswerReport, ContextReport, Question, Step
from api.search import filtered_documents, find_chunks, home_of, load_chunks
from compressor.rerank import PASSAGES
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import Prefilled
from store import catalog
from store.database import reading
from store.models import Collection
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import Timings

NOTHING_FOUND = "Nothing in these documents answers this."
RANKED = 100  # chunks of a whole collection whose pages are the first to be larger; the others follow by arrival


def write(resources: Resources, asked: Question, decoder: str) -> Iterator[Step]:
    """What was loaded, the answer in pieces as the model makes them (with its marks), then all of it (without).

    Raises NotFound, BadFilter, NoPageCaches, ContextTooLarge, ContextTooLong, DeviceFull, ModelError, CacheDamaged.
    """
    timings = Timings()
    reader = resources.page_reader(resources.page_codec(decoder))
    home = home_of(resources, asked.tenant, asked.collection)
    forget_gone(resources)
    with timings.step("search"):
        rows = _whole(resources, home, asked) if asked.whole else _best(resources, home, asked, k=asked.k)
    if not rows:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield AnswerReport(NOTHING_FOUND, True, (), decoder, reader.attention, None, nothing, timings.with_total())
        return
    with timings.step("plan"):
        chosen = choose_pages(
            resources,
            asked,
            reader,
            rows,
            collection=home.name,
            likeliest=lambda: [row.chunk_id for row in _best(resources, home, asked, k=RANKED)],
        )
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


def _best(resources: Resources, home: Collection, asked: Question, *, k: int) -> list[ChunkCache]:
    """The exact caches of the k best chunks, best first."""
    among = filtered_documents(resources, home.id, asked.where)
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, home.id, asked.text, k=max(k, PASSAGES), among=among)
    rows, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    found = rerank_chunks(asked.text, found, PassageTexts(resources, caches), k=k)
    by_chunk = {row.chunk_id: row for row in rows}
    return [by_chunk[chunk.row.id] for chunk in found]


def _whole(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of a collection's chunks, as far as the filter leaves them, in the order of arrival."""
    among = filtered_documents(resources, home.id, asked.where)
    with reading(resources.engine) as session:
        return catalog.collection_caches(session, home.id, document_ids=among)


def _context(chosen: Chosen, prefilled: int) -> ContextReport:
    return ContextReport(
        chunks=len(chosen.rows),
        vision_tokens=sum(place.positions for place in chosen.ranked),
        text_tokens=sum(row.text_tokens for row in chosen.rows),
        pages=len(chosen.ranked),
        smaller=sum(place.is_smaller for place in chosen.ranked),
        left_out=chosen.left_out,
        prefilled=prefilled,
        planned_bytes=chosen.plan.total + chosen.held,
    )
