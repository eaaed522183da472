"""Owns the index of a cache file, versions 5 and 6: what is said of its entries, in columns.

One zstd frame: JSON (`names` of the entries, `ways` in which some of them were made and coded), its length before it
as 4 bytes, then a column after the other. Numbers are little-endian, the lowest bytes of all entries first, then the
next ones: most of what lies together is alike then.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, NamedTuple, get_type_hints

import numpy as np
import zstandard

from compressor.formats import FORMATS
from compressor.frames import FRAME_LIMIT
from compressor.ranges import Held
from compressor.sealed import Parts

LEVEL = 19
LIMIT = 1 << 25  # bytes before it is packed; those of 20,000 entries are 1.9 MB
WIDTH_LIMIT = 1 << 16  # numbers of a token
CHECKSUM_BYTES = 16  # of sha256: by chance, one change in 10^38 would pass
DIGEST_BYTES = 32
# Of JSON, outside its strings: `names` and `ways` without an entry take fifty bytes, an entry and its way twenty. What
# is parsed takes up to a hundred times as much memory.
_JSON_BYTES, _ENTRY_JSON_BYTES = 1_000, 20
_STRING = re.compile(rb'"(?:[^"\\]|\\.?)*+(?:"|\Z)', re.DOTALL)  # or what begins as one, so that no byte is tried twice
_KINDS = (*["<u4"] * 8, "<f8", f"V{CHECKSUM_BYTES}", f"V{DIGEST_BYTES}")  # of the fields of Said
_ENTRY_BYTES = sum(np.dtype(kind).itemsize for kind in _KINDS)


@dataclass(frozen=True, slots=True)
class Way:
    """How caches were made and coded."""

    codec: str
    format: str
    width: int
    book: str  # name of the code book; "": the plain one of the format


_FIELDS = get_type_hints(Way)


class Said(NamedTuple):
    """What the index says of an entry; numbers of parts are bytes as stored. Made many thousand times: no dataclass."""

    way: int
    tokens: int
    strips: int
    escaped: int  # bytes of the tail before it is packed
    symbols: int
    shared: int
    tail: int
    residual: int
    raw_char_accuracy: float
    checksum: bytes
    digest: bytes

    @property
    def stored_bytes(self) -> int:
        """All its parts together."""
        return self.symbols + self.shared + self.tail + self.residual


class Index:
    """The contents of a cache file that an index tells; entries lie in its order."""

    def __init__(self, said: Mapping[str, Said], ways: Sequence[Way]) -> None:
        self.ways = tuple(ways)
        self._said = said
        self._starts = dict(
            zip(said, accumulate((each.stored_bytes for each in said.values()), initial=0), strict=False)
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def __getitem__(self, entry: str) -> Said:
        return self._said[entry]

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return sum(each.stored_bytes for each in self._said.values())

    def way(self, entry: str) -> Way:
        """How an entry was made."""
        return self.ways[self._said[entry].way]

    def stretch(self, entry: str) -> tuple[int, int]:
        """Start and end of an entry, in bytes from the first part on. Raises KeyError."""
        start = self._starts[entry]
        return start, start + self._said[entry].stored_bytes

    def parts(self, entry: str, held: Held, start: int) -> Parts | None:
        """Views of an entry's parts in bytes from `start` on; None where their checksum differs. Raises EOFError."""
        said, first = self._said[entry], self._starts[entry] - start
        shared = first + said.symbols
        tail = shared + said.shared
        residual = tail + said.tail
        if checksum_of(held.pieces(first, residual + said.residual)) != said.checksum:
            return None
        view = held.view
        return {
            "symbols": np.frombuffer(view, np.uint8, said.symbols, first),
            "shared": np.frombuffer(view, np.uint8, said.shared, shared),
            "tail": np.frombuffer(view, np.uint8, said.tail, tail),
            "residual": np.frombuffer(view, np.uint8, said.residual, residual),
        }


