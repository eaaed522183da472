"""Cells that escaped a cache's code book are its own: those of another are never read in their place."""

from pathlib import Path

import numpy as np
import pytest

from compressor.cachefile import CacheFile, PackedCache, join_caches
from compressor.cacheindex import Said, Way, checksum_of
from compressor.codebook import STREAMS, book_for, streams_of
from compressor.coded import pack_tail
from compressor.errors import CacheDamaged
from compressor.formats import INT4, packed_width
from tests.compressor.test_cachefile import make_cache

BOOK = book_for("native-20", "int4", 512)
CELL = packed_width(BOOK.cells.shape[1], INT4)


def packed(seed: int, *, lacking: int = 0, beyond: int = 0) -> PackedCache:
    """A cache whose checksum is right, with so many escaped cells less or more than its symbols say."""
    cache = make_cache(2, seed)
    streams = streams_of(cache.levels, BOOK)
    kept = streams.escaped[: len(streams.escaped) - lacking * CELL]
    escaped = np.concatenate([kept, np.full(beyond * CELL, 17, np.uint8)])
    parts = [*(BOOK.pack(name, getattr(streams, name)) for name in STREAMS), pack_tail(cache.counts, escaped)]
    symbols, shared, tail = map(len, parts)
    said = Said(0, 2, 4, escaped.size, symbols, shared, tail, 0, 0.9, checksum_of(parts), bytes.fromhex(cache.digest))
    return PackedCache(Way(cache.codec, "int4", 512, BOOK.name), said, b"".join(parts))


def test_entries_whose_escaped_cells_fit_together_but_not_each_alone_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "0"
    path.write_bytes(join_caches({"less": packed(1, lacking=1), "sound": packed(2), "more": packed(3, beyond=1)}).data)

    with CacheFile(path) as file:
        together = np.empty((6, 512), np.float16)
        with pytest.raises(CacheDamaged, match=r"file 0 is damaged: less cannot be unpacked \(it holds \d+ bytes"):
            file.read_numbers(["less", "sound", "more"], together)
        with pytest.raises(CacheDamaged, match="more cannot be unpacked"):
            file.load("more")
        assert (file.load("sound").levels == make_cache(2, 2).levels).all()


def test_an_entry_that_tells_of_no_escaped_cells_has_none(tmp_path: Path) -> None:
    count = len(streams_of(make_cache(2, 1).levels, BOOK).escaped) // CELL
    path = tmp_path / "0"
    path.write_bytes(join_caches({"bare": packed(1, lacking=count)}).data)

    with CacheFile(path) as file, pytest.raises(CacheDamaged, match=rf"holds 0 bytes of .* escaped, and {count} did\)"):
        file.load("bare")
