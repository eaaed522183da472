"""Owns answers that a vision-language model writes: page caches into its context, its words and their places."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.library import forget_gone
from api.pagechoice import NOTHING_FOUND, PagesAsked, check_whole, pages_asked, price_prompt
from api.pagecitations import cite_pages
from api.pageplaces import PagePlace, in_order, load_pages
from api.reports import AnswerReport, ContextReport, Question, Step
from api.search import home_of
from compressor.vlm.memory import MemoryPlan
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import PageReader, Prefilled
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import Timings


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
    start = time.perf_counter()
    reader = resources.page_reader(resources.page_codec(decoder))
    home = home_of(resources, asked.tenant, asked.collection)
    forget_gone(resources)
    with timings.step("search"):
        about = pages_asked(resources, home, asked, reader.codec)
    if not about.rows:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield AnswerReport(NOTHING_FOUND, True, (), decoder, reader.attention, None, nothing, _seconds(timings, start))
        return
    with timings.step("plan"):
        chosen = _choose(resources, asked, decoder, reader, about)
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
        timings=_seconds(timings, start),
    )


def _choose(resources: Resources, asked: Question, decoder: str, reader: PageReader, about: PagesAsked) -> _Chosen:
    """Which pages are loaded, and the memory that they take. Raises as `write`."""
    pages = about.pages
    prompt = price_prompt(resources, lambda count: reader.prompt_tokens(asked.text, count, pages[0].image_token))
    if asked.whole:
        check_whole(resources, pages)
        return _Chosen(about.rows, pages, 0, reader.plan(prompt.tokens(pages), held=_held(pages)))
    room = min(reader.room(held=_held(pages)), resources.settings.max_context_tokens)
    kept = prompt.fit(pages, room, where=f"in the context of {decoder} and in memory")
    plan = reader.plan(prompt.tokens(kept), held=_held(kept))
    return _Chosen(about.rows, kept, len(pages) - len(kept), plan)


def _held(places: Sequence[PagePlace]) -> int:
    """Bytes of page caches, as they are held while a model reads them."""
    return sum(place.stored_bytes for place in places)


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


def _seconds(timings: Timings, start: float) -> dict[str, float]:
    return {**timings.seconds, "total": round(time.perf_counter() - start, 3)}
