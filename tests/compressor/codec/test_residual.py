"""The residual corrects exactly what was read wrong or in doubt, from any place on, and tells a run of a style once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.codec.residual import CODE, Doubt, apply_residual, write_residual
from compressor.codec.typography import STYLE_SHIFT


def text_of(styles: list[int], seed: int) -> NDArray[np.int32]:
    """Cells in runs of ten of each style."""
    codes = np.random.default_rng(seed).integers(0, 0x110001, 10 * len(styles))
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
    apply_residual(part, residual, first)
    assert (part == true[first:]).all()


@pytest.mark.parametrize(("doubt", "kept"), [(Doubt.CHARACTER, ~CODE), (Doubt.STYLE, CODE)])
def test_what_is_in_doubt_is_corrected_too(doubt: Doubt, kept: int) -> None:
    true = text_of([0, 5, 9], 1)
    residual = write_residual(true, true, np.where(np.arange(30) == 15, doubt, 0).astype(np.uint8))
    other = true ^ np.where(np.arange(30) == 15, ~kept & 0x3FFFFFF, 0).astype(np.int32)
    assert (other != true).any()
    apply_residual(other, residual)
    assert (other == true).all()


def test_a_run_costs_the_same_however_much_of_it_was_read_wrong() -> None:
    true = text_of([0] * 20 + [4] * 40 + [0] * 20, 2)
    nothing = np.zeros(true.shape, np.uint8)
    once, wholly = true.copy(), true.copy()
    once[300] &= CODE
    wholly[200:600] &= CODE
    assert write_residual(true, once, nothing) == write_residual(true, wholly, nothing)
    assert len(write_residual(true, wholly, nothing)) < 24
