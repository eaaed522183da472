"""Owns sealed files: entries of bytes in one safetensors file, every byte of it under a checksum.

The header's metadata holds the version under the kind's own key, and `header_sha256` (over the header's own bytes
with that field zeroed). Reading one entry touches and checks only the header, what tells where entries lie, and that
entry; its parts are one stretch of bytes. Two layouts are known here, by what tells where entries lie:

- the header does: each entry has the same named parts, uint8 tensors `<entry>.<part>`, and the metadata holds
  `entries` (JSON: entry -> facts, and a sha256 over its parts). For few and large entries.
- an index does: two uint8 tensors, `index` and, behind it, `parts`; the metadata holds `index_sha256`. What is in
  the index is up to the kind of file (`Contents`). For many and small entries.

Knows nothing of what the parts mean.
"""

import hashlib
import json
import math
import struct
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from compressor.errors import CacheDamaged
from compressor.ranges import ByteRanges, Elsewhere, Held, MappedFile, ReadFile, Source, reading_threads

HEADER_LIMIT = 1 << 28  # bytes; a longer header is no header
HEAD_BYTES = 1 << 16  # asked for first: the header of some hundred entries, or all of a small file
GAP_BYTES = 1 << 16  # unwanted bytes between two entries that cost less than another request
RUN_BYTES = 1 << 23  # most that is read at once
WHY_LIMIT = 300  # characters of an error's reason, which may hold what the file says of itself
THREAD_BYTES = 1 << 20  # that are worth a thread of their own, and another request
_DIMENSIONS = 8  # of a part at most; those of any kind have four
_UNSIGNED = "0" * 64

Facts = dict[str, Any]  # of one entry: JSON that the kind of file gives its own type
Parts = dict[str, NDArray[np.uint8]]
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sealed file."""

    name: str  # in messages: "cache file"
    version_key: str  # of the header's metadata
    version: str  # that is written
    parts: tuple[str, ...]  # of every entry, in the order that its checksum takes them
    remedy: str  # ends the message about a damaged file
    earlier: tuple[str, ...] = ()  # versions that are read all the same


class Contents(Protocol):
    """Where the entries of a file lie, in bytes from the first part on, and how one is checked."""

    def __iter__(self) -> Iterator[str]: ...

    def __len__(self) -> int: ...

    def stretch(self, entry: str) -> tuple[int, int]:
        """Start and end of an entry. Raises KeyError."""
        ...

    def parts(self, entry: str, held: Held, start: int) -> Parts | None:
        """Views of an entry's parts in bytes from `start` on; None where their checksum differs. Raises EOFError."""
        ...


@dataclass(frozen=True, slots=True)
class _Place:
    start: int
    end: int
    shape: tuple[int, ...]


class _InHeader:
    """The contents of a file whose header tells where they lie."""

    def __init__(self, names: tuple[str, ...], facts: dict[str, Facts], places: dict[str, _Place]) -> None:
        """Raises ValueError where an entry lacks its facts, its checksum or a part."""
        for entry, known in facts.items():
            if (
                not isinstance(known, dict)
                or "sha256" not in known
                or not all(f"{entry}.{name}" in places for name in names)
            ):
                raise ValueError(f"{entry} is not told of")
        self.names = names  # of parts, in the order that a checksum takes them
        self.facts = facts
        self.places = places

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def stretch(self, entry: str) -> tuple[int, int]:
        places = [self.places[f"{entry}.{name}"] for name in self.names]
        return min(place.start for place in places), max(place.end for place in places)

    def parts(self, entry: str, held: Held, start: int) -> Parts | None:
        places = {name: self.places[f"{entry}.{name}"] for name in self.names}
        checksum = _checksum(
            (place.end - place.start, held.pieces(place.start - start, place.end - start)) for place in places.values()
        )
        if checksum != self.facts[entry]["sha256"]:
            return None
        return {
            name: np.frombuffer(held.view, np.uint8, place.end - place.start, place.start - start).reshape(place.shape)
            for name, place in places.items()
        }


def seal(kind: Kind, entries: Mapping[str, tuple[Mapping[str, Any], Parts]]) -> bytes:
    """A file that holds these facts and parts by entry name, told in its header; equal entries give equal bytes."""
    tensors: Parts = {}
    facts: dict[str, Facts] = {}
    for entry, (known, parts) in entries.items():
        tensors |= {f"{entry}.{part}": np.ascontiguousarray(parts[part]) for part in kind.parts}
        checksum = _checksum((parts[part].size, [np.ascontiguousarray(parts[part]).data]) for part in kind.parts)
        facts[entry] = {**known, "sha256": checksum}
    metadata = {
        kind.version_key: kind.version,
        "header_sha256": _UNSIGNED,
        "entries": json.dumps(facts, sort_keys=True),
    }
    return _sign(save_sorted(tensors, metadata))


