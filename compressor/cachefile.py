"""Owns the cache file: many caches in one safetensors file, checksummed, read one by one out of a map or in ranges.

Layout, version 1. Three uint8 tensors an entry: `<entry>.tokens` (tokens, stored width; int4 packs two numbers
in a byte), `<entry>.counts` (strips,), `<entry>.residual` (bytes,). The header's metadata holds `percel` (the
version), `entries` (JSON: entry -> facts, and a sha256 over its three tensors) and `header_sha256` (over the
header's own bytes with that field zeroed). So every byte of the file is under a checksum, and reading one entry
touches and checks only the header and that entry. Tensors lie in the order of their names, so an entry's three are
one stretch of bytes. A later version must still read this one.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
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
from compressor.ranges import ByteRanges, MappedFile

VERSION = "1"
HEADER_LIMIT = 1 << 28  # bytes; a longer header is no header
PARTS = ("tokens", "counts", "residual")
HEAD_BYTES = 1 << 16  # asked for first: the header of some hundred entries, or all of a small file
GAP_BYTES = 1 << 16  # unwanted bytes between two entries that cost less than another request
RUN_BYTES = 1 << 23  # most that is read at once
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
    """A cache file, mapped where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks the header, loading an entry checks that entry. Raises CacheDamaged with the file's name.
    """

    def __init__(self, source: Path | ByteRanges) -> None:
        self._ranges: ByteRanges = MappedFile(source) if isinstance(source, Path) else source
        self._head = b""  # of what is not mapped: a small file comes whole with the first read
        try:
            self._entries, self._places, self._data = self._read_header()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            self.close()
            raise self._damaged("its header cannot be read") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the map; a view that is still held keeps it until it goes."""
        if isinstance(self._ranges, MappedFile):
            self._ranges.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def load(self, entry: str) -> Cache:
        """One cache, copied out of the file and checked. Raises KeyError for an entry that is not there."""
        return self.load_many([entry])[0]

    def load_many(self, entries: Sequence[str]) -> list[Cache]:
        """Caches in the order asked for, as `load`; what lies side by side comes in one read."""
        caches = {place: self._cache(entries[place], parts) for place, parts in self._checked(entries)}
        return [caches[place] for place in range(len(entries))]

    def _cache(self, entry: str, parts: dict[str, NDArray[np.uint8]]) -> Cache:
        facts = self._entries[entry]
        return Cache(
            codec=facts["codec"],
            format=facts["format"],
            levels=unpack(parts["tokens"].copy(), FORMATS[facts["format"]]),
            counts=parts["counts"].copy(),
            residual=parts["residual"].tobytes(),
            digest=facts["digest"],
            raw_char_accuracy=facts["raw_char_accuracy"],
        )

    def check(self, entry: str) -> None:
        """Compares an entry with its checksum. Raises CacheDamaged, KeyError."""
        for _ in self._checked([entry]):
            pass

    def facts(self, entry: str) -> Facts:
        """What the header says of an entry."""
        return self._entries[entry]

    def token_shape(self, entry: str) -> tuple[int, ...]:
        """Of the packed tokens of an entry: (tokens, stored width). Touches only the header."""
        return self._places[f"{entry}.tokens"].shape

    def stored_tokens(self, entries: Sequence[str]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Place in `entries` and packed tokens (tokens, stored width), checked, in the order of the file.

        Views of the map, or of the bytes that one read brought: for loading in bulk.
        """
        return ((place, parts["tokens"]) for place, parts in self._checked(entries))

    def verify(self) -> None:
        """Checks every byte of the file."""
        for entry in self:
            self.load(entry)

    def _checked(self, entries: Sequence[str]) -> Iterator[tuple[int, dict[str, NDArray[np.uint8]]]]:
        """The three parts of each entry, compared with their checksum."""
        for run in _runs([self._stretch(entry) for entry in entries]):
            held = self._read(self._data + run.start, run.end - run.start)
            if len(held) != run.end - run.start:
                raise self._damaged("it is cut off")
            for place in run.members:
                entry = entries[place]
                parts = {part: self._part(f"{entry}.{part}", held, run.start) for part in PARTS}
                if _checksum([parts[part] for part in PARTS]) != self._entries[entry]["sha256"]:
                    raise self._damaged(f"the checksum of {entry} differs")
                yield place, parts

    def _read(self, start: int, length: int) -> bytes | memoryview:
        if start + length <= len(self._head):
            return memoryview(self._head)[start : start + length]
        return self._ranges.read(start, length)

    def _part(self, name: str, held: bytes | memoryview, start: int) -> NDArray[np.uint8]:
        place = self._places[name]
        return np.frombuffer(held, np.uint8, place.end - place.start, place.start - start).reshape(place.shape)

    def _stretch(self, entry: str) -> tuple[int, int]:
        parts = [self._places[f"{entry}.{part}"] for part in PARTS]
        return min(part.start for part in parts), max(part.end for part in parts)

    def _read_header(self) -> tuple[dict[str, Facts], dict[str, _Place], int]:
        head = self._ranges.read(0, HEAD_BYTES)
        self._head = b"" if isinstance(head, memoryview) else head
        total = self._ranges.size()
        if not total:
            raise self._damaged("it is empty")
        (length,) = struct.unpack("<Q", bytes(head[:8]).ljust(8, b"\0"))
        if not 0 < length <= min(HEADER_LIMIT, total - 8):
            raise self._damaged("it is cut off or not a cache file")
        text = bytes(head[8 : 8 + length])
        if len(text) < length:
            text += self._ranges.read(8 + len(text), length - len(text))
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
        if 8 + length + max((place.end for place in places.values()), default=0) != total:
            raise self._damaged("it is cut off")
        return json.loads(metadata["entries"]), places, 8 + length

    def _damaged(self, why: str) -> CacheDamaged:
        return CacheDamaged(
            f"cache file {self._ranges.name} is damaged: {why}; "
            "`percel doctor --repair` makes it anew from its document"
        )


@dataclass(frozen=True, slots=True)
class _Run:
    """Bytes to read at once, and the places in a list of entries that they serve."""

    start: int
    end: int
    members: tuple[int, ...]


def _runs(stretches: Sequence[tuple[int, int]]) -> Iterator[_Run]:
    """Stretches that lie side by side, together, in the order of the file."""
    start = end = 0
    members: list[int] = []
    for place in sorted(range(len(stretches)), key=stretches.__getitem__):
        first, last = stretches[place]
        if members and (first > end + GAP_BYTES or last > start + RUN_BYTES):
            yield _Run(start, end, tuple(members))
            members = []
        if not members:
            start = end = first
        end = max(end, last)
        members.append(place)
    if members:
        yield _Run(start, end, tuple(members))


def _checksum(parts: list[NDArray[np.uint8]]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(struct.pack("<Q", part.size))
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
