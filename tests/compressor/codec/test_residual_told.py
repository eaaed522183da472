"""A residual that is told by a reader's habits corrects the same cells, and is refused where it cannot be one."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.codebook import book_for, book_name, book_path
from compressor.codec.residual import (
    BY_HABITS,
    CODE,
    SURROGATES,
    Coded,
    Doubt,
    apply_residual,
    read_residual,
    write_residual,
)
from compressor.codec.typography import STYLE_SHIFT
from compressor.errors import CacheDamaged
from compressor.habits import surroundings

CELLS = 2 * 448
CODED = Coded(np.random.default_rng(0).integers(0, 16, (2, 512), dtype=np.uint8), "native-80")
NOTHING = np.zeros(CELLS, np.uint8)


BOOK = book_for(CODED.codec, "int4", 512)
assert BOOK.habits is not None
HABITS = BOOK.habits
AROUND = surroundings(BOOK.cell_numbers(CODED.levels), 16)
OFTEN_MISREAD = np.sort(np.argsort(HABITS.bands[AROUND], kind="stable")[:20])


def likely_codes() -> NDArray[np.int32]:
    """The characters that habits expect most."""
    return HABITS.characters[HABITS.codes[HABITS.likely[AROUND], :-1].argmin(1)]


def text_of(styles: list[int], seed: int | None = None) -> NDArray[np.int32]:
    """Cells in runs of 40 of each style, plain ones behind them; likely ones without a seed."""
    codes = likely_codes()
    if seed is not None:
        codes = np.random.default_rng(seed).integers(0, 0x110001 - len(SURROGATES), CELLS)
        codes[codes >= SURROGATES.start] += len(SURROGATES)
    known = np.repeat(np.array([*styles, 0], np.int64), [40] * len(styles) + [CELLS - 40 * len(styles)])
    return (codes | known << STYLE_SHIFT).astype(np.int32)


@given(
    st.lists(st.integers(0, 63), max_size=12),
    st.integers(0, 99),
    st.sampled_from([0.002, 0.05, 1.0]),
    st.integers(0, 900),
)
@settings(deadline=None)
def test_any_cells_are_corrected_from_any_place_on(styles: list[int], seed: int, wrong: float, first: int) -> None:
    rng = np.random.default_rng(seed)
    true = text_of(styles, seed)
    found = np.where(rng.random(true.shape) < wrong, rng.integers(0, 1 << 27, true.shape), true).astype(np.int32)
    residual = write_residual(true, found, NOTHING, CODED)
    assert (residual == b"") == bool((found == true).all())
    part = found[first:].copy()
    apply_residual(part, residual, chunk_cells=CELLS, first=first, coded=CODED)
    assert (part == true[first:]).all()


@pytest.mark.parametrize("styles", [[], [0, 5, 9]])
def test_what_is_in_doubt_is_told_too(styles: list[int]) -> None:
    true = text_of(styles)
    kinds = Doubt.CHARACTER | (Doubt.STYLE if styles else 0)
    doubt = np.where(np.isin(np.arange(CELLS), OFTEN_MISREAD), kinds, 0).astype(np.uint8)
    residual = write_residual(true, true, doubt, CODED)
    assert residual[0] == (3 if styles else 2)
    other = np.where(doubt > 0, 0x3BB | (3 << STYLE_SHIFT if styles else 0), true).astype(np.int32)
    apply_residual(other, residual, chunk_cells=CELLS, coded=CODED)
    assert (other == true).all()


def test_characters_alone_name_no_runs() -> None:
    true = text_of([0, 5, 9])
    found = true.copy()
    found[OFTEN_MISREAD] ^= 1
    residual = write_residual(true, found, NOTHING, CODED)
    assert residual[0] == 2
    assert len(residual) < 3 + len(OFTEN_MISREAD)
    misread = read_residual(residual, chunk_cells=CELLS, coded=CODED)
    told_of = dict(zip(misread.places.tolist(), misread.codes.tolist(), strict=True))
    assert told_of == {place: true[place] & CODE for place in OFTEN_MISREAD.tolist()}


def test_what_the_habits_do_not_know_is_written_as_ever_where_that_is_shorter() -> None:
    codes = np.where(np.arange(CELLS) % 2, 0x4E00, 0x4E01).astype(np.int32)
    residual = write_residual(codes, codes ^ 1, NOTHING, CODED)
    assert residual == write_residual(codes, codes ^ 1, NOTHING)


def test_runs_alone_are_written_as_ever() -> None:
    true = text_of([0, 5, 9], 1)
    residual = write_residual(true, true & CODE, NOTHING, CODED)
    assert residual[0] not in BY_HABITS
    assert residual == write_residual(true, true & CODE, NOTHING)


def test_a_codec_without_habits_has_its_residual_written_as_ever() -> None:
    true = text_of([], 1)
    other = Coded(CODED.levels, "native-10")
    assert write_residual(true, true ^ 1, NOTHING, other) == write_residual(true, true ^ 1, NOTHING)


def told(tag: bytes, rest: bytes, kind: int = 2) -> bytes:
    return bytes([kind]) + tag + rest


TAG = bytes.fromhex(BOOK.tag)
OTHER = bytes(byte ^ 255 for byte in TAG)


@pytest.mark.parametrize(
    ("residual", "why"),
    [
        (told(TAG, b"\0" * 2000), "it tells of cells that its chunk has not"),
        (told(TAG, b"\xff\xff"), "it is cut off"),
        (told(TAG, b"", 3), "it is cut off"),
        (told(TAG, b"\1\1", 3), "its numbers do not fit together"),
        (told(TAG, b"\1\1\2\x80\2", 3), "it has codes or styles that are none"),
        (told(TAG, b"\1\xff\xff\xff\xff\xff\xff\1\2\3", 3), "its numbers do not fit together"),
        (told(TAG, bytes(100_000)), "100,003 bytes for 896 cells"),
        (told(OTHER, b"\0"), f"its code book native-80-{OTHER.hex()}... is not installed"),
    ],
)
def test_what_is_no_residual_is_refused_in_one_sentence(residual: bytes, why: str) -> None:
    cells = np.zeros(CELLS, np.int32)
    message = f"^a cache has a residual that cannot be: {re.escape(why)}; run `percel doctor --repair`$"
    HABITS.unpack(BOOK.cell_numbers(CODED.levels), b"")  # its tables are made once
    tracemalloc.start()
    try:
        with pytest.raises(CacheDamaged, match=message):
            apply_residual(cells, residual, chunk_cells=CELLS, coded=CODED)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert not cells.any()


@given(st.sampled_from(BY_HABITS), st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_correct_cells_or_are_refused(kind: int, rest: bytes) -> None:
    cells = np.zeros(CELLS, np.int32)
    try:
        apply_residual(cells, told(TAG, rest, kind), chunk_cells=CELLS, coded=CODED)
    except CacheDamaged as error:
        refused = str(error)
    else:
        refused = ""
    assert not refused or refused.startswith("a cache has a residual that cannot be: ")
    assert (cells & CODE <= 0x110000).all()


def test_without_its_tokens_it_is_refused() -> None:
    with pytest.raises(CacheDamaged, match="it is told by tokens that are not at hand; run `percel doctor --repair`"):
        apply_residual(np.zeros(CELLS, np.int32), told(TAG, b"\0"), chunk_cells=CELLS)


def test_tokens_of_another_format_are_refused() -> None:
    """A file may say int8 of them: then they have levels that no habit knows."""
    other = Coded(CODED.levels | 0xF0, CODED.codec)
    message = r"^a cache has a residual that cannot be: its tokens have level 255, which int4 has not; run"
    with pytest.raises(CacheDamaged, match=message):
        apply_residual(np.zeros(CELLS, np.int32), told(TAG, b"\0"), chunk_cells=CELLS, coded=other)


def test_it_is_read_by_the_book_that_it_was_written_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one that has taken its place knows other habits."""
    true = text_of([])
    residual = write_residual(true, true ^ 1, NOTHING, CODED)
    assert residual[0] == 2
    data = book_path("native-80").read_bytes()
    (tmp_path / f"{book_name('native-80', data)}.codebook").write_bytes(data)
    (tmp_path / "native-80.codebook").write_bytes(book_path("native-40").read_bytes())
    monkeypatch.setattr("compressor.codebook.BOOKS", tmp_path)
    found = true ^ 1
    apply_residual(found, residual, chunk_cells=CELLS, coded=CODED)
    assert (found == true).all()
