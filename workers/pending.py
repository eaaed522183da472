"""Owns the chunk texts on their way from parse to encode: one JSON blob a document."""

import json
import zlib
from collections.abc import Sequence


def write_pending(texts: Sequence[str]) -> bytes:
    """Chunk texts by ordinal -> bytes; equal texts give equal bytes."""
    return zlib.compress(json.dumps(list(texts), ensure_ascii=False).encode(), 6)


def read_pending(data: bytes) -> list[str]:
    """The inverse of `write_pending`."""
    texts = json.loads(zlib.decompress(data))
    assert isinstance(texts, list)
    return texts
