"""Owns what entries of a cache file, versions 5 and 6, are read as: tokens coded with a book, as its index tells."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.cacheindex import Index
from compressor.codebook import STREAMS, Numbers, Streams, book_named, fill, numbers_of
from compressor.entries import TokenKind
from compressor.formats import FORMATS, level_numbers
from compressor.frames import pack_frame, unpack_frames
from compressor.sealed import Parts

# Strips are full but for the last one, mostly: then that count and the last one's are all that is stored. No frame is
# as short.
ALIKE_BYTES = 2
_NONE = np.zeros(0, np.uint8)

Wanted = Literal["levels", "numbers"]


class CodedEntries:
    """The entries that an index tells of."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def kinds(self, entries: Sequence[str]) -> set[TokenKind]:
        ways = {self._index.way(entry) for entry in entries}
        return {TokenKind(way.format, way.width) for way in ways}

    def tokens(self, entry: str) -> int:
        return self._index[entry].tokens

    def digest(self, entry: str) -> str:
        return self._index[entry].digest.hex()

    def way(self, entry: str) -> int:
        return self._index[entry].way

    def cache(self, entry: str, parts: Parts) -> Cache:
        said, way = self._index[entry], self._index.way(entry)
        levels = np.empty((said.tokens, way.width), np.uint8)
        self._fill(levels, [entry], [parts], "levels")
        return Cache(
            codec=way.codec,
            format=way.format,
            levels=levels,
            counts=self._tail(entry, parts)[: said.strips],
            residual=parts["residual"].tobytes(),
            digest=said.digest.hex(),
            raw_char_accuracy=said.raw_char_accuracy,
        )

    def read_numbers(self, entries: Sequence[str], parts: Sequence[Parts], target: NDArray[np.float16]) -> None:
        self._fill(target, entries, parts, "numbers")

    def _fill(self, target: NDArray[Any], entries: Sequence[str], parts: Sequence[Parts], wanted: Wanted) -> None:
        """Tokens of entries that were made in one way, one after the other."""
        way = self._index.way(entries[0])
        book = book_named(way.book, way.format)
        if book.name and (book.format, book.width) != (way.format, way.width):
            raise ValueError(f"its code book {book.name} is for {book.width} numbers of {book.format}")
        said = [self._index[entry] for entry in entries]
        sizes = {stream: [book.size(stream, each.tokens, way.width) for each in said] for stream in STREAMS}
        symbols, shared = (
            book.unpack(stream, [each[stream].data for each in parts], sizes[stream]) for stream in STREAMS
        )
        escapes = book.escapes(symbols)
        escaped, start = [_NONE], 0
        for entry, each, told, size in zip(entries, parts, said, sizes["symbols"], strict=True):
            count = np.count_nonzero(escapes[start : start + size])
            # Of each its own: in a sum that fits one could still have taken the cells of another.
            if told.escaped != count * book.cell_bytes:
                raise ValueError(f"it holds {told.escaped} bytes of cells that escaped, and {count} did")
            if told.escaped:
                escaped.append(self._tail(entry, each)[told.strips :])
            start += size
        streams = Streams(symbols, shared, np.concatenate(escaped), escapes)
        fill(target, streams, book, _table(way.book, way.format, wanted))

    def _tail(self, entry: str, parts: Parts) -> NDArray[np.uint8]:
        """Counts of an entry, then its escaped cells; memory of its own."""
        said, stored = self._index[entry], parts["tail"]
        if stored.size == ALIKE_BYTES and said.strips and not said.escaped:
            return np.concatenate([np.full(said.strips - 1, stored[0], np.uint8), stored[1:]])
        return unpack_frames([stored.data], [said.strips + said.escaped]).copy()


def pack_tail(counts: NDArray[np.uint8], escaped: NDArray[np.uint8]) -> bytes:
    """Counts and escaped cells of an entry as stored."""
    if len(counts) and not escaped.size and (counts[:-1] == counts[0]).all():
        return bytes([counts[0], counts[-1]])
    return pack_frame(np.concatenate([counts, escaped]))


@cache
def _table(book: str, format: str, wanted: Wanted) -> Numbers:
    """What tokens are looked up in."""
    levels = FORMATS[format].levels
    return numbers_of(
        book_named(book, format),
        np.arange(levels, dtype=np.uint8) if wanted == "levels" else level_numbers(FORMATS[format]),
    )
