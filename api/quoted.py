"""Owns answers that are quotes: the exact caches of chunks to the extractive decoder."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence

from api.errors import ContextTooLarge
from api.find import find_chunks
from api.passages import PassageTexts, gather, rerank_chunks
from api.reports import AnswerReport, CitationReport, ContextReport, Question
from api.search import filtered_documents, home_of, load_chunks
from compressor.decoders import load_decoder
from compressor.rerank import PASSAGES
from store import catalog
from store.database import reading
from store.types import ChunkCache
from workers.resources import Resources
from workers.timing import Timings

WHOLE_READ = 24  # with the whole collection loaded, so many of its passages are read for the answer


def quote(resources: Resources, asked: Question, decoder_name: str) -> AnswerReport:
    """Answers out of the caches of the k best chunks, or of the whole collection.

    Raises NotFound, BadFilter, ContextTooLarge, CacheDamaged.
    """
    timings = Timings()
    home = home_of(resources, asked.tenant, asked.collection)
    among = filtered_documents(resources, home.id, asked.where)
    if asked.whole:
        check_size(resources, home.id, among)
    with timings.step("search"):
        wanted = WHOLE_READ if asked.whole else max(asked.k, PASSAGES)
        found = find_chunks(resources, home.id, asked.text, k=wanted, among=among)
    with timings.step("load"):
        chosen = None if asked.whole else [chunk.row.id for chunk in found]
        rows, caches = load_chunks(resources, home.id, chosen, among=among)
    with timings.step("read"):
        decoder = load_decoder(decoder_name, embedder=resources.embedder)
        texts = PassageTexts(resources, caches)
        found = rerank_chunks(asked.text, found, texts, k=wanted if asked.whole else asked.k)
        evidence = gather(found, texts, ahead=decoder.passages)
        if not asked.whole:
            kept = {chunk.row.id for chunk in found}
            rows = [row for row in rows if row.chunk_id in kept]
    with timings.step("answer"):
        answer = decoder.answer(asked.text, evidence)
    ordinals = {row.chunk_id: row.ordinal for row in rows}
    return AnswerReport(
        answer=answer.text,
        abstained=answer.abstained,
        citations=tuple(
            CitationReport(c.document_id, c.title, c.page, c.boxes, c.quote, c.lines, ordinals[c.chunk_id])
            for c in answer.citations
        ),
        decoder=decoder.name,
        mode="quotes",
        confidence=round(answer.confidence, 4),
        context=context_of(rows),
        timings=timings.with_total(),
    )


def check_size(resources: Resources, collection_id: str, among: AbstractCollection[str] | None) -> None:
    """Raises ContextTooLarge for a collection, with `among` for those of its documents, of more than may be loaded."""
    with reading(resources.engine) as session:
        tokens = catalog.context_tokens(session, collection_id, document_ids=among)
    if tokens > resources.settings.max_context_tokens:
        raise ContextTooLarge(tokens, resources.settings.max_context_tokens)


def context_of(rows: Sequence[ChunkCache]) -> ContextReport:
    """What a decoder was given."""
    return ContextReport(len(rows), sum(row.vision_tokens for row in rows), sum(row.text_tokens for row in rows))
