"""Owns the reckoning of what a set of questions costs: by full text, by text RAG, and by caches.

Counted are the positions of a decoder's context as they are: text tokens by the reference tokenizer, vision tokens as
stored, the question's own text. Answers are left out, they are the same for every way. Who sends the same beginning
with every question pays for it once, and then for a prefix that is kept. A vision token is priced as a text token,
which holds where a vendor or one's own machine takes embeddings.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.errors import BadQuestions
from api.find import find_chunks
from api.pageplaces import find_places
from api.prices import DecoderShape, ModelPrice, Prices
from api.search import home_of
from store import catalog
from store.database import reading
from workers.resources import Resources


@dataclass(frozen=True, slots=True)
class Money:
    """What one vendor's model takes for the questions."""

    model: str
    amount: float


@dataclass(frozen=True, slots=True)
class Way:
    """One way of answering a set of questions."""

    name: str
    positions: int  # of the decoder's contexts, over all questions
    longest: int  # the longest context
    prefilled: int  # positions that are computed: a prefix that is the same for all only once
    prefill_flops: float
    kv_bytes: int  # of the longest context
    stored_bytes: int
    stored_month: float  # what keeping them costs a month
    money: tuple[Money, ...]


@dataclass(frozen=True, slots=True)
class CostReport:
    """The ways side by side; the fields of `percel cost --json`."""

    collection: str
    questions: int
    k: int
    decoder: str  # that FLOPs, keys and values are reckoned for
    currency: str
    prices: tuple[str, ...]  # each with its date and source
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class _Load:
    """What each question loads; what is loaded for every question alike is one number."""

    name: str
    loaded: tuple[int, ...]  # positions, by question
    same: bool
    stored_bytes: int


def read_questions(path: Path) -> list[str]:
    """Questions of a file: JSON as in examples/questions.json, or one a line. Raises BadQuestions."""
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            items = json.loads(text)
            if not isinstance(items, list):
                raise TypeError("it is no list")
            questions = [item if isinstance(item, str) else item["question"] for item in items]
        else:
            questions = [line.strip() for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadQuestions(f"{path} holds no questions that can be read: {error}") from error
    if not questions:
        raise BadQuestions(f"{path} holds no questions")
    return [str(question) for question in questions]


def reckon(
    resources: Resources, tenant: str, questions: Sequence[str], prices: Prices, *, collection: str | None, k: int
) -> CostReport:
    """The ways side by side. Raises NotFound, ModelError."""
    home = home_of(resources, tenant, collection)
    with reading(resources.engine) as session:
        rows = {row.chunk_id: row for row in catalog.collection_caches(session, home.id)}
        figures = catalog.collection_figures(session, home.id)
        vectors = catalog.vector_bytes(session, home.id)
    found = [
        [chunk.row.id for chunk in find_chunks(resources, home.id, question, k=k) if chunk.row.id in rows]
        for question in questions
    ]
    text = sum(row.characters for row in rows.values())  # bytes, near enough: a character of most text is one
    native = sum(part.cache_bytes for part in figures if part.exact)
    many = len(questions)
    loads = [
        _Load("full text", (sum(row.text_tokens for row in rows.values()),) * many, True, text),
        _Load("text RAG", tuple(sum(rows[c].text_tokens for c in chunks) for chunks in found), False, text + vectors),
        _Load("caches", tuple(sum(rows[c].vision_tokens for c in chunks) for chunks in found), False, native + vectors),
        _Load("all caches", (sum(row.vision_tokens for row in rows.values()),) * many, True, native),
    ]
    loads += [_page_load(resources, name, found, home.id, vectors) for name in resources.settings.page_codecs]
    asked = resources.count_tokens(list(questions))
    return CostReport(
        collection=home.name,
        questions=many,
        k=k,
        decoder=prices.decoder.name,
        currency=prices.currency,
        prices=tuple(str(item) for item in (*prices.model, prices.storage)),
        ways=tuple(_way(load, asked, prices) for load in loads),
    )


def _page_load(
    resources: Resources, name: str, found: Sequence[Sequence[int]], collection_id: str, vectors: int
) -> _Load:
    """Page caches of one model, loaded in full size, stored in all; chunks that have none yet count nothing."""
    sizes = resources.page_sizes(name)
    places = [find_places(resources, sizes, chunks).pages for chunks in found]
    with reading(resources.engine) as session:
        figures = catalog.collection_figures(session, collection_id)
    stored = sum(part.cache_bytes for part in figures if part.codec in {size.fingerprint for size in sizes})
    return _Load(name, tuple(sum(p.positions for p in pages) for pages in places), False, stored + vectors)


def _way(load: _Load, asked: Sequence[int], prices: Prices) -> Way:
    """What a load costs with the tokens of each question after it."""
    shape = prices.decoder
    contexts = [loaded + question for loaded, question in zip(load.loaded, asked, strict=True)]
    kept = [loaded if load.same and number else 0 for number, loaded in enumerate(load.loaded)]
    return Way(
        name=load.name,
        positions=sum(contexts),
        longest=max(contexts),
        prefilled=sum(contexts) - sum(kept),
        prefill_flops=_flops(shape, contexts, kept),
        kv_bytes=max(contexts) * shape.kv_bytes,
        stored_bytes=load.stored_bytes,
        stored_month=load.stored_bytes / 1e9 * prices.storage.gigabyte_month,
        money=tuple(Money(model.name, _amount(model, contexts, kept)) for model in prices.model),
    )


def _flops(shape: DecoderShape, contexts: Sequence[int], kept: Sequence[int]) -> float:
    return sum(shape.prefill_flops(context - before, before) for context, before in zip(contexts, kept, strict=True))


def _amount(model: ModelPrice, contexts: Sequence[int], kept: Sequence[int]) -> float:
    new = sum(contexts) - sum(kept)
    return (new * model.input_million + sum(kept) * model.cached_input_million) / 1e6
