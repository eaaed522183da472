"""Owns the texts of passages: kept beside their vectors, so that a hit is shown without reading its cache.

They are a view of the caches. A passage without one (of an older program, or restored a moment ago) is no fault.
"""

from collections.abc import Collection, Mapping

import zstandard
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from store.catalog.upsert import insert_new
from store.models import Passage, Vector

_BATCH = 500  # ids in one statement
_MOST = 1 << 20  # bytes of a passage's text; it is a few hundred characters
_TEXTS = (
    select(Vector.__table__.c.chunk_id, Vector.__table__.c.start, Vector.__table__.c.end, Passage.__table__.c.data)
    .join(Passage.__table__, Passage.__table__.c.id == Vector.__table__.c.id)
    .where(
        Vector.__table__.c.chunk_id.in_(bindparam("ids", expanding=True)),
        Vector.__table__.c.start.in_(bindparam("starts", expanding=True)),  # the others' texts are not even looked up
    )
)


def keep_texts(session: Session, texts: Mapping[int, str]) -> None:
    """Keeps the texts of passages: vector id -> text. What is there already stays: a passage never changes."""
    packer = zstandard.ZstdCompressor()
    rows = [{"id": key, "data": packer.compress(text.encode())} for key, text in texts.items()]
    if rows:
        session.execute(insert_new(session, Passage), rows)


def passage_texts(session: Session, wanted: Collection[tuple[int, int, int]]) -> dict[tuple[int, int, int], str]:
    """The kept texts of passages by (chunk id, start, end); those that are not kept are left out."""
    unpacker = zstandard.ZstdDecompressor()
    chunk_ids = sorted({chunk_id for chunk_id, _, _ in wanted})
    starts = sorted({start for _, start, _ in wanted})
    found: dict[tuple[int, int, int], str] = {}
    for first in range(0, len(chunk_ids), _BATCH):
        rows = session.execute(_TEXTS, {"ids": chunk_ids[first : first + _BATCH], "starts": starts})
        for chunk_id, start, end, data in rows:
            if (chunk_id, start, end) in wanted:
                found[chunk_id, start, end] = unpacker.decompress(data, max_output_size=_MOST).decode()
    return found
