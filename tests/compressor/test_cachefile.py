"""A cache file keeps caches bit for bit, and no byte of it can change unnoticed."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

from compressor import cachefile
from compressor.cache import Cache, text_digest
from compressor.cachefile import CacheFile, PackedCache, TokenKind, join_caches, seal_caches, write_caches
from compressor.cacheindex import Index, write_index
from compressor.codebook import book_for, book_named
from compressor.context import numbers_of
from compressor.errors import CacheDamaged, ModelError
from compressor.frames import FRAME_LIMIT, pack_frame
from compressor.sealed import seal_indexed

GOLDEN = Path(__file__).with_name("golden")


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


@dataclass
class Counted:
    """Bytes as a remote store gives them: in ranges, each of which is a request."""

    data: bytes
    name: str = "far"
    requests: list[int] = field(default_factory=list)

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        self.requests.append(min(length, len(self.data) - start))
        return self.data[start : start + length]


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


def test_a_file_of_no_caches_is_one(tmp_path: Path) -> None:
    path = tmp_path / "caches"
    path.write_bytes(write_caches({}))
    with CacheFile(path) as file:
        assert (list(file), len(file), file.load_many([]), file.token_kinds([])) == ([], 0, [], set())
        file.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "00" * 31}, f"^0 has '{'00' * 31}', which is no digest of 32 bytes$"),
        ({"digest": "AA" * 32}, f"^0 has '{'AA' * 32}', which is no digest of 32 bytes$"),
        ({"digest": "no digest"}, "^0 has 'no digest', which is no digest of 32 bytes$"),
        ({"levels": np.full((1, 512), 16, np.uint8)}, "^0 has level 16, which int4 has not$"),
        ({"levels": np.zeros((1, 511), np.uint8)}, r"^0 has levels uint8 \(1, 511\), which int4 cannot pack$"),
        ({"levels": np.zeros((1, 512), np.int64)}, r"^0 has levels int64 \(1, 512\), which int4 cannot pack$"),
        ({"format": "int3"}, "^0 has 'int3', which is no format$"),
        ({"counts": np.full(2, 300)}, r"^0 has counts int64 \(2,\) in place of uint8 \(strips,\)$"),
        ({"levels": np.zeros((1, 0), np.uint8)}, "^tokens of int4 cannot have 0 numbers$"),
        ({"residual": bytes(FRAME_LIMIT)}, "^0 has more than 67,108,864 bytes, which is the most that is read$"),
    ],
)
def test_what_would_be_read_as_something_else_is_not_written(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_caches({"0": replace(make_cache(1, 1), **change)})


def test_a_width_of_int8_may_be_odd(tmp_path: Path) -> None:
    cache = replace(make_cache(2, 1, format="int8"), levels=np.arange(14, dtype=np.uint8).reshape(2, 7))
    path = tmp_path / "caches"
    path.write_bytes(write_caches({"0": cache}))
    with CacheFile(path) as file:
        assert equal(file.load("0"), cache)


def test_bytes_that_belong_to_no_entry_are_damage(tmp_path: Path) -> None:
    """Nothing would check them."""
    path = tmp_path / "caches"
    path.write_bytes(seal_indexed(cachefile._kind(), write_index(Index({}, [])), b"more"))
    with pytest.raises(CacheDamaged, match=r"its index cannot be read \(4 bytes of entries in place of 0\)"):
        CacheFile(path)


def test_an_index_that_is_none_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "caches"
    deep = b"[" * 100_000
    index = zstandard.compress(len(deep).to_bytes(4, "little") + deep)
    path.write_bytes(seal_indexed(cachefile._kind(), index, b""))
    message = r"^cache file caches is damaged: its index cannot be read \(it says more than 0 entries can have\);"
    with pytest.raises(CacheDamaged, match=message):
        CacheFile(path)


def test_equal_caches_give_equal_bytes(caches: dict[str, Cache]) -> None:
    assert write_caches(caches) == write_caches(dict(reversed(caches.items())))


def packed_of(path: Path) -> dict[str, PackedCache]:
    with CacheFile(path) as file:
        return dict(zip(file, file.packed(list(file)), strict=True))


def test_files_joined_are_the_file_that_is_written_of_all_their_caches(
    tmp_path: Path, caches: dict[str, Cache]
) -> None:
    both = caches | of_every_version()
    packed: dict[str, PackedCache] = {}
    for names in (["3", "1", "6"], ["5", "0"], ["7", "4", "8", "2"]):
        path = tmp_path / "part"
        path.write_bytes(write_caches({name: both[name] for name in names}))
        packed |= packed_of(path)
    assert join_caches(packed) == seal_caches(both)


def test_caches_of_an_earlier_version_are_packed_anew_to_be_joined(tmp_path: Path, caches: dict[str, Cache]) -> None:
    path = tmp_path / "part"
    path.write_bytes(write_caches({"3": letters(4)}))
    packed = packed_of(GOLDEN / "caches-1") | packed_of(path)
    assert join_caches(packed).data == write_caches(caches | {"3": letters(4)})


def test_caches_of_version_5_are_joined_as_they_are(tmp_path: Path, caches: dict[str, Cache]) -> None:
    packed = packed_of(GOLDEN / "caches-5")
    path = tmp_path / "joined"
    path.write_bytes(join_caches(packed | {"8": packed_of(GOLDEN / "caches-6")["8"]}).data)
    with CacheFile(path) as file:
        for entry, cache in (caches | of_every_version()).items():
            assert equal(file.load(entry), cache)


def test_strips_that_are_all_full_but_the_last_take_two_bytes(tmp_path: Path) -> None:
    cache = replace(letters(20, codec="native-80@0123456789ab"), counts=np.array([56] * 39 + [3], np.uint8))
    other = replace(cache, counts=np.array([56] * 38 + [3, 56], np.uint8))
    file = seal_caches({"0": cache, "1": other})
    path = tmp_path / "caches"
    path.write_bytes(file.data)
    assert file.stored_bytes["1"] - file.stored_bytes["0"] > 5
    with CacheFile(path) as file:
        assert equal(file.load("0"), cache)
        assert equal(file.load("1"), other)


def test_a_damaged_cache_is_not_joined(tmp_path: Path, caches: dict[str, Cache]) -> None:
    data = bytearray(write_caches(caches))
    data[-1] ^= 1
    path = tmp_path / "caches"
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match=r"^cache file caches is damaged: the checksum of 2 differs; `percel doctor"):
        packed_of(path)


def letters(tokens: int, *, codec: str = "native-20@0123456789ab") -> Cache:
    """A cache whose tokens repeat, as those of the higher rates do."""
    return replace(make_cache(tokens, 2), codec=codec, levels=np.tile(np.arange(16, dtype=np.uint8), (tokens, 32)))


def full(tokens: int) -> Cache:
    """A cache of many strips that are all full, so that its counts repeat, too."""
    return replace(letters(tokens), counts=np.full(64, 56, np.uint8))


def of_every_version() -> dict[str, Cache]:
    """What golden files hold: the first entries from version 1 on, more from later ones on."""
    rates = {str(5 + place): letters(2, codec=f"native-{rate}@0123456789ab") for place, rate in enumerate((10, 40, 80))}
    same = replace(full(3), codec="native-80@0123456789ab", levels=np.zeros((3, 512), np.uint8))
    return {"3": letters(4), "4": full(3)} | rates | {"8": same}


@pytest.mark.parametrize(("version", "entries"), [(1, 3), (2, 4), (3, 5), (4, 5), (5, 8), (6, 9)])
def test_files_of_every_version_so_far_are_read(caches: dict[str, Cache], version: int, entries: int) -> None:
    """A golden file was written by the program of its version; a change that cannot read it loses people's caches."""
    expected = dict(list((caches | of_every_version()).items())[:entries])
    with CacheFile(GOLDEN / f"caches-{version}") as file:
        assert list(file) == list(expected)
        assert all(equal(file.load(entry), cache) for entry, cache in expected.items())
        assert file.token_counts(list(expected)) == [len(cache.levels) for cache in expected.values()]
        assert file.token_kinds(list(expected)) == {TokenKind("int4", 512), TokenKind("int8", 512)}
        for entry, cache in expected.items():
            numbers = np.empty(cache.levels.shape, np.float16)
            file.read_numbers([entry], numbers)
            assert (numbers == numbers_of(cache.levels, cache.format)).all()


