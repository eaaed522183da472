"""Quantised tokens stay within half a step, and packing loses nothing."""

import numpy as np
import pytest
import torch

from compressor.formats import FORMATS, Format, pack, unpack
from compressor.quantise import dequantise, quantise, through


@pytest.mark.parametrize("format", FORMATS.values(), ids=str)
def test_a_token_moves_by_half_a_step_at_most(format: Format) -> None:
    reach = format.levels / 2 * format.step
    tokens = torch.linspace(-reach, reach * 0.999, 10_000)
    assert (dequantise(quantise(tokens, format), format) - tokens).abs().max() <= format.step / 2 + 1e-6


@pytest.mark.parametrize("format", FORMATS.values(), ids=str)
def test_quantising_twice_changes_nothing(format: Format) -> None:
    levels = torch.arange(format.levels, dtype=torch.uint8)
    assert (quantise(dequantise(levels, format), format) == levels).all()


@pytest.mark.parametrize("format", FORMATS.values(), ids=str)
def test_packing_is_undone_by_unpacking(format: Format) -> None:
    levels = np.random.default_rng(0).integers(0, format.levels, (5, 512), dtype=np.uint8)
    assert (unpack(pack(levels, format), format) == levels).all()


def test_the_gradient_passes_straight_through() -> None:
    tokens = torch.randn(4, 512, requires_grad=True)
    through(tokens, FORMATS["int4"]).sum().backward()
    assert (tokens.grad == 1).all()
