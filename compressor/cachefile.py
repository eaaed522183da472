"""Owns the cache file: many caches in one safetensors file, checksummed, mapped and read one by one.

Layout, version 1. Three uint8 tensors an entry: `<entry>.tokens` (tokens, stored width; int4 packs two numbers
in a byte), `<entry>.counts` (strips,), `<entry>.residual` (bytes,). The header's metadata holds `percel` (the
version), `entries` (JSON: entry -> facts, and a sha256 over its three tensors) and `header_sha256` (over the
header's own bytes with that field zeroed). So every byte of the file is under a checksum, and reading one entry
touches and checks only the header and that entry. A later version must still read this one.
"""

import hashlib
import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from compressor.cache import Cache
from compressor.errors import CacheDamaged
from compressor.formats import FORMATS, pack, unpack

VERSION = "1"
HEADER_LIMIT = 1 << 28  # bytes; a longer header is no header
PARTS = ("tokens", "counts", "residual")
_UNSIGNED = "0" * 64


class Facts(TypedDict):
    """What the header says of an entry."""

    codec: str
    format: str
    digest: str
    raw_char_accuracy: float
    sha256: str


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    end: int
    shape: tuple[int, ...]


def write_caches(caches: Mapping[str, Cache]) -> bytes:
    """The bytes of a cache file that holds these caches by entry name; equal caches give equal bytes."""
    tensors: dict[str, NDArray[np.uint8]] = {}
    entries: dict[str, Facts] = {}
    for entry, cache in caches.items():
        parts = {
            "tokens": np.ascontiguousarray(pack(cache.levels, FORMATS[cache.format])),
            "counts": cache.counts,
            "residual": np.frombuffer(cache.residual, np.uint8),
        }
        tensors |= {f"{entry}.{part}": value for part, value in parts.items()}
        entries[entry] = {
            "codec": cache.codec,
            "format": cache.format,
            "digest": cache.digest,
            "raw_char_accuracy": cache.raw_char_accuracy,
            "sha256": _checksum([parts[part] for part in PARTS]),
        }
    metadata = {"percel": VERSION, "header_sha256": _UNSIGNED, "entries": json.dumps(entries, sort_keys=True)}
    return _sign(save(tensors, metadata=metadata))


def _sign(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    # The header's JSON comes in no fixed order of keys; ours is sorted, so that equal caches give equal bytes.
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256(text).hexdigest().encode()
    return struct.pack("<Q", len(text)) + text.replace(_UNSIGNED.encode(), digest, 1) + data[8 + length :]


class CacheFile:
    """A cache file mapped into memory; a context manager, and safe to read from several threads.

    Opening checks the header, loading an entry checks that entry. Raises CacheDamaged with the file's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:
                raise self._damaged("it is empty") from error
        try:
            self._entries, self._places, self._data = self._read_header()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            self._map.close()
            raise self._damaged("its header cannot be read") from error
        except CacheDamaged:
            self._map.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the map; a view that is still held keeps it until it goes."""
        with suppress(BufferError):
            self._map.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, entry: str) -> Cache:
        """One cache, copied out of the map and checked. Raises KeyError for an entry that is not there."""
        self.check(entry)
        facts = self._entries[entry]
        parts = {part: self._part(entry, part) for part in PARTS}
        return Cache(
            codec=facts["codec"],
            format=facts["format"],
            levels=unpack(parts["tokens"], FORMATS[facts["format"]]),
            counts=parts["counts"].copy(),
            residual=parts["residual"].tobytes(),
            digest=facts["digest"],
            raw_char_accuracy=facts["raw_char_accuracy"],
        )

    def check(self, entry: str) -> None:
        """Compares an entry with its checksum. Raises CacheDamaged, KeyError."""
        if _checksum([self._part(entry, part) for part in PARTS]) != self._entries[entry]["sha256"]:
            raise self._damaged(f"the checksum of {entry} differs")

    def facts(self, entry: str) -> Facts:
        """What the header says of an entry."""
        return self._entries[entry]

    def stored_tokens(self, entry: str) -> NDArray[np.uint8]:
        """The packed tokens of an entry (tokens, stored width), a view of the map: for loading in bulk, unchecked."""
        return self._part(entry, "tokens")

    def verify(self) -> None:
        """Checks every byte of the file."""
        for entry in self:
            self.load(entry)

    def _part(self, entry: str, part: str) -> NDArray[np.uint8]:
        place = self._places[f"{entry}.{part}"]
        flat = np.frombuffer(self._map, np.uint8, place.end - place.start, self._data + place.start)
        return flat.reshape(place.shape)

    def _read_header(self) -> tuple[dict[str, Facts], dict[str, _Place], int]:
        (length,) = struct.unpack("<Q", self._map[:8].ljust(8, b"\0"))
        if not 0 < length <= min(HEADER_LIMIT, len(self._map) - 8):
            raise self._damaged("it is cut off or not a cache file")
        text = self._map[8 : 8 + length]
        header = json.loads(text)
        metadata = header.pop("__metadata__")
        signature = metadata["header_sha256"].encode()
        if hashlib.sha256(text.replace(signature, _UNSIGNED.encode(), 1)).hexdigest().encode() != signature:
            raise self._damaged("the checksum of its header differs")
        if metadata["percel"] != VERSION:
            raise self._damaged(f"it is of version {metadata['percel']}; this installation reads version {VERSION}")
        places = {}
        for name, tensor in header.items():
            start, end = tensor["data_offsets"]
            places[name] = _Place(start, end, tuple(tensor["shape"]))
        if 8 + length + max((place.end for place in places.values()), default=0) != len(self._map):
            raise self._damaged("it is cut off")
        return json.loads(metadata["entries"]), places, 8 + length

    def _damaged(self, why: str) -> CacheDamaged:
        return CacheDamaged(
            f"cache file {self.path.name} is damaged: {why}; `percel doctor --repair` makes it anew from its document"
        )


def _checksum(parts: list[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(struct.pack("<Q", part.size))
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
