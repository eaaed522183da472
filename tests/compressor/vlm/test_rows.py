"""Rows come back as near as their format allows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import ModelError
from compressor.vlm.rows import ROW_FORMATS, RowFormat, check_format, pack_rows, row_bytes

LEVELS = {"int8": 127, "int4": 7}


def back(numbers: torch.Tensor, format: RowFormat) -> torch.Tensor:
    return pack_rows(numbers, format).unpack(0, len(numbers), device="cpu", dtype=torch.float32)


SIZES = st.sampled_from([1e-30, 1e-6, 1.0, 3e4, 1e30])


@given(seed=st.integers(0, 10_000), rows=st.integers(0, 5), half=st.integers(1, 9), size=SIZES)
@settings(max_examples=100, deadline=None)
def test_every_int8_number_is_within_half_a_step_of_its_row(seed: int, rows: int, half: int, size: float) -> None:
    numbers = size * torch.randn(rows, 2 * half, generator=torch.Generator().manual_seed(seed))
    step = numbers.abs().amax(-1, keepdim=True) / LEVELS["int8"]
    assert ((back(numbers, "int8") - numbers).abs() <= 0.50001 * step).all()


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 5), half=st.integers(1, 300), size=SIZES)
@settings(max_examples=100, deadline=None)
def test_no_int4_row_loses_more_than_without_clipping(seed: int, rows: int, half: int, size: float) -> None:
    numbers = torch.randn(rows, 2 * half, generator=torch.Generator().manual_seed(seed))
    step = numbers.abs().amax(-1, keepdim=True) / LEVELS["int4"]
    unclipped = ((numbers / step).round() * step - numbers).square().sum(-1)
    lost = (back(size * numbers, "int4") / size - numbers).square().sum(-1)
    assert (lost <= 1.001 * unclipped + 1e-9).all()


def test_clipping_saves_a_third_of_what_int4_loses_of_wide_rows() -> None:
    numbers = torch.randn(20, 4096, generator=torch.Generator().manual_seed(0))
    step = numbers.abs().amax(-1, keepdim=True) / LEVELS["int4"]
    unclipped = ((numbers / step).round() * step - numbers).square().sum()
    assert (back(numbers, "int4") - numbers).square().sum() < 0.67 * unclipped


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_a_loud_row_does_not_coarsen_a_quiet_one(format: RowFormat) -> None:
    quiet = torch.randn(1, 64)
    both = back(torch.cat([1e6 * torch.randn(1, 64), quiet]), format)
    assert torch.equal(both[1:], back(quiet, format))


def test_plain_formats_only_round_to_their_type() -> None:
    numbers = torch.randn(4, 6)
    assert torch.equal(back(numbers, "f32"), numbers)
    assert torch.equal(back(numbers, "bf16"), numbers.bfloat16().float())


@pytest.mark.parametrize("format", ROW_FORMATS)
def test_a_stretch_of_rows_is_that_of_all(format: RowFormat) -> None:
    rows = pack_rows(torch.randn(9, 8), format)
    whole = rows.unpack(0, 9, device="cpu", dtype=torch.bfloat16)
    assert torch.equal(rows.unpack(3, 7, device="cpu", dtype=torch.bfloat16), whole[3:7])
    assert rows.width == 8
    assert rows.values.shape[1] == row_bytes(format, 8)


@pytest.mark.parametrize("format", ["int8", "int4"])
def test_blocks_of_rows_are_dequantised_as_all_at_once(format: RowFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pack_rows(torch.randn(9, 8), format)
    whole = rows.unpack(0, 9, device="cpu", dtype=torch.float32)
    monkeypatch.setattr("compressor.vlm.rows.CPU_BLOCK", 17)  # two rows at a time
    assert torch.equal(rows.unpack(0, 9, device="cpu", dtype=torch.float32), whole)


def test_rows_of_zeros_stay_zeros() -> None:
    assert not back(torch.zeros(2, 4), "int8").any()
    assert not back(torch.zeros(2, 4), "int4").any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("format", ROW_FORMATS)
def test_numbers_that_are_not_finite_are_refused(format: RowFormat, bad: float) -> None:
    with pytest.raises(ModelError, match="the model gave numbers that are not finite for a page; it was not stored"):
        pack_rows(torch.tensor([[1.0, bad]]), format)


def test_int4_of_an_odd_width_is_refused() -> None:
    with pytest.raises(ValueError, match="int4 rows need an even width, not 3"):
        pack_rows(torch.zeros(1, 3), "int4")


def test_a_format_that_is_not_ours_is_refused_with_the_list() -> None:
    message = "rows of format 'fp4' cannot be read; these can: int8, int4, bf16, f32"
    with pytest.raises(ValueError, match=message):
        check_format("fp4")
