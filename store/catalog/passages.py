"""Owns the texts of passages: kept beside their vectors, so that a hit is shown without reading its cache.

They are a view of the caches. A passage without one (of an older program, or restored a moment ago) is no fault.
"""

from collections.abc import Mapping, Sequence

import zstandard
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from store.catalog.upsert import insert_new
from store.models import Passage

_BATCH = 500  # ids in one statement
_MOST = 1 << 20  # bytes of a passage's text; it is a few hundred characters
_TEXTS = select(Passage.__table__.c.id, Passage.__table__.c.data).where(
    Passage.__table__.c.id.in_(bindparam("ids", expanding=True))
)


def keep_texts(session: Session, texts: Mapping[int, str]) -> None:
    """Keeps the texts of passages: vector id -> text. What is there already stays: a passage never changes."""
    packer = zstandard.ZstdCompressor()
    rows = [{"id": key, "data": packer.compress(text.encode())} for key, text in texts.items()]
    if rows:
        session.execute(insert_new(session, Passage), rows)


def passage_texts(session: Session, vector_ids: Sequence[int]) -> dict[int, str]:
    """The kept texts of passages by vector id; those that are not kept are left out."""
    unpacker = zstandard.ZstdDecompressor()
    found: dict[int, str] = {}
    for first in range(0, len(vector_ids), _BATCH):
        rows = session.connection().execute(_TEXTS, {"ids": vector_ids[first : first + _BATCH]}).all()
        found |= {key: unpacker.decompress(data, max_output_size=_MOST).decode() for key, data in rows}
    return found