def checksum_of(pieces: Iterable[bytes | memoryview]) -> bytes:
    """Of an entry's parts, one behind the other; their sizes are under the checksum of the index."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()[:CHECKSUM_BYTES]


def write_index(index: Index) -> bytes:
    """The bytes of an index; equal ones give equal bytes. Raises ValueError for one that could not be read."""
    said = [index[entry] for entry in index]
    _check(list(index), said, index.ways)
    head = json.dumps({"names": list(index), "ways": [asdict(way) for way in index.ways]}, separators=(",", ":"))
    text = head.encode()
    columns = [_planes(values, kind) for kind, values in zip(_KINDS, _turned(said), strict=True)]
    plain = b"".join([len(text).to_bytes(4, "little"), text, *columns])
    if len(plain) > LIMIT:
        raise ValueError(f"an index of {len(plain):,} bytes; at most {LIMIT:,} are read: use several files")
    return zstandard.ZstdCompressor(level=LEVEL).compress(plain)


def read_index(data: bytes) -> Index:
    """The inverse of `write_index`. Raises ValueError for anything that it would not write."""
    plain = _unpacked(data)
    start = 4 + int.from_bytes(plain[:4], "little")
    head = plain[4:start]
    most = max(0, len(plain) - start) // _ENTRY_BYTES
    fits = _JSON_BYTES + most * _ENTRY_JSON_BYTES
    if len(head) > fits and len(_STRING.sub(b"", head)) > fits:  # with short names the first look is enough
        raise ValueError(f"it says more than {most:,} entries can have")
    names, ways = _head(head)
    if len(plain) != start + len(names) * _ENTRY_BYTES:
        raise ValueError(f"{len(plain)} bytes for {len(names)} entries")
    columns: list[list[Any]] = []
    for kind in _KINDS:
        size = len(names) * np.dtype(kind).itemsize
        columns.append(_column(plain[start : start + size], kind, len(names)))
        start += size
    said = list(map(Said._make, zip(*columns, strict=True)))
    _check(names, said, ways)
    return Index(dict(zip(names, said, strict=True)), ways)


def _unpacked(data: bytes) -> bytes:
    try:
        if not 4 <= zstandard.frame_content_size(data) <= LIMIT:
            raise ValueError(f"it has no size, or more than {LIMIT:,} bytes")
        plain: bytes = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return plain


def _head(text: bytes) -> tuple[list[str], list[Way]]:
    """Names and ways."""
    try:
        head = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(head, dict) or not all(isinstance(head.get(key), list) for key in ("names", "ways")):
        raise ValueError("it does not list names and ways")
    names = head["names"]
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("its names are not all text, or not all different")
    return names, [_way(way) for way in head["ways"]]


def _way(facts: object) -> Way:
    # A bool is an int by inheritance, and no width.
    if not isinstance(facts, dict) or {key: type(value) for key, value in facts.items()} != _FIELDS:
        raise ValueError(
            "a way does not have " + ", ".join(f"{key} ({kind.__name__})" for key, kind in _FIELDS.items())
        )
    return Way(**facts)


def _check(names: Sequence[str], said: Sequence[Said], ways: Sequence[Way]) -> None:
    """Raises ValueError for what cannot be, or would take too much memory to read."""
    for way in ways:
        if way.format not in FORMATS:
            raise ValueError(f"{way.format[:80]!r} is no format")
        if not 0 < way.width <= WIDTH_LIMIT or (way.width % 2 and FORMATS[way.format].levels <= 16):
            raise ValueError(f"tokens of {way.format} cannot have {way.width} numbers")
    for name, each in zip(names, said, strict=True):
        if each.way >= len(ways):
            raise ValueError(f"{name[:80]} has way {each.way} of {len(ways)}")
        if max(each.tokens * ways[each.way].width, each.strips + each.escaped, each.stored_bytes) > FRAME_LIMIT:
            raise ValueError(f"{name[:80]} has more than {FRAME_LIMIT:,} bytes, which is the most that is read")
        if not 0 <= each.raw_char_accuracy <= 1:
            raise ValueError(f"{name[:80]} reads a share of {each.raw_char_accuracy} of its characters")


def _turned(said: Sequence[Said]) -> list[tuple[Any, ...]]:
    """A field of all entries after the other."""
    return list(zip(*said, strict=True)) or [()] * len(_KINDS)  # of none, too


def _planes(values: Sequence[Any], kind: str) -> bytes:
    if np.dtype(kind).kind == "V":
        return b"".join(values)
    column = np.array(values, kind)
    return column.view(np.uint8).reshape(len(column), column.itemsize).T.tobytes()


def _column(data: bytes, kind: str, count: int) -> list[Any]:
    dtype = np.dtype(kind)
    if dtype.kind == "V":
        return [data[start : start + dtype.itemsize] for start in range(0, len(data), dtype.itemsize)]
    planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, count)
    values: list[Any] = np.ascontiguousarray(planes.T).view(dtype).ravel().tolist()
    return values
