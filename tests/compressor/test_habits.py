"""Habits tell any cells again, in few bytes where a reader errs as it did, and refuse what they did not write."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.codec.learn_habits import ReadChunk, learn_habits
from compressor.habits import BANDS, Habits, surroundings, window


def chunk(seed: int, cells: int = 2000) -> ReadChunk:
    """Symbols at random; one of two characters is misread behind a certain pair, others hardly ever."""
    rng = np.random.default_rng(seed)
    symbols = rng.integers(16, size=cells)
    told = rng.random(cells) < 0.01
    told[1:] |= (symbols[:-1] == 3) & (symbols[1:] < 8) & (rng.random(cells - 1) < 0.7)
    codes = 0x61 + symbols + 16 * (rng.random(cells) < 0.1)
    return ReadChunk(symbols, codes.astype(np.int32), told)


@pytest.fixture(scope="module")
def habits() -> Habits:
    known = learn_habits([chunk(seed) for seed in range(40)], 16)
    assert known is not None
    return known


def told_again(habits: Habits, symbols: NDArray[np.int64], data: bytes) -> list[tuple[int, int]]:
    places, codes = habits.unpack(symbols, data)
    return sorted(zip(places.tolist(), codes.tolist(), strict=True))


def test_what_is_misread_as_ever_takes_few_bytes(habits: Habits) -> None:
    read = chunk(99)
    places = np.flatnonzero(read.told)
    data = habits.pack(read.symbols, places, read.codes[places])
    assert told_again(habits, read.symbols, data) == list(
        zip(places.tolist(), read.codes[places].tolist(), strict=True)
    )
    # An even guess takes 2,000 cells * 0.22 bits for 71 places, and 4 + 0.5 bits for each character.
    assert len(data) < (2000 * 0.22 + len(places) * 4.5) / 8 * 0.6


@given(st.dictionaries(st.integers(0, 499), st.integers(0, 0x110000), max_size=60), st.integers(0, 9))
@settings(deadline=None)
def test_any_cells_come_back(habits: Habits, cells: dict[int, int], seed: int) -> None:
    symbols = chunk(seed, 500).symbols
    places = np.array(sorted(cells), np.int64)
    codes = np.array([cells[place] for place in places.tolist()], np.int32)
    if len(places):
        data = habits.pack(symbols, places, codes)
        assert told_again(habits, symbols, data) == sorted(cells.items())


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_tell_of_cells_that_there_are_or_are_refused(habits: Habits, data: bytes) -> None:
    symbols = chunk(1, 300).symbols
    refused = ""
    places = codes = np.zeros(0, np.int64)
    try:
        places, codes = habits.unpack(symbols, data)
    except ValueError as error:
        refused = str(error)
    assert refused in ("", "it tells of cells that its chunk has not", "it is cut off")
    assert len(set(places.tolist())) == len(places) == len(codes)
    assert ((places >= 0) & (places < 300)).all()


def test_bytes_that_are_cut_off_or_too_many_are_refused(habits: Habits) -> None:
    read = chunk(4)
    places = np.flatnonzero(read.told)
    data = habits.pack(read.symbols, places, np.full(len(places), 0x10FFFF, np.int32))
    for changed in (data[:-1], data + b"\xff"):
        with pytest.raises(ValueError, match=r"^it is cut off$"):
            habits.unpack(read.symbols, changed)
    with pytest.raises(ValueError, match=r"^it tells of cells that its chunk has not$"):
        habits.unpack(read.symbols[:20], data)


def test_surroundings_are_as_wide_as_a_table_allows() -> None:
    assert (window(16), window(256), window(4)) == (5, 1, 9)
    assert surroundings(np.array([1, 2, 3]), 16).tolist() == [0x00123, 0x01230, 0x12300]
    assert surroundings(np.zeros(0, np.int64), 16).tolist() == []


def test_a_reader_that_does_not_err_has_no_habits() -> None:
    known = chunk(1)
    assert learn_habits([replace(known, told=np.zeros_like(known.told))], 16) is None


def test_habits_come_back_from_their_tensors(habits: Habits) -> None:
    again = Habits.from_tensors({**habits.tensors(), "cells": np.zeros(0, np.uint8)})
    assert again is not None
    read = chunk(5)
    places = np.flatnonzero(read.told)
    assert again.pack(read.symbols, places, read.codes[places]) == habits.pack(read.symbols, places, read.codes[places])
    assert Habits.from_tensors({"cells": np.zeros(0, np.uint8)}) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("symbols", np.array([17], np.uint32), "its habits are of 17 symbols"),
        ("symbols", np.array([16, 16], np.uint32), "its habits do not fit together"),
        ("shifts", np.zeros(BANDS + 1, np.uint8), "its habits do not fit together"),
        ("shifts", np.full(BANDS, 17, np.uint8), "its habits have bands or kinds that are none"),
        ("bands", np.full(16**5, BANDS, np.uint8), "its habits have bands or kinds that are none"),
        ("bands", np.zeros(16**5, np.int16), "its habits do not fit together"),
        ("likely", np.full(16**5, 255, np.uint8), "its habits have bands or kinds that are none"),
    ],
)
def test_broken_habits_are_refused(habits: Habits, name: str, value: np.ndarray, message: str) -> None:
    small = replace(habits, codes=habits.codes[:3], likely=np.zeros(16**5, np.uint8))
    with pytest.raises(ValueError, match=f"^{message}$"):
        Habits.from_tensors(replace(small, **{name: value}).tensors())


def test_habits_with_codes_that_are_none_are_refused(habits: Habits) -> None:
    codes = habits.codes.copy()
    codes[0] = 1
    with pytest.raises(ValueError, match=r"^the codes of its habits are no prefix codes$"):
        Habits.from_tensors(replace(habits, codes=codes).tensors())
    far = replace(habits, characters=habits.characters + (1 << 21))
    with pytest.raises(ValueError, match=r"^its habits have characters that are none$"):
        Habits.from_tensors(far.tensors())
