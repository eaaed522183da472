"""The residual corrects exactly what was read wrong or in doubt, from any place on, and tells a run of a style once."""

import re
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.codec.residual import (
    CELL_BYTES,
    CODE,
    COUNT_BYTES,
    SURROGATES,
    Doubt,
    apply_residual,
    write_residual,
)
from compressor.codec.typography import STYLE_SHIFT
from compressor.errors import CacheDamaged


def text_of(styles: list[int], seed: int) -> NDArray[np.int32]:
    """Cells in runs of ten of each style."""
    codes = np.random.default_rng(seed).integers(0, 0x110001 - len(SURROGATES), 10 * len(styles))
    codes[codes >= SURROGATES.start] += len(SURROGATES)
    return (codes | np.repeat(np.array(styles, np.int64), 10) << STYLE_SHIFT).astype(np.int32)


@given(
    st.lists(st.integers(0, 63), max_size=12),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.05, 1.0]),
    st.integers(0, 130),
)
@settings(deadline=None)
def test_any_cells_are_corrected_from_any_place_on(styles: list[int], seed: int, wrong: float, first: int) -> None:
    rng = np.random.default_rng(seed)
    true = text_of(styles, seed)
    found = np.where(rng.random(true.shape) < wrong, rng.integers(0, 1 << 27, true.shape), true).astype(np.int32)
    residual = write_residual(true, found, np.zeros(true.shape, np.uint8))
    assert (residual == b"") == bool((found == true).all())
    part = found[first:].copy()
    apply_residual(part, residual, chunk_cells=true.size, first=first)
    assert (part == true[first:]).all()


@pytest.mark.parametrize(("doubt", "kept"), [(Doubt.CHARACTER, ~CODE), (Doubt.STYLE, CODE)])
def test_what_is_in_doubt_is_corrected_too(doubt: Doubt, kept: int) -> None:
    true = text_of([0, 5, 9], 1)
    residual = write_residual(true, true, np.where(np.arange(30) == 15, doubt, 0).astype(np.uint8))
    other = true ^ np.where(np.arange(30) == 15, ~kept & 0x3FFFFFF, 0).astype(np.int32)
    assert (other != true).any()
    apply_residual(other, residual, chunk_cells=true.size)
    assert (other == true).all()


@pytest.mark.parametrize("apart", [1, 127, 128, 300])
def test_the_largest_residual_of_a_chunk_is_within_the_bound(apart: int) -> None:
    """Every cell, or those so far apart, corrected and the start of a run, with codes and styles of the most bytes."""
    cells = np.arange(0, 60_000)
    wrong = cells % apart == 0
    true = np.where(cells // apart % 2, 0x10FFFF, 0x10FFFE) | (cells // apart % 2 + 62) << STYLE_SHIFT
    true = true.astype(np.int32)
    found = np.where(wrong, 0, true).astype(np.int32)
    residual = write_residual(true, found, np.zeros(true.shape, np.uint8))
    plain = zlib.decompress(residual[1:], wbits=-15) if residual[0] else residual[1:]
    assert len(plain) <= true.size * CELL_BYTES + COUNT_BYTES
    apply_residual(found, residual, chunk_cells=true.size)
    assert (found == true).all()


OVERLAP = "it has runs that overlap, or that its chunk cannot hold"


def deflated(plain: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, wbits=-15)
    return b"\1" + deflate.compress(plain) + deflate.flush()


def test_a_residual_that_would_fill_the_memory_is_refused_before_it_does() -> None:
    bomb = deflated(bytes(100_000_000))
    assert len(bomb) < 100_000
    cells = np.zeros(4480, np.int32)
    message = r"a cache has a residual that cannot be: more than the 35,845 bytes that its chunk can need; run `percel"
    tracemalloc.start()
    try:
        with pytest.raises(CacheDamaged, match=message):
            apply_residual(cells, bomb, chunk_cells=cells.size)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000  # a copy of the bomb, and what the bound lets through


@pytest.mark.parametrize(
    ("residual", "why"),
    [
        (b"\0", "it is empty"),
        (deflated(b""), "it is empty"),
        (deflated(b"\1\5\101")[:-1], "it is cut off"),
        (b"\1\xff\xff", "Error -3 while decompressing data: invalid block type"),
        (b"\0" + bytes(40_000), "more than the 35,845 bytes that its chunk can need"),
        (b"\0\2\5\101", "its numbers do not fit together"),
        (b"\0\1\5\101\1", "its numbers do not fit together"),
        (b"\0\1" + b"\xff" * 9 + b"\1\101", "its numbers do not fit together"),
        (b"\0\1\5\xff\xff\x7f", "it has codes or styles that are none"),
        (b"\0\1\5\x80\xb0\3", "it has codes or styles that are none"),  # half of a pair of UTF-16
        (b"\0\0\5\2\x80\2", "it has codes or styles that are none"),
        (b"\0\0\5\1\2\1\1\1", OVERLAP),
        (b"\0\0\5\0\1", OVERLAP),  # of no cell
        (b"\0\0\5\xff\xff\3\1", OVERLAP),
        # Fifty bytes that would have the chunk's cells written 7,000 times.
        (deflated(b"\0" + bytes(7000) + b"\x80\x23" * 7000 + b"\1" * 7000), OVERLAP),
    ],
)
def test_what_is_no_residual_is_refused_in_one_sentence(residual: bytes, why: str) -> None:
    cells = np.zeros(4480, np.int32)
    message = f"a cache has a residual that cannot be: {why}; run `percel doctor --repair`"
    with pytest.raises(CacheDamaged, match=re.escape(message)):
        apply_residual(cells, residual, chunk_cells=cells.size)
    assert not cells.any()


def test_a_run_costs_the_same_however_much_of_it_was_read_wrong() -> None:
    true = text_of([0] * 20 + [4] * 40 + [0] * 20, 2)
    nothing = np.zeros(true.shape, np.uint8)
    once, wholly = true.copy(), true.copy()
    once[300] &= CODE
    wholly[200:600] &= CODE
    assert write_residual(true, once, nothing) == write_residual(true, wholly, nothing)
    assert len(write_residual(true, wholly, nothing)) < 24
