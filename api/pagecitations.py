"""Owns where a model's answer comes from: the boxes that it points at, or else the pages that it was given."""

from collections.abc import Sequence
from contextlib import suppress

from api.pageplaces import PagePlace
from api.passages import spans_of
from api.reports import CitationReport
from compressor.decoders.base import Evidence, cite
from compressor.types import Box
from compressor.vlm.pointing import Pointing
from compressor.vlm.recipe import Recipe
from compressor.vlm.typeset import characters_under, set_pages
from store import catalog
from store.database import reading
from store.errors import BlobMissing, NotFound
from workers.pages import pages_of, read_chunks
from workers.resources import Resources


def cite_pages(
    resources: Resources,
    pointing: Pointing,
    shown: Sequence[PagePlace],
    ranked: Sequence[PagePlace],
    recipe: Recipe,
) -> tuple[CitationReport, ...]:
    """The places that an answer points at; where it points at none, the pages themselves, the likeliest first.

    `shown` are the pages in the order of the prompt, `ranked` the same by relevance. A box of which the model does not
    say on which of several pages it stands is dropped, as one on a page that was not shown. Nothing is cited of a
    document that was deleted or replaced while the model wrote.
    """
    cited: list[CitationReport] = []
    for pointed in pointing.pointed:
        number = 0 if pointed.page is None and len(shown) == 1 else pointed.page
        if number is not None and number < len(shown):
            with suppress(NotFound, BlobMissing):
                cited += _cite_boxes(resources, shown[number], pointed.boxes, recipe)
    for place in () if cited else ranked:
        with suppress(NotFound, BlobMissing):
            cited.append(_cite_page(resources, place, recipe))
    return tuple(dict.fromkeys(cited))


def _cite_boxes(resources: Resources, place: PagePlace, boxes: Sequence[Box], recipe: Recipe) -> list[CitationReport]:
    if place.source_page is not None:
        document = place.document
        quote = _text_under(resources, document.id, place.source_page, boxes)
        return [CitationReport(document.id, document.title, place.source_page, tuple(boxes), quote, None)]
    text = _text(resources, place)
    page = set_pages(text, recipe)[place.place]
    under = [found for box in boxes if (found := characters_under(page, box)) is not None]
    return [_cite_text(place, text, start, end) for start, end in under]


def _cite_page(resources: Resources, place: PagePlace, recipe: Recipe) -> CitationReport:
    """All of a page, without a quote."""
    document = place.document
    if place.source_page is not None:
        return CitationReport(document.id, document.title, place.source_page, (), "", None)
    text = _text(resources, place)
    lines = set_pages(text, recipe)[place.place].lines
    whole = _cite_text(place, text, lines[0].start, lines[-1].end)
    return CitationReport(document.id, document.title, whole.page, (), "", whole.lines, place.chunk.ordinal)


def _cite_text(place: PagePlace, text: str, start: int, end: int) -> CitationReport:
    """Characters of a chunk that was set as pages, quoted, at their place in the source."""
    evidence = Evidence(
        document_id=place.document.id,
        title=place.document.title,
        chunk_id=place.chunk.id,
        heading=place.chunk.heading,
        spans=spans_of(place.chunk),
        passages=(),
        read=lambda first, last: text[first:last],
    )
    found = cite(evidence, start, end, quote=text[start:end].strip(), score=0.0)
    return CitationReport(
        found.document_id, found.title, found.page, found.boxes, found.quote, found.lines, place.chunk.ordinal
    )


def _text_under(resources: Resources, document_id: str, page: int, boxes: Sequence[Box]) -> str:
    """The exact text of a source page whose places have their middle under a box; "" where there is only a picture."""
    with reading(resources.engine) as session:
        chunks = [chunk for chunk in catalog.list_chunks(session, document_id) if page in pages_of(chunk)]
    parts = []
    for chunk, text in zip(chunks, read_chunks(resources, document_id, chunks), strict=True):
        spans = [span for span in spans_of(chunk) if span.page == page]
        parts += [text[span.start : span.end].strip() for span in spans if any(_holds(box, span.box) for box in boxes)]
    return "\n".join(part for part in parts if part)


def _holds(box: Box, inner: Box) -> bool:
    """Whether the middle of one box is within another."""
    x, y = (inner.x0 + inner.x1) / 2, (inner.y0 + inner.y1) / 2
    return box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1


def _text(resources: Resources, place: PagePlace) -> str:
    return read_chunks(resources, place.document.id, [place.chunk])[0]