def test_tokens_that_repeat_take_less_room(tmp_path: Path) -> None:
    cache = letters(40)
    path = tmp_path / "caches"
    file = seal_caches({"0": cache, "1": cache})
    path.write_bytes(file.data)
    assert 0 < file.stored_bytes["0"] < 40 * 256 // 4
    with CacheFile(path) as file:
        assert equal(file.load("0"), cache)


def test_header_and_index_take_little_of_a_file() -> None:
    caches = {f"{number:06}": make_cache(42, number) for number in range(100)}
    file = seal_caches(caches)
    assert len(file.data) - sum(file.stored_bytes.values()) < 75 * len(caches)


@pytest.mark.parametrize("stream", ["symbols", "shared", "tail"])
def test_a_frame_that_cannot_be_unpacked_is_damage_of_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    streams = ["symbols", "shared", "tail"]  # in the order they are packed
    count = iter(range(9))

    def badly(plain: np.ndarray, dictionary: bytes = b"") -> bytes:
        number = next(count)
        return b"no" if number // 3 == 1 and streams[number % 3] == stream else pack_frame(plain, dictionary)

    for module in ("codebook", "coded"):
        monkeypatch.setattr(f"compressor.{module}.pack_frame", badly)
    path = tmp_path / "caches"
    path.write_bytes(write_caches({str(entry): make_cache(2, 1) for entry in range(3)}))
    message = r"damaged: 1 cannot be unpacked \(.*\); `percel doctor --repair`"
    with CacheFile(path) as file:
        assert equal(file.load("2"), make_cache(2, 1))
        with pytest.raises(CacheDamaged, match=message):
            file.load("1")
        with pytest.raises(CacheDamaged, match=message):
            file.read_numbers(["0", "1", "2"], np.empty((6, 512), np.float16))


