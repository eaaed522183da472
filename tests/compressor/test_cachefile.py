"""A cache file keeps caches bit for bit, and no byte of it can change unnoticed."""

from pathlib import Path

import numpy as np
import pytest

from compressor.cache import Cache, text_digest
from compressor.cachefile import CacheFile, write_caches
from compressor.errors import CacheDamaged


def make_cache(tokens: int, seed: int, *, format: str = "int4") -> Cache:
    rng = np.random.default_rng(seed)
    top = 16 if format == "int4" else 256
    return Cache(
        codec="native-20@0123456789ab",
        format=format,
        levels=rng.integers(0, top, (tokens, 512), dtype=np.uint8),
        counts=rng.integers(1, 49, 2 * tokens, dtype=np.uint8),
        residual=rng.bytes(seed),
        digest=text_digest(str(seed)),
        raw_char_accuracy=0.9995,
    )


@pytest.fixture
def caches() -> dict[str, Cache]:
    return {"0": make_cache(3, 1), "1": make_cache(1, 0, format="int8"), "2": make_cache(0, 5)}


def equal(a: Cache, b: Cache) -> bool:
    arrays = (a.levels == b.levels).all() and (a.counts == b.counts).all() and a.levels.shape == b.levels.shape
    return bool(arrays) and all(
        getattr(a, name) == getattr(b, name) for name in ("codec", "format", "residual", "digest", "raw_char_accuracy")
    )


def test_caches_come_back_as_they_were(tmp_path: Path, caches: dict[str, Cache]) -> None:
    path = tmp_path / "caches"
    path.write_bytes(write_caches(caches))
    with CacheFile(path) as file:
        assert list(file) == ["0", "1", "2"]
        assert all(equal(file.load(entry), cache) for entry, cache in caches.items())


def test_equal_caches_give_equal_bytes(caches: dict[str, Cache]) -> None:
    assert write_caches(caches) == write_caches(dict(reversed(caches.items())))


def test_int4_takes_half_a_byte_a_number(caches: dict[str, Cache], tmp_path: Path) -> None:
    path = tmp_path / "caches"
    path.write_bytes(write_caches(caches))
    with CacheFile(path) as file:
        assert file.stored_tokens("0").shape == (3, 256)
        assert file.stored_tokens("1").shape == (1, 512)


def test_every_flipped_byte_is_detected(tmp_path: Path) -> None:
    data = write_caches({"0": make_cache(1, 3)})
    path = tmp_path / "caches"
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CacheDamaged, match="cache file caches is damaged"), CacheFile(path) as file:
            file.verify()


def test_damage_in_one_entry_leaves_the_others_readable(tmp_path: Path, caches: dict[str, Cache]) -> None:
    data = bytearray(write_caches(caches))
    data[-1] ^= 1
    path = tmp_path / "caches"
    path.write_bytes(data)
    with CacheFile(path) as file:
        last = list(file)[-1]
        assert equal(file.load("0"), caches["0"])
        message = (
            f"cache file caches is damaged: the checksum of {last} differs; "
            "`percel doctor --repair` makes it anew from its document"
        )
        with pytest.raises(CacheDamaged, match=message):
            file.load(last)


@pytest.mark.parametrize("keep", [0, 4, 100, 2000])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, caches: dict[str, Cache], keep: int) -> None:
    path = tmp_path / "caches"
    path.write_bytes(write_caches(caches)[:keep])
    with pytest.raises(CacheDamaged, match="cache file caches is damaged: it"):
        CacheFile(path)


def test_a_later_version_is_refused_by_number(tmp_path: Path, caches: dict[str, Cache], monkeypatch) -> None:
    monkeypatch.setattr("compressor.cachefile.VERSION", "2")
    data = write_caches(caches)
    monkeypatch.undo()
    path = tmp_path / "caches"
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match="it is of version 2; this installation reads version 1"):
        CacheFile(path)
