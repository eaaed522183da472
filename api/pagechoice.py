"""Owns which pages are loaded for a question, and in which size: planned before anything is loaded.

Of found chunks the pages get in as far as they fit, the best first; of a whole collection all do, or none. Where pages
are kept in several sizes the most relevant are loaded larger and the rest smaller, as `compressor.vlm.sizes` plans it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.errors import ContextTooLarge, NoPageCaches
from api.pageplaces import PagePlace, Places, find_places
from api.reports import Question
from compressor.errors import ContextTooLong
from compressor.vlm.codec import PageCodec
from compressor.vlm.memory import MemoryPlan
from compressor.vlm.reader import PageReader
from compressor.vlm.sizes import plan_sizes
from store.errors import BlobMissing
from store.types import ChunkCache
from workers.resources import Resources

CONTEXT_SETTING = "PERCEL_MAX_CONTEXT_TOKENS"
BUDGET_SETTING = "PERCEL_PAGE_TOKENS"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pages of one question."""

    rows: tuple[ChunkCache, ...]  # the exact caches of their chunks, for what text they stand for
    ranked: tuple[PagePlace, ...]  # that are loaded, the likeliest first where that was asked for
    left_out: int
    plan: MemoryPlan

    @property
    def held(self) -> int:
        """Bytes of their page caches, as they are held while a model reads them."""
        return sum(place.stored_bytes for place in self.ranked)


@dataclass(frozen=True, slots=True)
class _Limit:
    """The most vision tokens, and what says so."""

    tokens: int
    named: str


@dataclass(frozen=True, slots=True)
class _Limits:
    """What the context of one question may hold."""

    fixed: int  # tokens of question and answer
    between: int  # tokens that come with each page
    room: int  # tokens in all, as model and memory have them
    context: _Limit
    budget: _Limit  # of the pages alone; the context's where there is none

    def costs(self, places: Sequence[PagePlace]) -> list[list[int]]:
        """Tokens of each page in each of its sizes."""
        return [[stored.positions + self.between for stored in place.sizes] for place in places]

    @property
    def least(self) -> _Limit:
        """The lower of both limits."""
        return min(self.context, self.budget, key=lambda limit: limit.tokens)

    def for_all(self, pages: int) -> int:
        """Tokens that so many pages may take, where all of them must get in."""
        return min(self.least.tokens + pages * self.between, self.room - self.fixed)


def choose_pages(
    resources: Resources,
    asked: Question,
    reader: PageReader,
    rows: Sequence[ChunkCache],
    *,
    collection: str,
    likeliest: Callable[[], Sequence[int]],
) -> Chosen:
    """The pages of some chunks, best first, or all of a whole collection's.

    `likeliest` gives ids of chunks, best first; it is called for a whole collection that must not all be large.
    Raises NoPageCaches, ContextTooLarge, ContextTooLong, DeviceFull, CacheDamaged.
    """
    sizes = resources.page_sizes(reader.codec.name)
    ids = [row.chunk_id for row in rows]
    places = _places(resources, sizes, ids)
    if not places.pages or (asked.whole and places.lacking):
        raise NoPageCaches(collection, reader.codec.name, places.lacking, len(rows))
    limits = _limits(resources, asked, reader, places.pages)
    if not asked.whole:
        return _choose_fitting(reader, rows, places.pages, limits)
    full = sum(cost[0] for cost in limits.costs(places.pages))
    if len(sizes) > 1 and full > limits.for_all(len(places.pages)):
        among = set(ids)
        first = [chunk_id for chunk_id in likeliest() if chunk_id in among]
        places = _places(resources, sizes, list(dict.fromkeys([*first, *ids])))
    return _choose_all(reader, rows, places.pages, limits)


def _limits(resources: Resources, asked: Question, reader: PageReader, places: Sequence[PagePlace]) -> _Limits:
    one, two = (reader.prompt_tokens(asked.text, pages, places[0].image_token) for pages in (1, 2))
    settings = resources.settings
    context = budget = _Limit(settings.max_context_tokens, CONTEXT_SETTING)
    if asked.budget is not None:
        budget = _Limit(asked.budget, "the question's budget")
    elif settings.page_tokens:
        budget = _Limit(settings.page_tokens, BUDGET_SETTING)
    room = reader.room(held=sum(place.stored_bytes for place in places))
    return _Limits(2 * one - two + settings.answer_tokens, two - one, room, context, budget)


def _choose_fitting(
    reader: PageReader, rows: Sequence[ChunkCache], places: Sequence[PagePlace], limits: _Limits
) -> Chosen:
    """As many of the pages as fit, the first ones first."""
    costs = limits.costs(places)
    room = min(limits.room, limits.context.tokens)
    sizes = plan_sizes(costs, min(room - limits.fixed, limits.budget.tokens))
    kept = [replace(place, size=size) for place, size in zip(places, sizes, strict=True) if size is not None]
    if kept:
        return _planned(reader, rows, kept, limits, left_out=len(places) - len(kept))
    smallest = min(cost[-1] for cost in costs)
    if smallest > limits.budget.tokens and limits.budget != limits.context:
        raise ContextTooLong(
            f"no page fits: the smallest of {len(costs)} takes {smallest:,} tokens, and {limits.budget.named} is "
            f"{limits.budget.tokens:,}"
        )
    raise ContextTooLong(
        f"no page fits: the smallest of {len(costs)} needs {limits.fixed + smallest:,} tokens with question and "
        f"answer, and there is room for {room:,} in the context of {reader.codec.name} and in memory"
    )


def _choose_all(reader: PageReader, rows: Sequence[ChunkCache], places: Sequence[PagePlace], limits: _Limits) -> Chosen:
    """All of the pages, the first ones larger where not all of them can be."""
    smallest = sum(place.sizes[-1].positions for place in places)
    if smallest > limits.least.tokens:
        raise ContextTooLarge(smallest, limits.least.tokens, limits.least.named)
    sizes = plan_sizes(limits.costs(places), limits.for_all(len(places)))
    if None in sizes:  # the plan of memory says what is lacking, or that it fits: smaller pages hold less themselves
        sizes = [len(place.sizes) - 1 for place in places]
    chosen = [replace(place, size=size or 0) for place, size in zip(places, sizes, strict=True)]
    return _planned(reader, rows, chosen, limits, left_out=0)


def _planned(
    reader: PageReader, rows: Sequence[ChunkCache], places: Sequence[PagePlace], limits: _Limits, *, left_out: int
) -> Chosen:
    """The choice, with the memory that it takes. Raises ContextTooLong, DeviceFull."""
    tokens = limits.fixed + sum(place.positions + limits.between for place in places)
    plan = reader.plan(tokens, held=sum(place.stored_bytes for place in places))
    return Chosen(tuple(rows), tuple(places), left_out, plan)


def _places(resources: Resources, sizes: Sequence[PageCodec], chunk_ids: Sequence[int]) -> Places:
    try:
        return find_places(resources, sizes, chunk_ids)
    except BlobMissing:  # between the look at the rows and the files, pages were made anew or deleted
        return find_places(resources, sizes, chunk_ids)
