"""Owns the texts of passages: kept beside their vectors, so that a hit is shown without reading its cache.

They are a view of the caches. A passage without one (of an older program, or restored a moment ago) is no fault.
"""

from collections.abc import Mapping, Sequence

import zstandard
from sqlalchemy import select
from sqlalchemy.orm import Session

from store.catalog.upsert import insert_new
from store.models import Passage, Vector

_BATCH = 500  # ids in one statement
_MOST = 1 << 20  # bytes of a passage's text; it is a few hundred characters


def keep_texts(session: Session, texts: Mapping[int, str]) -> None:
    """Keeps the texts of passages: vector id -> text. What is there already stays: a passage never changes."""
    packer = zstandard.ZstdCompressor()
    rows = [{"id": key, "data": packer.compress(text.encode())} for key, text in texts.items()]
    if rows:
        session.execute(insert_new(session, Passage), rows)


def passage_texts(session: Session, chunk_ids: Sequence[int]) -> dict[tuple[int, int, int], str]:
    """The kept texts of these chunks' passages: (chunk id, start, end) -> text."""
    unpacker = zstandard.ZstdDecompressor()
    found: dict[tuple[int, int, int], str] = {}
    for first in range(0, len(chunk_ids), _BATCH):
        query = select(Vector.chunk_id, Vector.start, Vector.end, Passage.data).join(Passage, Passage.id == Vector.id)
        for *key, data in session.execute(query.where(Vector.chunk_id.in_(chunk_ids[first : first + _BATCH]))):
            chunk_id, start, end = key
            found[chunk_id, start, end] = unpacker.decompress(data, max_output_size=_MOST).decode()
    return found
