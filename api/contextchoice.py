"""Owns which chunks the context of a question holds, and at which rate each stands there: planned from rows alone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from api.errors import BudgetTooSmall, ContextTooLarge
from api.reports import Question
from api.search import RANKED, filtered_documents, home_of, rank_chunks
from store import catalog
from store.database import reading
from store.types import ChunkCache
from workers.resources import Resources

LEAST = float("-inf")  # relevance of what search did not find


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk of a context and the rate that it gets there."""

    row: ChunkCache
    title: str  # of its document
    stored_rate: int
    rate: int
    codec: str  # fingerprint at that rate
    vision_tokens: int  # at that rate

    @property
    def merged(self) -> bool:
        """Whether it does not stand there as it is stored."""
        return self.rate != self.stored_rate


@dataclass(frozen=True, slots=True)
class ContextPlan:
    """The chunks of a context in its order: best first, of a whole collection as they arrived."""

    question: Question
    collection: str
    chunks: tuple[PlannedChunk, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question and the documents that it is about."""

    question: Question
    collection_id: str
    among: Collection[str] | None  # None: all of the collection


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Chunks in their order."""

    rows: tuple[ChunkCache, ...]
    titles: Mapping[str, str]  # by document id
    relevance: Mapping[int, float]  # by chunk id; what is not here was not looked for, or not found


def plan_context(resources: Resources, question: Question) -> ContextPlan:
    """The k best chunks or the whole collection, within the question's budget and what may be loaded for one question.

    Raises NotFound, BadFilter, ContextTooLarge, BudgetTooSmall, UnknownCodec.
    """
    home = home_of(resources, question.tenant, question.collection)
    asked = _Asked(question, home.id, filtered_documents(resources, home.id, question.where))
    chosen = _whole(resources, asked) if question.whole else _best(resources, asked)
    return ContextPlan(question, home.name, _plan(resources, asked, chosen))


def _best(resources: Resources, asked: _Asked) -> _Chosen:
    """The k best chunks, best first."""
    relevance = _relevance(resources, asked, k=asked.question.k)
    with reading(resources.engine) as session:
        rows = catalog.chunk_caches(session, list(relevance))
    return _live(resources, rows, relevance)


def _whole(resources: Resources, asked: _Asked) -> _Chosen:
    """All chunks of the documents asked about, in the order of arrival. Raises ContextTooLarge."""
    with reading(resources.engine) as session:
        if asked.question.budget is None:  # before its rows are listed
            tokens = catalog.context_tokens(session, asked.collection_id, document_ids=asked.among)
            _check_size(resources, asked.question, tokens)
        rows = catalog.collection_caches(session, asked.collection_id, document_ids=asked.among)
    return _live(resources, rows, {})


def _relevance(resources: Resources, asked: _Asked, *, k: int) -> dict[int, float]:
    """How well the k best chunks fit the question, by chunk id, best first."""
    found, _ = rank_chunks(resources, asked.collection_id, asked.question.text, k=k, among=asked.among)
    return {chunk.row.id: chunk.passages[0].score for chunk in found}


def _live(resources: Resources, rows: Sequence[ChunkCache], relevance: Mapping[int, float]) -> _Chosen:
    """Those of the rows whose documents are still ready, with the titles of these."""
    with reading(resources.engine) as session:
        documents = catalog.live_documents(session, list({row.document_id for row in rows}))
    titles = {document.id: document.title for document in documents}
    return _Chosen(tuple(row for row in rows if row.document_id in titles), titles, relevance)


def _check_size(resources: Resources, question: Question, tokens: int) -> None:
    limit = resources.settings.max_context_tokens
    if tokens > limit:
        less = "ask without `whole`" if question.whole else "ask for fewer chunks"
        raise ContextTooLarge(tokens, limit, remedy=f"{less}, of a part by a filter, or with a budget to merge it to")


def _plan(resources: Resources, asked: _Asked, chosen: _Chosen) -> tuple[PlannedChunk, ...]:
    """The rate of every chunk: its own, or where the budget asks for it higher ones for the least relevant.

    Raises ContextTooLarge, BudgetTooSmall, UnknownCodec.
    """
    from compressor.codec.nested import Stored, merged_tokens, plan_rates, planned_tokens

    fingerprints = _fingerprints(resources, chosen.rows)
    rates = {codec: rate for rate, codec in fingerprints.items()}
    total = sum(row.vision_tokens for row in chosen.rows)
    budget, named = resources.settings.max_context_tokens, "PERCEL_MAX_CONTEXT_TOKENS"
    if asked.question.budget is None:
        _check_size(resources, asked.question, total)
    elif asked.question.budget < budget:
        budget, named = asked.question.budget, "the question's budget"
    relevance = chosen.relevance
    if total > budget and asked.question.whole:
        relevance = _relevance(resources, asked, k=RANKED)
    stored = [Stored(rates[row.codec], row.vision_tokens, relevance.get(row.chunk_id, LEAST)) for row in chosen.rows]
    highest = max(fingerprints)
    plan = plan_rates(stored, budget, highest=highest)
    left = planned_tokens(stored, plan)
    if left > budget:
        raise BudgetTooSmall(left, highest, budget, named)
    return tuple(
        PlannedChunk(
            row, chosen.titles[row.document_id], cache.rate, rate, fingerprints[rate], merged_tokens(cache, rate)
        )
        for row, cache, rate in zip(chosen.rows, stored, plan, strict=True)
    )


def _fingerprints(resources: Resources, rows: Sequence[ChunkCache]) -> dict[int, str]:
    """The installed rates and their fingerprints. Raises UnknownCodec for a row of another."""
    from compressor.codec.weights import available_rates, fingerprint

    found = {rate: fingerprint(rate) for rate in available_rates()}
    for codec in sorted({row.codec for row in rows} - set(found.values())):
        resources.codec(codec)  # refuses it by name
    return found
