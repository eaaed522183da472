"""Owns answers that a vision-language model writes here: page caches into its context, its words and their places."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from api.library import forget_gone
from api.pagechoice import Chosen, ModelContext, choose_pages, pages_asked
from api.pagecitations import cite_pages
from api.pageplaces import PagePlace, in_order, load_pages
from api.reports import ContextReport, Question, Step, written_answer
from api.search import home_of
from compressor.said import Said, noted
from compressor.vlm.pointing import read_pointing
from compressor.vlm.reader import PageReader, Prefilled
from store.errors import BlobMissing
from store.models import Collection
from workers.resources import Resources
from workers.timing import Timings


@dataclass(frozen=True, slots=True)
class _Begun:
    """An answer whose pages are read."""

    chosen: Chosen
    shown: list[PagePlace]  # in the order of the prompt
    context: ContextReport
    pieces: Said  # what the model writes; no other answer begins before it ends or is closed


def write(resources: Resources, asked: Question, decoder: str) -> Iterator[Step]:
    """What was loaded, the answer in pieces as the model makes them (with its marks), then all of it (without).

    Raises NotFound, BadFilter, NoPageCaches, ContextTooLarge, ContextTooLong, DeviceFull, ModelError, CacheDamaged.
    """
    timings = Timings()
    reader = resources.page_reader(resources.page_codec(decoder))
    home = home_of(resources, asked.tenant, asked.collection)
    forget_gone(resources)
    try:
        begun = _begin(resources, reader, home, asked, timings)
    except BlobMissing:  # a document was deleted or replaced while this question waited for the one before
        begun = _begin(resources, reader, home, asked, timings)
    if begun is None:
        nothing = ContextReport(0, 0, 0)
        yield nothing
        yield written_answer(
            "", (), decoder=decoder, mode=reader.attention, context=nothing, timings=timings.with_total()
        )
        return
    said: list[str] = []
    with closing(begun.pieces):
        yield begun.context
        before = time.perf_counter()
        cut_off = yield from noted(begun.pieces, said)
    timings.add("answer", time.perf_counter() - before)
    pointing = read_pointing("".join(said))
    text = pointing.text.strip()
    citations = cite_pages(resources, pointing, begun.shown, begun.chosen.ranked, reader.codec.recipe) if text else ()
    yield written_answer(
        text,
        citations,
        decoder=decoder,
        mode=reader.attention,
        context=begun.context,
        timings=timings.with_total(),
        cut_off=cut_off,
    )


def _begin(
    resources: Resources, reader: PageReader, home: Collection, asked: Question, timings: Timings
) -> _Begun | None:
    """Pages chosen and read, once the model is free; None where there are none. Raises as `write`, and BlobMissing."""
    with timings.step("search"):
        about = pages_asked(resources, home, asked, reader.codec)
    if not about.rows:
        return None
    with timings.step("plan"):
        chosen = choose_pages(resources, about, model_context(reader, asked))
        plan = reader.plan(chosen.tokens, held=chosen.held)
    shown = in_order(chosen.ranked)
    with timings.step("prefill"):
        pieces = reader.write(
            [place.key for place in shown],
            lambda: load_pages(resources, shown),
            asked.text,
            plan=plan,
            limit=resources.settings.answer_tokens,
        )
        first = next(pieces)
    assert isinstance(first, Prefilled), "how much was read is said first"
    context = replace(chosen.report(), prefilled=first.tokens, planned_bytes=plan.total + chosen.held)
    return _Begun(chosen, shown, context, cast("Said", pieces))  # how much was read is said once


def model_context(reader: PageReader, asked: Question) -> ModelContext:
    """What the model's positions and this machine's memory leave room for."""
    return ModelContext(
        count=lambda pages, image_token: reader.prompt_tokens(asked.text, pages, image_token),
        room=lambda held: reader.room(held=held),
        where=f"in the context of {reader.codec.name} and in memory",
    )
