"""Owns which pages a question loads, and in which size, wherever the model runs that reads them.

Of found chunks the pages get in as far as they fit, the best first. The whole of a collection is loaded or refused with
the numbers: an answer over a part of it would pass for one over all of it. Where pages are kept in several sizes the
most relevant are loaded larger and the rest smaller, as `compressor.vlm.sizes` plans it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.errors import ContextTooLarge, NoPageCaches
from api.find import find_chunks
from api.pageplaces import PagePlace, Places, find_places
from api.passages import PassageTexts, rerank_chunks
from api.reports import ContextReport, Question
from api.search import RANKED, filtered_documents, load_chunks
from compressor.errors import ContextTooLong
from compressor.rerank import PASSAGES
from compressor.vlm.codec import PageCodec
from compressor.vlm.sizes import plan_sizes
from store import catalog
from store.database import reading
from store.errors import BlobMissing
from store.models import Collection
from store.types import ChunkCache
from workers.resources import Resources
from workers.settings import Settings

CONTEXT_SETTING = "PERCEL_MAX_CONTEXT_TOKENS"
BUDGET_SETTING = "PERCEL_PAGE_TOKENS"


@dataclass(frozen=True, slots=True)
class PagesAsked:
    """A question and what it is about."""

    question: Question
    home: Collection
    codec: PageCodec  # of the pages in their full size
    rows: tuple[ChunkCache, ...]  # the exact caches of the chunks: the best first, or of all by their arrival
    pages: tuple[PagePlace, ...]  # of these chunks, in their order and full size; none without rows


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What a question's context may hold, as the model has it that reads the pages."""

    count: Callable[[int, int], int]  # pages, their image token -> tokens of the prompt around them, question included
    room: Callable[[int], int]  # bytes of page caches that are held beside it -> tokens in all, answer included
    where: str  # that room is, for a refusal: "in the context of ..."


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pages of one question."""

    rows: tuple[ChunkCache, ...]  # the exact caches of their chunks, for what text they stand for
    ranked: tuple[PagePlace, ...]  # that are loaded, each in its size, the likeliest first where that was asked for
    left_out: int
    tokens: int  # of the context with question and answer
    room: int  # tokens; of a whole collection `tokens` may be more, for the model's side to refuse

    @property
    def held(self) -> int:
        """Bytes of their page caches, as they are held while a model reads them."""
        return _held(self.ranked)

    def report(self) -> ContextReport:
        """What is loaded, as far as the choice says it."""
        return ContextReport(
            chunks=len(self.rows),
            vision_tokens=sum(place.positions for place in self.ranked),
            text_tokens=sum(row.text_tokens for row in self.rows),
            pages=len(self.ranked),
            smaller=sum(place.is_smaller for place in self.ranked),
            left_out=self.left_out,
        )


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
    room: int  # tokens in all, as the model has them
    where: str  # that room is
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


def pages_asked(resources: Resources, home: Collection, asked: Question, codec: PageCodec) -> PagesAsked:
    """The pages of the best chunks, or of the whole collection.

    Raises NotFound, BadFilter, NoPageCaches, CacheDamaged.
    """
    rows = _whole(resources, home, asked) if asked.whole else _best(resources, home, asked, k=asked.k)
    if not rows:
        return PagesAsked(asked, home, codec, (), ())
    places = _places(resources, codec, [row.chunk_id for row in rows])
    if not places.pages or (asked.whole and places.lacking):
        raise NoPageCaches(home.name, codec.name, places.lacking, len(rows))
    return PagesAsked(asked, home, codec, tuple(rows), places.pages)


def choose_pages(resources: Resources, about: PagesAsked, context: ModelContext) -> Chosen:
    """Those of the pages that are loaded and their sizes; `about` has some. Nothing is loaded yet.

    Raises ContextTooLarge, ContextTooLong, CacheDamaged, and as `context.room`.
    """
    limits = _limits(resources.settings, about, context)
    if not about.question.whole:
        return _choose_fitting(about, limits)
    full = sum(cost[0] for cost in limits.costs(about.pages))
    if resources.settings.page_scales and full > limits.for_all(len(about.pages)):
        about = _by_likelihood(resources, about)
    return _choose_all(about, limits)


def _limits(settings: Settings, about: PagesAsked, model: ModelContext) -> _Limits:
    one, two = (model.count(pages, about.pages[0].image_token) for pages in (1, 2))
    context = budget = _Limit(settings.max_context_tokens, CONTEXT_SETTING)
    if about.question.budget is not None:
        budget = _Limit(about.question.budget, "the question's budget")
    elif settings.page_tokens:
        budget = _Limit(settings.page_tokens, BUDGET_SETTING)
    room = model.room(_held(about.pages))
    return _Limits(2 * one - two + settings.answer_tokens, two - one, room, model.where, context, budget)


def _choose_fitting(about: PagesAsked, limits: _Limits) -> Chosen:
    """As many of the pages as fit, the first ones first."""
    costs = limits.costs(about.pages)
    room = min(limits.room, limits.context.tokens)
    sizes = plan_sizes(costs, min(room - limits.fixed, limits.budget.tokens))
    kept = [replace(place, size=size) for place, size in zip(about.pages, sizes, strict=True) if size is not None]
    if kept:
        return _chosen(about, kept, limits)
    smallest = min(cost[-1] for cost in costs)
    if smallest > limits.budget.tokens and limits.budget != limits.context:
        raise ContextTooLong(
            f"no page fits: the smallest of {len(costs)} takes {smallest:,} tokens, and {limits.budget.named} is "
            f"{limits.budget.tokens:,}"
        )
    raise ContextTooLong(
        f"no page fits: the smallest of {len(costs)} needs {limits.fixed + smallest:,} tokens with question and "
        f"answer, and there is room for {room:,} {limits.where}"
    )


def _choose_all(about: PagesAsked, limits: _Limits) -> Chosen:
    """All of the pages, the first ones larger where not all of them can be."""
    smallest = sum(place.sizes[-1].positions for place in about.pages)
    if smallest > limits.least.tokens:
        raise ContextTooLarge(smallest, limits.least.tokens, limits.least.named)
    sizes = plan_sizes(limits.costs(about.pages), limits.for_all(len(about.pages)))
    if None in sizes:  # the model's side says what is lacking, or that it fits: smaller pages hold less themselves
        sizes = [len(place.sizes) - 1 for place in about.pages]
    return _chosen(
        about, [replace(place, size=size or 0) for place, size in zip(about.pages, sizes, strict=True)], limits
    )


def _chosen(about: PagesAsked, kept: Sequence[PagePlace], limits: _Limits) -> Chosen:
    tokens = limits.fixed + sum(place.positions + limits.between for place in kept)
    return Chosen(about.rows, tuple(kept), len(about.pages) - len(kept), tokens, limits.room)


def _held(places: Sequence[PagePlace]) -> int:
    return sum(place.stored_bytes for place in places)


def _best(resources: Resources, home: Collection, asked: Question, *, k: int) -> list[ChunkCache]:
    """The exact caches of the k best chunks, best first."""
    among = filtered_documents(resources, home.id, asked.where)
    found = find_chunks(resources, home.id, asked.text, k=max(k, PASSAGES), among=among)
    rows, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    found = rerank_chunks(asked.text, found, PassageTexts(resources, caches), k=k)
    by_chunk = {row.chunk_id: row for row in rows}
    return [by_chunk[chunk.row.id] for chunk in found]


def _whole(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of a collection's chunks, as far as the filter leaves them, in the order of arrival."""
    among = filtered_documents(resources, home.id, asked.where)
    with reading(resources.engine) as session:
        return catalog.collection_caches(session, home.id, document_ids=among)


def _by_likelihood(resources: Resources, about: PagesAsked) -> PagesAsked:
    """The same pages, those of the best chunks first."""
    ids = [row.chunk_id for row in about.rows]
    among = set(ids)
    best = _best(resources, about.home, about.question, k=RANKED)
    first = [row.chunk_id for row in best if row.chunk_id in among]
    places = _places(resources, about.codec, list(dict.fromkeys([*first, *ids])))
    return replace(about, pages=places.pages)


def _places(resources: Resources, codec: PageCodec, chunk_ids: Sequence[int]) -> Places:
    sizes = resources.page_sizes(codec.name)
    try:
        return find_places(resources, sizes, chunk_ids)
    except BlobMissing:  # between the look at the rows and the files, pages were made anew or deleted
        return find_places(resources, sizes, chunk_ids)
