"""Owns reading at a higher rate than is stored: what is left of a text when its caches are merged, residual unused."""

from collections.abc import Iterator
from dataclasses import dataclass

from api.library import document_caches
from store.models import Document
from workers.resources import Resources


@dataclass(frozen=True, slots=True)
class MergedText:
    """A chunk as a rate reads it out of merged tokens alone."""

    chunk: int  # ordinal, from 0
    text: str  # wrong characters and all
    exact: str  # what is stored
    rate: int  # the wanted one, or the chunk's own where that is higher: tokens do not merge downwards
    vision_tokens: int  # at that rate

    @property
    def wrong(self) -> int:
        """Characters that were read wrong."""
        differ = sum(read != true for read, true in zip(self.text, self.exact, strict=False))
        return differ + abs(len(self.text) - len(self.exact))


def read_merged(resources: Resources, document: Document, ordinal: int | None, rate: int) -> Iterator[MergedText]:
    """A document's chunks (or one), merged to a rate. Raises NotFound, CacheDamaged; ModelError for a missing rate."""
    wanted = resources.codec(f"native-{rate}")
    rows, caches = document_caches(resources, document.id, ordinal)
    for row, cache in zip(rows, caches, strict=True):
        own = resources.codec(cache.codec)
        at = own if own.rate > rate else wanted
        (exact,) = own.read([cache])
        (text,) = at.read_merged([cache])
        tokens = -(-cache.vision_tokens // (at.rate // own.rate))
        yield MergedText(row.ordinal, text, exact, at.rate, tokens)
