"""Owns answers that a vision-language model writes here: page caches into its context, its words and their places."""

import time
from collections.abc import Iterator
from dataclasses import replace

from api.library import forget_gone
from api.pagechoice import ModelContext, choose_pages, pages_asked
from api.pagecitations import cite_pages
from api.pageplaces import in_order, load_pages
from api.reports import ContextReport, Question, Step, written_answer
from api.search import home_of
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import PageReader, Prefilled
from workers.resources import Resources
from workers.timing import Timings


def write(resources: Resources, asked: Question, decoder: str) -> Iterator[Step]:
    """What was loaded, the answer in pieces as the model makes them (with its marks), then all of it (without).

    Raises NotFound, BadFilter, NoPageCaches, ContextTooLarge, ContextTooLong, DeviceFull, ModelError, CacheDamaged.
    """
    timings = Timings()
    reader = resources.page_reader(resources.page_codec(decoder))
    home = home_of(resources, asked.tenant, asked.collection)
    forget_gone(resources)
    with timings.step("search"):
        about = pages_asked(resources, home, asked, reader.codec)
    if not about.rows:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield written_answer(
            "", (), decoder=decoder, mode=reader.attention, context=nothing, timings=timings.with_total()
        )
        return
    with timings.step("plan"):
        chosen = choose_pages(resources, about, model_context(reader, asked))
        plan = reader.plan(chosen.tokens, held=chosen.held)
    shown = in_order(chosen.ranked)
    before = time.perf_counter()
    steps = reader.write(
        [place.key for place in shown],
        lambda: load_pages(resources, shown),
        asked.text,
        plan=plan,
        limit=resources.settings.answer_tokens,
    )
    said: list[str] = []
    context = ContextReport(0, 0, 0)
    for step in steps:
        if isinstance(step, Prefilled):
            timings.add("prefill", time.perf_counter() - before)
            context = replace(chosen.report(), prefilled=step.tokens, planned_bytes=plan.total + chosen.held)
            yield context
            before = time.perf_counter()
        else:
            said.append(step)
            yield step
    timings.add("answer", time.perf_counter() - before)
    pointing = read_pointing("".join(said))
    text = pointing.text.strip()
    citations = cite_pages(resources, pointing, shown, chosen.ranked, reader.codec.recipe) if text else ()
    yield written_answer(
        text, citations, decoder=decoder, mode=reader.attention, context=context, timings=timings.with_total()
    )


def model_context(reader: PageReader, asked: Question) -> ModelContext:
    """What the model's positions and this machine's memory leave room for."""
    return ModelContext(
        count=lambda pages, image_token: reader.prompt_tokens(asked.text, pages, image_token),
        room=lambda held: reader.room(held=held),
        where=f"in the context of {reader.codec.name} and in memory",
    )
