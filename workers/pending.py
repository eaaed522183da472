"""Owns the chunks' texts and styles on their way from parse to encode: one JSON blob a document."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from compressor.styles import Style, StyleRun


@dataclass(frozen=True, slots=True)
class PendingText:
    """What of a chunk is encoded."""

    text: str
    styles: tuple[StyleRun, ...] = ()


def write_pending(texts: Sequence[PendingText]) -> bytes:
    """Chunks by ordinal -> bytes; equal ones give equal bytes. A text without styles is written as a string alone."""
    entries = [[item.text, [astuple(run) for run in item.styles]] if item.styles else item.text for item in texts]
    return zlib.compress(json.dumps(entries, ensure_ascii=False).encode(), 6)


def read_pending(data: bytes) -> list[PendingText]:
    """The inverse of `write_pending`; reads blobs from before there were styles, whose entries are all strings."""
    entries = json.loads(zlib.decompress(data))
    assert isinstance(entries, list)
    return [_pending(entry, []) if isinstance(entry, str) else _pending(*entry) for entry in entries]


def _pending(text: str, runs: list[tuple[int, int, int]]) -> PendingText:
    return PendingText(text, tuple(StyleRun(start, end, Style(style)) for start, end, style in runs))