def test_a_book_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(book_for("native-20", "int4", 512), name="native-20-00000000")
    monkeypatch.setattr("compressor.cachefile.book_for", lambda codec, format, width: unknown)
    path = tmp_path / "caches"
    path.write_bytes(write_caches({"0": make_cache(2, 1)}))
    message = r"0 cannot be unpacked \(its code book native-20-00000000 is not installed\)"
    with CacheFile(path) as file, pytest.raises(CacheDamaged, match=message):
        file.load("0")


def test_a_broken_book_is_no_damage_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repair would write the file anew with the same installation; a worker would blame the document."""
    path = tmp_path / "caches"
    path.write_bytes(write_caches({"0": make_cache(2, 1)}))
    (tmp_path / "native-20.codebook").write_bytes(b"no book")
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    book_named.cache_clear()
    message = r"^the code book native-20\.codebook cannot be read \(.*\): reinstall Percel$"
    with CacheFile(path) as file:
        with pytest.raises(ModelError, match=message):
            file.load("0")
        with pytest.raises(ModelError, match=message):
            file.read_numbers(["0"], np.empty((2, 512), np.float16))
    with pytest.raises(ModelError, match=message):
        write_caches({"0": make_cache(2, 1)})


@pytest.mark.parametrize("change", [{"name": "../native-20-00000000"}, {"name": "n" * 300 + "-00000000"}])
def test_a_name_of_a_book_that_leads_elsewhere_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    elsewhere = replace(book_for("native-20", "int4", 512), **change)
    monkeypatch.setattr("compressor.cachefile.book_for", lambda codec, format, width: elsewhere)
    path = tmp_path / "caches"
    path.write_bytes(write_caches({"0": make_cache(2, 1)}))
    message = r"cache file caches is damaged: 0 cannot be unpacked \('.*' is no name of a code book\)"
    with CacheFile(path) as file, pytest.raises(CacheDamaged, match=message):
        file.load("0")


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


@pytest.mark.parametrize("keep", [0, 4, 100, 1900])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, caches: dict[str, Cache], keep: int) -> None:
    path = tmp_path / "caches"
    path.write_bytes(write_caches(caches)[:keep])
    with pytest.raises(CacheDamaged, match="cache file caches is damaged: it"):
        CacheFile(path)


@pytest.mark.parametrize(
    ("version", "shown"), [("7", "7; this"), ("\n\x1b[31m\u202e" + "9" * 9_000, r"\\n\\x1b\[31m\\u202e9{260,290}; `")]
)
def test_a_later_version_is_refused_by_number(
    tmp_path: Path, caches: dict[str, Cache], monkeypatch, version: str, shown: str
) -> None:
    monkeypatch.setattr("compressor.cachefile.VERSION", version)
    data = write_caches(caches)
    monkeypatch.undo()
    path = tmp_path / "caches"
    path.write_bytes(data)
    with pytest.raises(CacheDamaged, match=f"is damaged: it is of version {shown}"):
        CacheFile(path)


def test_one_entry_of_a_large_file_takes_a_request_for_what_tells_of_it_and_one_for_itself() -> None:
    caches = {f"{number:06}": make_cache(42, number) for number in range(200)}
    far = Counted(write_caches(caches))
    with CacheFile(far) as file:
        assert len(far.requests) == 1
        assert equal(file.load("000150"), caches["000150"])
    assert len(far.requests) == 2
    assert sum(far.requests) < len(far.data) / 15


def test_an_index_longer_than_the_first_request_takes_one_more() -> None:
    caches = {f"{number:06}": make_cache(0, number) for number in range(2000)}
    far = Counted(write_caches(caches))
    with CacheFile(far) as file:
        assert len(far.requests) == 2
        assert equal(file.load("001949"), caches["001949"])
    assert len(far.requests) == 3


def test_neighbours_come_in_one_read_and_in_the_order_asked_for() -> None:
    caches = {f"{number:06}": make_cache(42, number) for number in range(100)}
    far = Counted(write_caches(caches))
    wanted = ["000091", "000012", "000010", "000091", "000011"]
    with CacheFile(far) as file:
        opened = len(far.requests)
        found = file.load_many(wanted)
    assert all(equal(cache, caches[entry]) for cache, entry in zip(found, wanted, strict=True))
    assert len(far.requests) == opened + 2


def test_a_small_file_comes_whole_with_the_first_request(caches: dict[str, Cache]) -> None:
    far = Counted(write_caches(caches))
    with CacheFile(far) as file:
        assert all(equal(file.load(entry), cache) for entry, cache in caches.items())
    assert far.requests == [len(far.data)]


def test_every_flipped_byte_is_detected_in_ranges_too() -> None:
    data = write_caches({"0": make_cache(1, 3)})
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(CacheDamaged, match="cache file far is damaged"), CacheFile(Counted(bytes(damaged))) as file:
            file.verify()


def test_a_range_that_comes_short_is_refused() -> None:
    far = Counted(write_caches({f"{number:06}": make_cache(42, number) for number in range(100)}))
    with CacheFile(far) as file:
        far.data = far.data[: len(far.data) // 2]
        with pytest.raises(CacheDamaged, match="cache file far is damaged: it is cut off"):
            file.load("000099")
