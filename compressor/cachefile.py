"""Owns the cache file: many native caches in one sealed file, read one by one out of a map or in ranges.

Layout, version 1. Three uint8 tensors an entry: `<entry>.tokens` (tokens, stored width; int4 packs two numbers
in a byte), `<entry>.counts` (strips,), `<entry>.residual` (bytes,). `sealed.py` says how every byte comes under a
checksum. A later version must still read this one.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.formats import FORMATS, pack, unpack
from compressor.ranges import ByteRanges
from compressor.sealed import Kind, Parts, SealedFile, seal

VERSION = "1"


class Facts(TypedDict):
    """What the header says of an entry."""

    codec: str
    format: str
    digest: str
    raw_char_accuracy: float
    sha256: str


def _kind() -> Kind:
    return Kind(
        name="cache file",
        version_key="percel",
        version=VERSION,
        parts=("tokens", "counts", "residual"),
        remedy="`percel doctor --repair` makes it anew from its document",
    )


def write_caches(caches: Mapping[str, Cache]) -> bytes:
    """The bytes of a cache file that holds these caches by entry name; equal caches give equal bytes."""
    return seal(_kind(), {entry: (_facts(cache), _parts(cache)) for entry, cache in caches.items()})


def _facts(cache: Cache) -> dict[str, str | float]:
    return {
        "codec": cache.codec,
        "format": cache.format,
        "digest": cache.digest,
        "raw_char_accuracy": cache.raw_char_accuracy,
    }


def _parts(cache: Cache) -> Parts:
    return {
        "tokens": pack(cache.levels, FORMATS[cache.format]),
        "counts": cache.counts,
        "residual": np.frombuffer(cache.residual, np.uint8),
    }


class CacheFile(SealedFile[Cache]):
    """A cache file, mapped where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks the header, loading an entry checks that entry. Raises CacheDamaged with the file's name.
    """

    def __init__(self, source: Path | ByteRanges) -> None:
        super().__init__(source, _kind())

    def _entry(self, entry: str, parts: Parts) -> Cache:
        facts = self.facts(entry)
        return Cache(
            codec=facts["codec"],
            format=facts["format"],
            levels=unpack(parts["tokens"].copy(), FORMATS[facts["format"]]),
            counts=parts["counts"].copy(),
            residual=parts["residual"].tobytes(),
            digest=facts["digest"],
            raw_char_accuracy=facts["raw_char_accuracy"],
        )

    def facts(self, entry: str) -> Facts:
        """What the header says of an entry."""
        return cast("Facts", self._entries[entry])

    def token_shape(self, entry: str) -> tuple[int, ...]:
        """Of the packed tokens of an entry: (tokens, stored width). Touches only the header."""
        return self._shape(entry, "tokens")

    def stored_tokens(self, entries: Sequence[str]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Place in `entries` and packed tokens (tokens, stored width), checked, in the order of the file.

        Views of the map, or of the bytes that one read brought: for loading in bulk.
        """
        return ((place, parts["tokens"]) for place, parts in self._checked(entries))
