"""Owns the cache file: many native caches in one sealed file, read one by one out of a map or in ranges.

Layout, version 4. Three uint8 tensors an entry: `<entry>.tokens` (int4 packs two numbers in a byte), `<entry>.counts`,
both coded as `coding.py` says, and `<entry>.residual`. Among the facts `shape` is that of the packed tokens (tokens,
stored width), `strips` the number of counts. In version 3 frames need no dictionary,
and residuals tell styles cell by cell: codecs of their time are known by other fingerprints. In version 2 a frame holds
token after token, and counts are as they are; in version 1 tokens are, too, and have their shape themselves.
`sealed.py` says how every byte comes under a checksum. A later version must still read all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.coding import code, code_tokens, decode, decode_tokens
from compressor.formats import FORMATS, pack, packed_width, unpack
from compressor.ranges import ByteRanges
from compressor.sealed import Kind, Parts, SealedFile, seal

VERSION = "4"


class Facts(TypedDict):
    """What the header says of an entry."""

    codec: str
    format: str
    digest: str
    raw_char_accuracy: float
    sha256: str
    shape: list[int]  # of the packed tokens; from version 2 on
    strips: int  # from version 3 on


def _kind() -> Kind:
    return Kind(
        name="cache file",
        version_key="percel",
        version=VERSION,
        parts=("tokens", "counts", "residual"),
        remedy="`percel doctor --repair` makes it anew from its document",
        earlier=("1", "2", "3"),
    )


@dataclass(frozen=True, slots=True)
class SealedCaches:
    """A cache file, and what it takes."""

    data: bytes  # all of it
    stored_bytes: Mapping[str, int]  # of each entry, the header left out


def seal_caches(caches: Mapping[str, Cache]) -> SealedCaches:
    """A cache file that holds these caches by entry name; equal caches give equal bytes."""
    entries = {entry: (_facts(cache), _parts(cache)) for entry, cache in caches.items()}
    sizes = {entry: sum(part.nbytes for part in parts.values()) for entry, (_, parts) in entries.items()}
    return SealedCaches(seal(_kind(), entries), sizes)


def write_caches(caches: Mapping[str, Cache]) -> bytes:
    """The file of `seal_caches` alone."""
    return seal_caches(caches).data


def _facts(cache: Cache) -> dict[str, object]:
    tokens, width = cache.levels.shape
    return {
        "shape": [tokens, packed_width(width, FORMATS[cache.format])],
        "strips": len(cache.counts),
        "codec": cache.codec,
        "format": cache.format,
        "digest": cache.digest,
        "raw_char_accuracy": cache.raw_char_accuracy,
    }


def _parts(cache: Cache) -> Parts:
    return {
        "tokens": code_tokens(pack(cache.levels, FORMATS[cache.format]), cache.codec.partition("@")[0]),
        "counts": code(cache.counts),
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
            levels=unpack(self._tokens(entry, parts).copy(), FORMATS[facts["format"]]),
            counts=self._counts(entry, parts).copy(),
            residual=parts["residual"].tobytes(),
            digest=facts["digest"],
            raw_char_accuracy=facts["raw_char_accuracy"],
        )

    def facts(self, entry: str) -> Facts:
        """What the header says of an entry."""
        return cast("Facts", self._entries[entry])

    def token_shape(self, entry: str) -> tuple[int, ...]:
        """Of the packed tokens of an entry: (tokens, stored width). Touches only the header."""
        return tuple(self.facts(entry).get("shape") or self._shape(entry, "tokens"))

    def stored_tokens(self, entries: Sequence[str]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Place in `entries` and packed tokens (tokens, stored width), checked, in the order of the file.

        Where tokens are stored as they are, views of the map or of the bytes that one read brought: to load in bulk.
        """
        return ((place, self._tokens(entries[place], parts)) for place, parts in self._checked(entries))

    def _tokens(self, entry: str, parts: Parts) -> NDArray[np.uint8]:
        """Packed tokens (tokens, stored width) of an entry whose checksum was compared."""
        (tokens, width), stored = self.token_shape(entry), parts["tokens"]
        with self._unpacking(entry):
            if "strips" in self.facts(entry):
                return decode_tokens(stored, tokens, width)
            return decode(stored.ravel(), tokens * width).reshape(tokens, width)

    def _counts(self, entry: str, parts: Parts) -> NDArray[np.uint8]:
        stored = parts["counts"]
        with self._unpacking(entry):
            return decode(stored, self.facts(entry).get("strips", stored.size))

    @contextmanager
    def _unpacking(self, entry: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise self._damaged(f"{entry} cannot be unpacked ({error})") from error
