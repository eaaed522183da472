"""The benchmark's models are as large as those that they are named after, and refused where they do not fit."""

from dataclasses import replace

import pytest
import torch

from bench.context import check_fits
from bench.shapes import SHAPES, build_model


@pytest.mark.parametrize(("name", "least", "most"), [("qwen3-vl-8b", 8.0e9, 9.0e9), ("deepseek-ocr-2", 3.0e9, 4.0e9)])
def test_a_published_shape_has_as_many_parameters(name: str, least: float, most: float) -> None:
    model = build_model(SHAPES[name], tokens=1, device="meta", dtype=torch.bfloat16)
    assert least < sum(weight.numel() for weight in model.parameters()) < most


def test_a_model_that_does_not_fit_is_refused_before_it_is_made() -> None:
    shape = SHAPES["deepseek-ocr-2"]
    huge = replace(shape, name="huge", text={**shape.text, "n_routed_experts": 1_000_000})
    with pytest.raises(
        SystemExit, match=r"^huge: its weights take 7\d{4}\.\d GB, and .* GB are free on cpu: measure a"
    ):
        check_fits(huge, device="cpu", dtype=torch.bfloat16)
