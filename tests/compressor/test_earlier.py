"""What is told of caches of versions 1 to 4 whose frames cannot be unpacked; golden files are in test_cachefile."""

import hashlib
import json
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zstandard

from compressor import cachefile, earlier
from compressor.cachefile import CacheFile
from compressor.codebook import BOOKS
from compressor.earlier import tokens_of
from compressor.errors import CacheDamaged, ModelError
from compressor.formats import INT4, unpack
from compressor.frames import FRAME_LIMIT
from compressor.sealed import seal

FACTS = {"codec": "native-20@0123456789ab", "format": "int4", "shape": [4, 200], "strips": 8}


def parts(frame: bytes) -> dict[str, np.ndarray]:
    return {"tokens": np.frombuffer(frame, np.uint8)}


def test_a_frame_of_an_unknown_dictionary_names_it() -> None:
    samples = [np.random.default_rng(place).bytes(20) * 40 for place in range(200)]
    unknown = zstandard.train_dictionary(4096, samples)
    frame = zstandard.ZstdCompressor(dict_data=unknown).compress(samples[0])
    with pytest.raises(ValueError, match=f"its dictionary {unknown.dict_id()} is not installed"):
        tokens_of(FACTS, parts(frame))


@pytest.fixture
def dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the published dictionaries alone, to be broken."""
    for path in BOOKS.glob("*.zdict"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(earlier, "BOOKS", tmp_path)
    earlier._installed.cache_clear()
    yield tmp_path
    earlier._installed.cache_clear()


def frame_by(path: Path) -> tuple[bytes, bytes]:
    """800 bytes, and their frame by a dictionary."""
    plain = np.random.default_rng(1).integers(0, 4, 800, np.uint8).tobytes()
    return plain, zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(path.read_bytes())).compress(plain)


def test_every_published_dictionary_is_known(dictionaries: Path) -> None:
    sound, broken = earlier._installed()
    assert (set(sound), broken) == (set(earlier.PUBLISHED), [])
    assert len(sound) == 4


@pytest.mark.parametrize("place", [0, 4, 7, 8, 20, 60, 112_635, "half", "empty"])
def test_a_damaged_dictionary_is_the_installations_fault_and_named(dictionaries: Path, place: int | str) -> None:
    path = dictionaries / "native-20.zdict"
    _, frame = frame_by(path)
    data = bytearray(path.read_bytes())
    if isinstance(place, int):
        data[place] ^= 1
    path.write_bytes(data[: {"half": len(data) // 2, "empty": 0}.get(place, len(data))])
    with pytest.raises(ModelError, match=r"^the dictionary native-20\.zdict cannot be read \(.+\): reinstall Percel$"):
        tokens_of(FACTS, parts(frame))


def test_a_damaged_dictionary_does_not_stand_in_the_way_of_others(dictionaries: Path) -> None:
    (dictionaries / "native-10.zdict").write_bytes(b"no dictionary")
    plain, frame = frame_by(dictionaries / "native-20.zdict")
    assert sorted(tokens_of(FACTS, parts(frame)).tobytes()) == sorted(plain)


def test_a_cache_of_a_damaged_dictionary_is_not_called_damaged(dictionaries: Path) -> None:
    golden = Path(__file__).parent / "golden" / "caches-4"
    for path in dictionaries.glob("*.zdict"):
        path.write_bytes(path.read_bytes()[:-1])
    with (
        CacheFile(golden) as file,
        pytest.raises(ModelError, match=r"native-10\.zdict cannot be read .it is not as pub"),
    ):
        file.load_many(list(file))


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="600 bytes in place of 800"):
        tokens_of(FACTS, parts(zstandard.ZstdCompressor().compress(bytes(600))))


@pytest.mark.parametrize("claimed", [801, 1 << 30, (1 << 64) - 3])
def test_no_memory_is_taken_for_what_a_frame_claims_to_hold(claimed: int) -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"\xe0" + claimed.to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"^{claimed} bytes in place of 800$"):
            tokens_of(FACTS, parts(frame))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [[FRAME_LIMIT // 200 + 1, 200], [1 << 60, 200], [-4, 200]])
def test_an_entry_that_claims_too_much_is_refused(shape: list[int]) -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(600))
    message = f"^a frame of {shape[0] * 200:,} bytes; at most 67,108,864 are read$"
    with pytest.raises(ValueError, match=message):
        tokens_of(FACTS | {"shape": shape}, parts(frame))


def test_a_frame_without_a_size_is_held_to_the_one_told() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100_000))
    with pytest.raises(ValueError, match="decompression error"):
        tokens_of(FACTS, parts(frame))


KNOWN = {"codec": "c", "format": "int4", "digest": "0", "raw_char_accuracy": 1.0, "shape": [1, 2], "strips": 0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": ["1", 2]}, r"shape \['1', 2\] and strips 0"),
        ({"shape": [1]}, r"shape \[1\] and strips 0"),
        ({"shape": None}, "shape None and strips 0"),
        ({"shape": [-1, 2]}, r"shape \[-1, 2\] and strips 0"),
        ({"shape": [1 << 70, 0]}, r"shape \[1180591620717411303424, 0\] and strips 0"),
        ({"strips": "8"}, r"shape \[1, 2\] and strips 8"),
        ({"format": "int3"}, "'int3' is no format"),
        ({"format": ["int4"]}, "codec, format or digest are not told"),
        ({"digest": 0}, "codec, format or digest are not told"),
        ({"raw_char_accuracy": "1"}, "raw_char_accuracy is no share"),
        ({"raw_char_accuracy": float("nan")}, "raw_char_accuracy is no share"),
        ({"raw_char_accuracy": -1}, "raw_char_accuracy is no share"),
    ],
)
def test_facts_that_cannot_be_are_damage(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    none = dict.fromkeys(("tokens", "counts", "residual"), np.zeros(0, np.uint8))
    path = tmp_path / "caches"
    path.write_bytes(sealed({"a": (KNOWN | changed, none)}))
    with pytest.raises(
        CacheDamaged, match=rf"^cache file caches is damaged: a cannot be unpacked \({message}\); `percel"
    ):
        CacheFile(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"counts": np.ones((2, 4), np.uint8)}, r"counts \(2, 4\) and residual \(0,\)"),
        ({"residual": np.ones((1, 1), np.uint8)}, r"counts \(0,\) and residual \(1, 1\)"),
    ],
)
def test_parts_of_other_shapes_are_damage(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    whole = {"tokens": np.zeros(2, np.uint8)} | dict.fromkeys(("counts", "residual"), np.zeros(0, np.uint8))
    path = tmp_path / "caches"
    path.write_bytes(sealed({"a": (dict(KNOWN), whole | changed)}))
    with CacheFile(path) as file:
        for read in (file.load_many, file.packed):
            with pytest.raises(CacheDamaged, match=rf"caches is damaged: a cannot be unpacked \({message}\); `percel"):
                read(["a"])


def test_an_entry_that_cannot_be_packed_anew_is_damage(tmp_path: Path) -> None:
    whole = {"tokens": np.zeros(2, np.uint8)} | dict.fromkeys(("counts", "residual"), np.zeros(0, np.uint8))
    path = tmp_path / "caches"
    path.write_bytes(sealed({"a": (KNOWN | {"digest": "short"}, whole)}))
    with CacheFile(path) as file, pytest.raises(CacheDamaged, match=r"a has 'short', which is no digest of 32 bytes"):
        file.packed(["a"])


@pytest.mark.parametrize("shape", [[1] * 65, [0, 1 << 70], [0, 1 << 40, 1 << 40]])
def test_a_shape_that_no_array_has_is_damage(tmp_path: Path, shape: list[int]) -> None:
    whole = {"tokens": np.zeros(2, np.uint8)} | dict.fromkeys(("counts", "residual"), np.zeros(0, np.uint8))
    whole["residual"] = np.zeros(int(0 not in shape), np.uint8)
    data = sealed({"a": (dict(KNOWN), whole)})
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["a.residual"]["shape"] = shape
    header["__metadata__"]["header_sha256"] = "0" * 64
    unsigned = json.dumps(header).encode()
    signed = unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode(), 1)
    path = tmp_path / "caches"
    path.write_bytes(len(signed).to_bytes(8, "little") + signed + data[end:])
    with pytest.raises(CacheDamaged, match="its header cannot be read"):
        CacheFile(path)


def test_an_entry_without_its_parts_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "caches"
    path.write_bytes(seal(replace(cachefile._kind(), version="2", parts=("tokens",)), {"a": (KNOWN, parts(b""))}))
    with pytest.raises(CacheDamaged, match=r"^cache file caches is damaged: its header cannot be read; `percel"):
        CacheFile(path)


def test_an_entry_without_its_checksum_is_damage(tmp_path: Path) -> None:
    none = dict.fromkeys(("tokens", "counts", "residual"), np.zeros(0, np.uint8))
    path = tmp_path / "caches"
    data = sealed({"a": (dict(KNOWN), none)}).replace(rb"\"sha256\"", rb"\"sha255\"")
    end = 8 + int.from_bytes(data[:8], "little")
    signature = json.loads(data[8:end])["__metadata__"]["header_sha256"].encode()
    unsigned = data[8:end].replace(signature, b"0" * 64)
    signed = unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode(), 1)
    path.write_bytes(data[:8] + signed + data[end:])
    with pytest.raises(CacheDamaged, match="its header cannot be read"):
        CacheFile(path)


def sealed(entries: dict[str, tuple[dict[str, object], dict[str, np.ndarray]]]) -> bytes:
    """A file as the program of version 2 wrote it."""
    return seal(replace(cachefile._kind(), version="2"), entries)


def test_names_that_do_not_lie_side_by_side_are_read_all_the_same(tmp_path: Path) -> None:
    """The parts of "1.d" lie between those of "1", where the order of tensors is that of their names."""
    entries = {}
    for place, name in enumerate(("1", "1.d")):
        rng = np.random.default_rng(place)
        tokens = rng.integers(0, 256, (2 + place, 256), dtype=np.uint8)
        facts = {"codec": "c", "format": "int4", "digest": f"{place}", "raw_char_accuracy": 1.0, "shape": tokens.shape}
        entries[name] = facts, {"tokens": tokens, "counts": rng.integers(1, 9, 4, np.uint8), "residual": tokens[0]}
    path = tmp_path / "caches"
    path.write_bytes(sealed(entries))
    with CacheFile(path) as file:
        (first, last), (start, end) = (file._contents.stretch(name) for name in entries)
        assert first < start < end < last  # else this test has lost its point
        for name, (facts, stored) in entries.items():
            cache = file.load(name)
            assert (cache.levels == unpack(stored["tokens"], INT4)).all()
            assert (cache.counts == stored["counts"]).all()
            assert (cache.residual, cache.digest) == (stored["residual"].tobytes(), facts["digest"])
        assert [cache.digest for cache in file.load_many(["1.d", "1"])] == ["1", "0"]
