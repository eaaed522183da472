"""Owns which pages a question loads into a model's context, wherever that model runs.

Searched, the pages of the best chunks are loaded as far as they fit, the best first. The whole of a collection is
loaded or refused with the numbers: an answer over a part of it would pass for one over all of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.errors import ContextTooLarge, NoPageCaches
from api.pageplaces import PagePlace, Places, find_places
from api.passages import PassageTexts, rerank_chunks
from api.reports import Question
from api.search import find_chunks, load_chunks
from compressor.errors import ContextTooLong
from compressor.rerank import PASSAGES
from compressor.vlm.codec import PageCodec
from store import catalog
from store.database import reading
from store.errors import BlobMissing
from store.models import Collection
from store.types import ChunkCache
from workers.resources import Resources

NOTHING_FOUND = "Nothing in these documents answers this."


@dataclass(frozen=True, slots=True)
class PagesAsked:
    """What a question is about."""

    rows: tuple[ChunkCache, ...]  # the exact caches of the chunks, for what text they stand for
    pages: tuple[PagePlace, ...]  # of these chunks, the likeliest first; none without rows


@dataclass(frozen=True, slots=True)
class PromptPrice:
    """Tokens of a context that do not stand for pages."""

    fixed: int  # of the prompt, the question and the answer
    each: int  # that come with each page

    def tokens(self, pages: Sequence[PagePlace]) -> int:
        """Of the whole context with these pages."""
        return self.fixed + sum(self._taken(page) for page in pages)

    def fit(self, pages: Sequence[PagePlace], room: int, *, where: str) -> tuple[PagePlace, ...]:
        """Those that fit into so many tokens, the likeliest first. Raises ContextTooLong where none does."""
        used, kept = self.fixed, []
        for page in pages:
            if used + self._taken(page) <= room:
                used += self._taken(page)
                kept.append(page)
        if not kept:
            raise ContextTooLong(
                f"no page fits: the smallest of {len(pages)} needs {self.fixed + min(map(self._taken, pages)):,} "
                f"tokens with question and answer, and there is room for {room:,} {where}"
            )
        return tuple(kept)

    def _taken(self, page: PagePlace) -> int:
        return page.positions + self.each


def price_prompt(resources: Resources, count: Callable[[int], int]) -> PromptPrice:
    """What a prompt costs beside its pages; `count` gives the tokens of a prompt around so many pages."""
    one, two = count(1), count(2)
    return PromptPrice(one - (two - one) + resources.settings.answer_tokens, two - one)


def pages_asked(resources: Resources, home: Collection, asked: Question, codec: PageCodec) -> PagesAsked:
    """The pages of the best chunks, or of the whole collection. Raises NotFound, BadFilter, NoPageCaches."""
    rows = _whole(resources, home, asked) if asked.whole else _best(resources, home, asked)
    if not rows:
        return PagesAsked((), ())
    places = _places(resources, codec, [row.chunk_id for row in rows])
    if not places.pages or (asked.whole and places.lacking):
        raise NoPageCaches(home.name, codec.name, places.lacking, len(rows))
    return PagesAsked(tuple(rows), places.pages)


def check_whole(resources: Resources, pages: Sequence[PagePlace]) -> None:
    """Raises ContextTooLarge where all pages of a collection are more than one question may load."""
    vision = sum(page.positions for page in pages)
    if vision > resources.settings.max_context_tokens:
        raise ContextTooLarge(vision, resources.settings.max_context_tokens)


def _best(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of the k best chunks, best first."""
    with reading(resources.engine) as session:
        found = find_chunks(resources, session, home.id, asked.text, k=max(asked.k, PASSAGES), where=asked.where)
    rows, caches = load_chunks(resources, home.id, [chunk.row.id for chunk in found])
    found = rerank_chunks(asked.text, found, PassageTexts(resources, caches), k=asked.k)
    by_chunk = {row.chunk_id: row for row in rows}
    return [by_chunk[chunk.row.id] for chunk in found]


def _whole(resources: Resources, home: Collection, asked: Question) -> list[ChunkCache]:
    """The exact caches of a collection's chunks, as far as the filter leaves them, in the order of arrival."""
    with reading(resources.engine) as session:
        rows = catalog.collection_caches(session, home.id)
        if asked.where is not None:
            wanted = catalog.documents_where(session, home.id, asked.where)
            rows = [row for row in rows if row.document_id in wanted]
    return rows


def _places(resources: Resources, codec: PageCodec, chunk_ids: Sequence[int]) -> Places:
    try:
        return find_places(resources, codec, chunk_ids)
    except BlobMissing:  # between the look at the rows and the files, pages were made anew or deleted
        return find_places(resources, codec, chunk_ids)