def seal_indexed(kind: Kind, index: bytes, parts: bytes) -> bytes:
    """A file of these parts, told in an index; equal ones give equal bytes."""
    metadata = {
        kind.version_key: kind.version,
        "header_sha256": _UNSIGNED,
        "index_sha256": hashlib.sha256(index).hexdigest(),
    }
    tensors = {"index": np.frombuffer(index, np.uint8), "parts": np.frombuffer(parts, np.uint8)}
    return _sign(save_sorted(tensors, metadata))


def save_sorted(tensors: Mapping[str, NDArray[np.uint8]], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file; equal contents give equal bytes."""
    data = save(dict(tensors), metadata=dict(metadata))
    (length,) = struct.unpack("<Q", data[:8])
    # The header's JSON comes in no fixed order of keys.
    text = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _sign(data: bytes) -> bytes:
    end = 8 + struct.unpack("<Q", data[:8])[0]
    digest = hashlib.sha256(data[8:end]).hexdigest().encode()
    return data[:8] + data[8:end].replace(_UNSIGNED.encode(), digest, 1) + data[end:]


class SealedFile(ABC, Generic[Entry]):
    """A sealed file, local where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks the header, loading an entry checks that entry. Raises CacheDamaged with the file's name.
    """

    # A map costs least where entries are unpacked out of it, reading where they are kept as they are stored.
    _local: ClassVar[type[MappedFile] | type[ReadFile]] = MappedFile
    _at_once: ClassVar[bool] = False  # whether several runs of entries are read and checked side by side

    def __init__(self, source: Path | ByteRanges, kind: Kind) -> None:
        self._kind = kind
        self._source: Source = self._local(source) if isinstance(source, Path) else Elsewhere(source, HEAD_BYTES)
        try:
            self._contents, self._data = self._read_header()
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            self.close()
            raise self._damaged("its header cannot be read") from error
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _entry(self, entry: str, parts: Parts) -> Entry:
        """What an entry's parts stand for; copied out of them where they are views of a map."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of a local file; a view of a map keeps that until it goes itself, and what was loaded stays."""
        self._source.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def __len__(self) -> int:
        return len(self._contents)

    def load(self, entry: str) -> Entry:
        """One entry, copied out of the file and checked. Raises KeyError for one that is not there."""
        return self.load_many([entry])[0]

    def load_many(self, entries: Sequence[str]) -> list[Entry]:
        """Entries in the order asked for, as `load`; what lies side by side comes in one read."""
        return load_from([(self, entries)])[0]

    def check(self, entry: str) -> None:
        """Compares an entry with its checksum. Raises CacheDamaged, KeyError."""
        for _ in self._checked([entry]):
            pass

    def verify(self) -> None:
        """Checks every byte of the file."""
        for entry in self:
            self.check(entry)

    def _read_index(self, data: bytes, size: int) -> Contents:
        """The contents of a file that has an index and `size` bytes of parts. Raises ValueError where it has none."""
        raise ValueError(f"a {self._kind.name} has no index")

    def _header(self) -> _InHeader:
        """The contents of a file whose header tells where they lie."""
        assert isinstance(self._contents, _InHeader)
        return self._contents

    def _checked(self, entries: Sequence[str]) -> Iterator[tuple[int, Parts]]:
        """Place in `entries` and parts of each entry, compared with their checksum, in the order of the file.

        Views of a map, or of the bytes that one read brought; what lies side by side comes in one read.
        Raises CacheDamaged; KeyError for an entry that is not there.
        """
        for run in _runs([self._contents.stretch(entry) for entry in entries], RUN_BYTES):
            yield from self._checked_run(entries, run)

    def _load_run(self, entries: Sequence[str], run: "_Run") -> dict[int, Entry]:
        return {place: self._entry(entries[place], parts) for place, parts in self._checked_run(entries, run)}

    def _checked_run(self, entries: Sequence[str], run: "_Run") -> Iterator[tuple[int, Parts]]:
        held = self._source.hold(self._data + run.start, run.end - run.start)
        for place in run.members:
            try:
                parts = self._contents.parts(entries[place], held, run.start)
            except EOFError as error:
                raise self._damaged("it is cut off") from error
            if parts is None:
                raise self._damaged(f"the checksum of {entries[place]} differs")
            yield place, parts

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Closes the file where what it says of its entries raises ValueError, and raises CacheDamaged with that."""
        try:
            yield
        except ValueError as error:
            self.close()
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> CacheDamaged:
        """The error for this file; what it says of itself is shown as plain characters."""
        said = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in why[:WHY_LIMIT])
        return CacheDamaged(f"{self._kind.name} {self._source.name} is damaged: {said}; {self._kind.remedy}")

    def _read_header(self) -> tuple[Contents, int]:
        head = self._source.read(0, HEAD_BYTES)
        total = self._source.size()
        if not total:
            raise self._damaged("it is empty")
        (length,) = struct.unpack("<Q", bytes(head[:8]).ljust(8, b"\0"))
        if not 0 < length <= min(HEADER_LIMIT, total - 8):
            raise self._damaged(f"it is cut off or not a {self._kind.name}")
        text = bytes(head[8 : 8 + length])
        if len(text) < length:
            text += self._source.read(8 + len(text), length - len(text))
        header = json.loads(text)
        metadata = header.pop("__metadata__")
        signature = metadata["header_sha256"].encode()
        if hashlib.sha256(text.replace(signature, _UNSIGNED.encode(), 1)).hexdigest().encode() != signature:
            raise self._damaged("the checksum of its header differs")
        if metadata[self._kind.version_key] not in (self._kind.version, *self._kind.earlier):
            raise self._damaged(
                f"it is of version {metadata[self._kind.version_key]}; "
                f"this installation reads version {self._kind.version}"
            )
        places = {}
        for name, tensor in header.items():
            places[name] = _place(tensor)
        if 8 + length + max((place.end for place in places.values()), default=0) != total:
            raise self._damaged("it is cut off")
        if "index_sha256" not in metadata:
            return _InHeader(self._kind.parts, json.loads(metadata["entries"]), places), 8 + length
        return self._read_indexed(8 + length, places["index"], places["parts"], metadata["index_sha256"])

    def _read_indexed(self, data: int, index: _Place, parts: _Place, checksum: str) -> tuple[Contents, int]:
        """The contents of a file whose places count from `data` on."""
        told = bytes(self._source.read(data + index.start, index.end - index.start))
        if hashlib.sha256(told).hexdigest() != checksum:
            raise self._damaged("the checksum of its index differs")
        try:
            return self._read_index(told, parts.end - parts.start), data + parts.start
        except ValueError as error:
            raise self._damaged(f"its index cannot be read ({error})") from error


def load_from(wanted: Sequence[tuple[SealedFile[Entry], Sequence[str]]]) -> list[list[Entry]]:
    """Entries of each file in the order asked for, as `SealedFile.load_many`.

    Files whose kind allows it are read and checked side by side, with each other and in themselves, on as many cores as
    there are: what is read at once is cut so that all of these have as much to do. Raises as `SealedFile.load`.
    """
    threads = reading_threads() if all(file._at_once for file, _ in wanted) else 1
    stretches = [[file._contents.stretch(entry) for entry in entries] for file, entries in wanted]
    share = -(-sum(end - start for each in stretches for start, end in each) // threads)
    most = min(RUN_BYTES, max(THREAD_BYTES, share)) if threads > 1 else RUN_BYTES
    runs = [(number, run) for number, each in enumerate(stretches) for run in _runs(each, most)]

    def load_run(task: tuple[int, _Run]) -> dict[int, Entry]:
        file, entries = wanted[task[0]]
        return file._load_run(entries, task[1])

    threads = min(threads, len(runs))
    if threads > 1:
        with ThreadPoolExecutor(threads, "sealed") as pool:
            loaded = list(pool.map(load_run, runs))
    else:
        loaded = [load_run(task) for task in runs]
    found: list[dict[int, Entry]] = [{} for _ in wanted]
    for (number, _), part in zip(runs, loaded, strict=True):
        found[number] |= part
    return [[part[place] for place in range(len(part))] for part in found]


def _place(tensor: Mapping[str, Any]) -> _Place:
    """Raises ValueError, KeyError, TypeError."""
    start, end = tensor["data_offsets"]
    shape = tuple(tensor["shape"])
    if {type(number) for number in (start, end, *shape)} != {int} or min((start, *shape)) < 0:
        raise ValueError("a place is no whole number")
    if len(shape) > _DIMENSIONS or math.prod(filter(None, shape)) > sys.maxsize or math.prod(shape) != end - start:
        raise ValueError("a shape does not fit its place")
    return _Place(start, end, shape)


@dataclass(frozen=True, slots=True)
class _Run:
    """Bytes to read at once, and the places in a list of entries that they serve."""

    start: int
    end: int
    members: tuple[int, ...]


def _runs(stretches: Sequence[tuple[int, int]], most: int) -> Iterator[_Run]:
    """Stretches that lie side by side, together up to so many bytes, in the order of the file."""
    start = end = 0
    members: list[int] = []
    for place in sorted(range(len(stretches)), key=stretches.__getitem__):
        first, last = stretches[place]
        if members and (first > end + GAP_BYTES or last > start + most):
            yield _Run(start, end, tuple(members))
            members = []
        if not members:
            start = end = first
        end = max(end, last)
        members.append(place)
    if members:
        yield _Run(start, end, tuple(members))


def _checksum(parts: Iterable[tuple[int, Iterable[memoryview]]]) -> str:
    """Over parts in their order: the size of each, then its bytes, in pieces."""
    digest = hashlib.sha256()
    for size, pieces in parts:
        digest.update(struct.pack("<Q", size))
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()
