"""Owns the pictures that the edges show: a chunk as the encoder sees it, a page of the source."""

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compressor.parse.raster import raster_pages
from store.errors import NotFound
from store.models import Document, DocumentState
from workers.pages import SENT_SIDE, is_drawn_from_source
from workers.resources import Resources

PAGE_SECONDS = 20.0  # for one page, which somebody waits for


def chunk_image(text: str, styles: NDArray[np.uint8]) -> bytes:
    """PNG bytes of a chunk's image; `styles` are (characters,) of Style."""
    from compressor.codec.typography import draw, set_text

    file = io.BytesIO()
    draw(set_text(text, styles)).save(file, "PNG")
    return file.getvalue()


def page_image(resources: Resources, document: Document, page: int) -> bytes:
    """PNG bytes of a ready PDF's page, numbered from 1. Raises NotFound, ParserFailed, BlobMissing."""
    if document.state is not DocumentState.READY or not is_drawn_from_source(document):
        raise NotFound(
            "page image", f"{document.id}/{page}", "Only the pages of PDF files that are ready can be drawn."
        )
    if not 1 <= page <= (document.source_pages or 0):
        raise NotFound("page", f"{document.id}/{page}", f"The document has {document.source_pages} pages, from 1.")
    path = resources.blobs.local_path(document.blob)
    limits = replace(resources.limits, seconds=min(PAGE_SECONDS, resources.limits.seconds))
    (image,) = raster_pages(path, [page], name=document.title, longest=SENT_SIDE, limits=limits)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
