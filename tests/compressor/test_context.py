"""Many caches become one array of tokens, in the order asked for, each checked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from compressor.cachefile import CacheFile, write_caches
from compressor.context import Wanted, load_context, numbers_of
from compressor.errors import CacheDamaged, CacheError
from compressor.formats import FORMATS
from compressor.quantise import dequantise
from tests.compressor.test_cachefile import GOLDEN, Counted, make_cache


def written(path: Path, *seeds: int, format: str = "int4") -> Wanted:
    path.write_bytes(write_caches({str(seed): make_cache(seed, seed, format=format) for seed in seeds}))
    return Wanted(path, tuple(map(str, seeds)))


def bytes_of(wanted: Wanted) -> bytes:
    assert isinstance(wanted.source, Path)
    return wanted.source.read_bytes()


@pytest.mark.parametrize("format", ["int4", "int8"])
def test_tokens_come_dequantised_in_the_order_asked_for(tmp_path: Path, format: str) -> None:
    first = written(tmp_path / "a", 1, 3, format=format)
    second = written(tmp_path / "b", 2, format=format)
    found = load_context([second, Wanted(first.source, ("3", "1"))])
    levels = np.concatenate([make_cache(seed, seed, format=format).levels for seed in (2, 3, 1)])
    expected = dequantise(torch.from_numpy(levels), FORMATS[format]).numpy().astype(np.float16)
    assert found.dtype == np.float16
    assert (found == expected).all()
    assert (numbers_of(levels, format) == expected).all()


def test_ranges_give_the_same_tokens_as_a_map(tmp_path: Path) -> None:
    mapped = written(tmp_path / "a", *range(1, 40))
    order = ("7", "39", "7", "1")
    far = Counted(bytes_of(mapped))
    assert (load_context([Wanted(far, order)]) == load_context([Wanted(mapped.source, order)])).all()


def test_a_damaged_cache_is_refused(tmp_path: Path) -> None:
    wanted = written(tmp_path / "a", 2, 4)
    data = bytearray(bytes_of(wanted))
    data[-1] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CacheDamaged, match="cache file a is damaged: the checksum of"):
        load_context([wanted])


def test_caches_of_two_formats_cannot_share_a_context(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"caches of several kinds cannot share one context: \['int4', 'int8'\]"):
        load_context([written(tmp_path / "a", 1), written(tmp_path / "b", 2, format="int8")])


def test_no_caches_are_no_tokens() -> None:
    assert load_context([]).shape == (0, 0)


def test_an_entry_that_is_not_there_or_another_chunks_is_damage(tmp_path: Path) -> None:
    caches = {"0": make_cache(3, 1), "1": make_cache(1, 0, format="int8"), "2": make_cache(0, 5)}
    path = tmp_path / "caches"
    path.write_bytes(write_caches(caches))
    with CacheFile(path) as file, CacheFile(GOLDEN / "caches-1") as earlier:
        for each in (file, earlier):
            each.check_chunks({"0": (caches["0"].digest, 3), "1": (caches["1"].digest, 1)})
            for entry, expected, why in (
                ("9", (caches["0"].digest, 3), "it has no entry 9"),
                ("0", (caches["1"].digest, 3), "0 is not of the text that was parsed"),
                ("0", (caches["0"].digest, 2), "0 is not of the text that was parsed"),
            ):
                with pytest.raises(CacheDamaged, match=f"is damaged: {why}; `percel doctor"):
                    each.check_chunks({entry: expected})
