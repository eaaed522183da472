"""Owns the cache file: many native caches in one sealed file, read one by one out of a map or in ranges.

Layout, version 6. `cacheindex.py` says what the index holds of an entry. Its parts lie one behind the other: the frames
of `symbols` and of `shared` that its code book makes of the tokens (`codebook.py`), the tail (`counts` of the strips,
then the cells that escaped; a frame, or two counts), and the residual. Frames lack their magic number (`frames.py`) or
are of pieces (`pieces.py`); in version 5 all of them are zstd's, and there is none for a tail of two counts.
`coded.py` reads them, `sealed.py` says how every byte comes under a checksum, `earlier.py` what versions 1 to 4 hold.
A later version must still read all of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.cacheindex import DIGEST_BYTES, Index, Said, Way, checksum_of, read_index, write_index
from compressor.codebook import STREAMS, book_for, streams_of
from compressor.coded import CodedEntries, pack_tail
from compressor.earlier import EarlierEntries
from compressor.entries import Entries, TokenKind
from compressor.formats import FORMATS
from compressor.ranges import ByteRanges
from compressor.sealed import Contents, Kind, Parts, SealedFile, seal_indexed

VERSION = "6"
BATCH_TOKENS = 8192  # are unpacked and looked up together
_DIGEST = re.compile(rf"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


def _kind() -> Kind:
    return Kind(
        name="cache file",
        version_key="percel",
        version=VERSION,
        parts=("tokens", "counts", "residual"),  # up to version 4
        remedy="`percel doctor --repair` makes it anew from its document",
        earlier=("1", "2", "3", "4", "5"),
    )


@dataclass(frozen=True, slots=True)
class SealedCaches:
    """A cache file, and what it takes."""

    data: bytes  # all of it
    stored_bytes: Mapping[str, int]  # of each entry, header and index left out


@dataclass(frozen=True, slots=True)
class PackedCache:
    """A cache as it lies in a file of this version, its checksum compared."""

    way: Way
    said: Said  # `way` is of the file that it came from, if of one
    data: bytes  # its parts, one behind the other


def seal_caches(caches: Mapping[str, Cache]) -> SealedCaches:
    """A cache file that holds these caches by entry name; equal caches give equal bytes.

    Raises ModelError for a broken code book, ValueError for a cache that could not be read again.
    """
    return join_caches({name: _pack(name, caches[name]) for name in sorted(caches)})


def join_caches(packed: Mapping[str, PackedCache]) -> SealedCaches:
    """The file of `seal_caches` out of caches that are packed already, by entry name. Raises ValueError."""
    names = sorted(packed)
    ways: dict[Way, int] = {}
    said = {name: packed[name].said._replace(way=ways.setdefault(packed[name].way, len(ways))) for name in names}
    index = write_index(Index(said, tuple(ways)))
    sizes = {name: each.stored_bytes for name, each in said.items()}
    return SealedCaches(seal_indexed(_kind(), index, b"".join(packed[name].data for name in names)), sizes)


def _pack(name: str, cache: Cache) -> PackedCache:
    _check(name, cache)
    book = book_for(cache.codec.partition("@")[0], cache.format, cache.levels.shape[1])
    streams = streams_of(cache.levels, book)
    symbols, shared = (book.pack(stream, getattr(streams, stream)) for stream in STREAMS)
    tail = pack_tail(cache.counts, streams.escaped)
    data = symbols + shared + tail + cache.residual
    said = Said(
        way=0,
        tokens=len(cache.levels),
        strips=len(cache.counts),
        escaped=streams.escaped.size,
        symbols=len(symbols),
        shared=len(shared),
        tail=len(tail),
        residual=len(cache.residual),
        raw_char_accuracy=cache.raw_char_accuracy,
        checksum=checksum_of([data]),
        digest=bytes.fromhex(cache.digest),
    )
    return PackedCache(Way(cache.codec, cache.format, cache.levels.shape[1], book.name), said, data)


def write_caches(caches: Mapping[str, Cache]) -> bytes:
    """The file of `seal_caches` alone."""
    return seal_caches(caches).data


class CacheFile(SealedFile[Cache]):
    """A cache file, mapped where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks header and index, loading an entry checks that entry. Raises CacheDamaged with the file's name;
    ModelError where it is the installation's code book or dictionary that is broken.
    """

    def __init__(self, source: Path | ByteRanges) -> None:
        super().__init__(source, _kind())
        with self._opening():
            self._entries = self._layout()

    def _layout(self) -> Entries:
        """Raises ValueError."""
        if isinstance(self._contents, Index):
            return CodedEntries(self._contents)
        header = self._header()
        return EarlierEntries(header.facts, {entry: header.places[f"{entry}.tokens"].shape for entry in header})

    def _read_index(self, data: bytes, size: int) -> Contents:
        index = read_index(data)
        if index.size != size:
            raise ValueError(f"{size} bytes of entries in place of {index.size}")
        return index

    def token_kinds(self, entries: Sequence[str]) -> set[TokenKind]:
        """Of entries. Touches only header and index."""
        return self._entries.kinds(entries)

    def token_counts(self, entries: Sequence[str]) -> list[int]:
        """Tokens of each entry. Touches only header and index."""
        return [self._entries.tokens(entry) for entry in entries]

    def check_chunks(self, wanted: Mapping[str, tuple[str, int]]) -> None:
        """Compares entries with the sha256 of the texts that they are to hold, and how many tokens they are to have.

        Touches only header and index. Raises CacheDamaged: a sound file may still be another document's.
        """
        for entry, expected in wanted.items():
            try:
                found = (self._entries.digest(entry), self._entries.tokens(entry))
            except KeyError as error:
                raise self._damaged(f"it has no entry {entry}") from error
            if found != expected:
                raise self._damaged(f"{entry} is not of the text that was parsed")

    def read_numbers(self, entries: Sequence[str], target: NDArray[np.float16]) -> None:
        """Dequantised tokens of entries of one kind, checked, one after the other into `target` (tokens, width)."""
        starts = np.cumsum([0, *self.token_counts(entries)]).tolist()
        ways = [self._entries.way(entry) for entry in entries]

        def read(batch: Sequence[_Checked]) -> None:
            part = target[starts[batch[0].place] : starts[batch[-1].place + 1]]
            self._entries.read_numbers([entries[each.place] for each in batch], [each.parts for each in batch], part)

        for batch in _batches(self._checked(entries), ways, starts):
            try:
                read(batch)
            except ValueError:  # which entry it is shows one by one
                for each in batch:
                    with self._unpacking(entries[each.place]):
                        read([each])

    def packed(self, entries: Sequence[str]) -> list[PackedCache]:
        """Entries in the order asked for, checked, as `join_caches` takes them; of an earlier version packed anew."""
        if not isinstance(self._contents, Index):
            packed = []
            for entry, cache in zip(entries, self.load_many(entries), strict=True):
                with self._unpacking(entry):
                    packed.append(_pack(entry, cache))
            return packed
        found = {
            place: PackedCache(
                self._contents.way(entries[place]),
                self._contents[entries[place]],
                np.concatenate(list(parts.values())).tobytes(),
            )
            for place, parts in self._checked(entries)
        }
        return [found[place] for place in range(len(entries))]

    def _entry(self, entry: str, parts: Parts) -> Cache:
        with self._unpacking(entry):
            return self._entries.cache(entry, parts)

    @contextmanager
    def _unpacking(self, entry: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise self._damaged(f"{entry} cannot be unpacked ({error})") from error


def _check(entry: str, cache: Cache) -> None:
    """Raises ValueError for what would be written as something else."""
    format, levels = FORMATS.get(cache.format), cache.levels
    if format is None:
        raise ValueError(f"{entry} has {cache.format!r}, which is no format")
    if levels.dtype != np.uint8 or levels.ndim != 2 or levels.shape[1] % (2 if format.levels <= 16 else 1):
        raise ValueError(f"{entry} has levels {levels.dtype} {levels.shape}, which {format.name} cannot pack")
    if levels.size and levels.max() >= format.levels:
        raise ValueError(f"{entry} has level {levels.max()}, which {format.name} has not")
    if cache.counts.dtype != np.uint8 or cache.counts.ndim != 1:
        raise ValueError(f"{entry} has counts {cache.counts.dtype} {cache.counts.shape} in place of uint8 (strips,)")
    if not _DIGEST.fullmatch(cache.digest):
        raise ValueError(f"{entry} has {cache.digest!r}, which is no digest of {DIGEST_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class _Checked:
    """An entry whose checksum was compared."""

    place: int  # in the list asked for
    parts: Parts


def _batches(
    checked: Iterable[tuple[int, Parts]], ways: Sequence[object], starts: Sequence[int]
) -> Iterator[list[_Checked]]:
    """Entries that were made in one way and go side by side, together: a call of numpy costs as much as small ones."""
    batch: list[_Checked] = []
    for place, parts in checked:
        if batch and (
            place != batch[-1].place + 1
            or ways[place] != ways[batch[0].place]
            or starts[place + 1] - starts[batch[0].place] > BATCH_TOKENS
        ):
            yield batch
            batch = []
        batch.append(_Checked(place, parts))
    if batch:
        yield batch
