"""Every family answers from caches as it answers from pixels."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from compressor.vlm.decode import PageDecoder
from compressor.vlm.encode import PageEncoder
from compressor.vlm.families import FAMILIES
from compressor.vlm.page import PageCache, store_page
from compressor.vlm.rows import pack_rows
from tests.compressor.vlm.cases import (
    BEFORE,
    CODEC,
    ORDERS,
    QUESTION,
    STEPS,
    Forbidden,
    case,
    pixel_answer,
    pixel_logits,
    without_vision,
)
from tests.compressor.vlm.marks import IMAGE_TEXT, tokenize
from tests.compressor.vlm.tiny import IMAGE, pixels

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
        context = decoder.read(layout)
        for token in decoder.generate(context, limit=STEPS):
            found.append(token)
            steps.append(context.logits)
        in_chunks = list(decoder.generate(decoder.read(layout, chunk=5), limit=STEPS))
    assert found == in_chunks == tokens
    # a tiny model may repeat one token, so what each was chosen from is compared too
    assert difference(torch.stack(steps), logits) <= EXACT


@every_family
def test_features_in_another_order_change_the_logits(name: str) -> None:
    order = ORDERS[1]
    decoder = case(name).decoder
    turned = [turned_round(page) for page in case(name).stored()]
    logits = decoder.logits(decoder.lay_out(case(name).prompt(turned, order)))
    assert difference(logits, pixel_logits(name, order)) > 0.1


def in_bf16(name: str, order: tuple[int, ...]) -> tuple[nn.Module, torch.Tensor]:
    """The model in bf16, and its logits from pixels."""
    model = copy.deepcopy(case(name).model).to(torch.bfloat16)
    given = case(name).pixel_arguments(order)
    for key, value in given.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            given[key] = value.to(torch.bfloat16)
    with torch.no_grad():
        return model, model(**given).logits[0].float()


@every_family
def test_int8_costs_less_than_three_times_what_bf16_costs_the_pixel_path(name: str) -> None:
    order = ORDERS[1]
    exact = pixel_logits(name, order)
    rounding = difference(in_bf16(name, order)[1], exact)
    decoder = case(name).decoder
    logits = decoder.logits(decoder.lay_out(case(name).prompt(case(name).stored("int8"), order)))
    assert 0 < difference(logits, exact) < 3 * rounding


@every_family
def test_a_model_in_bf16_reads_caches_in_bf16_as_its_pixels(name: str) -> None:
    model, expected = in_bf16(name, ORDERS[0])
    encoder = PageEncoder(
        model, FAMILIES[name], codec=CODEC, image_processor=None, tokenize=tokenize, image_text=IMAGE_TEXT
    )
    tokens = encoder.encode_pixels([pixels(name, 0)])[0]
    assert tokens.features.dtype == torch.bfloat16
    page = store_page(tokens, codec=CODEC, image_token=IMAGE, format="bf16")
    decoder = PageDecoder(model, FAMILIES[name], codec=CODEC)
    logits = decoder.logits(decoder.lay_out([BEFORE, page, QUESTION]))
    assert difference(logits, expected) <= 0.02 * float(expected.abs().max())
    assert len(list(decoder.generate(decoder.read(decoder.lay_out([page, QUESTION])), limit=3))) == 3


@every_family
def test_questions_on_copies_of_one_context_do_not_disturb_each_other(name: str) -> None:
    decoder = case(name).decoder
    first, second = [40, 41, 42, 43], [60, 61, 62]
    alone = []
    for question in (first, second):
        layout = decoder.lay_out([*case(name).prompt(case(name).stored(), ORDERS[1])[:-1], question])
        alone.append(list(decoder.generate(decoder.read(layout), limit=STEPS)))
    pages = decoder.lay_out(case(name).prompt(case(name).stored(), ORDERS[1])[:-1])
    context = decoder.read(pages)
    copies = [context.copy(), context.copy()]
    answers = []
    for question, read in zip((first, second), copies, strict=True):
        decoder.read(decoder.lay_out([question], start=read.next_position), read)
        answers.append(decoder.generate(read, limit=STEPS))
    interleaved = list(zip(*answers, strict=True))  # one token of each in turn
    assert [list(answer) for answer in zip(*interleaved, strict=True)] == alone


@every_family
def test_a_context_that_goes_back_answers_the_next_question_as_a_fresh_one(name: str) -> None:
    decoder = case(name).decoder
    context = decoder.read(decoder.lay_out(case(name).prompt(case(name).stored(), ORDERS[1])[:-1]))
    mark = context.mark()
    questions = [[60, 61, 62], [40, 41, 42, 43], [60, 61, 62]]
    found = []
    decoder.read(decoder.lay_out([[70, 71]], start=context.next_position), context)
    decoder.rewind(context, mark)  # of a question that nobody waited to have answered
    for question in questions:
        decoder.read(decoder.lay_out([question], start=context.next_position), context)
        found.append((context.logits, list(decoder.generate(context, limit=STEPS))))
        decoder.rewind(context, mark)
    assert found[0][1] == found[2][1]
    assert difference(found[0][0], found[2][0]) <= EXACT
    assert found[1][1] == pixel_answer(name, ORDERS[1])[0]


@pytest.mark.parametrize("name", ["deepseek_vl", "idefics3"])
def test_the_vision_tower_is_what_the_stand_in_stands_for(name: str) -> None:
    """The proof that the runs above would have failed, had they touched a pixel."""
    model = case(name).model
    with without_vision(model, FAMILIES[name].decoder):
        assert any(isinstance(module, Forbidden) for module in model.modules())
        with pytest.raises(AssertionError, match="a vision module ran"):
            model.model.get_image_features(**pixels(name, 0))
