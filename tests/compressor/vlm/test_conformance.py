"""Every family answers from caches as it answers from pixels."""

import dataclasses

import pytest
import torch

from compressor.vlm.families import FAMILIES
from compressor.vlm.page import PageCache
from compressor.vlm.rows import pack_rows
from tests.compressor.vlm.cases import ORDERS, STEPS, case, pixel_answer, pixel_logits, without_vision

EXACT = 1e-4  # what float32 may differ by
every_family = pytest.mark.parametrize("name", list(FAMILIES))
every_order = pytest.mark.parametrize("order", ORDERS, ids=["one page", "three pages"])


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def turned_round(page: PageCache) -> PageCache:
    features = page.features.unpack(0, page.vision_tokens, device="cpu", dtype=torch.float32)
    return dataclasses.replace(page, features=pack_rows(features.flip(0), "f32"))


@every_order
@every_family
def test_logits_from_caches_are_those_from_pixels(name: str, order: tuple[int, ...]) -> None:
    expected = pixel_logits(name, order)
    decoder = case(name).decoder
    layout = decoder.lay_out(case(name).prompt(case(name).stored(), order))
    with without_vision(case(name).model, FAMILIES[name].decoder):
        whole = decoder.logits(layout)
        in_chunks = decoder.logits(layout, chunk=7)
    assert difference(whole, expected) <= EXACT
    assert difference(in_chunks, expected) <= EXACT


@every_order
@every_family
def test_greedy_answers_from_caches_are_those_from_pixels(name: str, order: tuple[int, ...]) -> None:
    tokens, logits = pixel_answer(name, order)
    decoder = case(name).decoder
    layout = decoder.lay_out(case(name).prompt(case(name).stored(), order))
    found, steps = [], []
    with without_vision(case(name).model, FAMILIES[name].decoder):
        context = decoder.read(layout, chunk=5)
        for token in decoder.generate(context, limit=STEPS):
            found.append(token)
            steps.append(context.logits)
    assert found == tokens
    # a tiny model may repeat one token, so what each was chosen from is compared too
    assert difference(torch.stack(steps), logits) <= EXACT


@every_family
def test_features_in_another_order_change_the_logits(name: str) -> None:
    order = ORDERS[1]
    decoder = case(name).decoder
    turned = [turned_round(page) for page in case(name).stored()]
    logits = decoder.logits(decoder.lay_out(case(name).prompt(turned, order)))
    assert difference(logits, pixel_logits(name, order)) > 0.1
