"""A decoder keeps to its context, its stop tokens and its placeholder."""

import pytest
import torch

from compressor.errors import ContextTooLong
from compressor.vlm.choose import greedy, sampled
from compressor.vlm.decode import Context, PageDecoder
from tests.compressor.vlm.cases import ORDERS, case
from tests.compressor.vlm.tiny import IMAGE, VIDEO


@pytest.fixture
def decoder() -> PageDecoder:
    return case("qwen3_vl").decoder


def read(decoder: PageDecoder) -> Context:
    return decoder.read(decoder.lay_out(case("qwen3_vl").prompt(case("qwen3_vl").stored(), ORDERS[0])))


def test_a_context_that_does_not_fit_is_refused_with_the_numbers(decoder: PageDecoder) -> None:
    decoder.max_tokens = 20
    layout = decoder.lay_out([[20] * 21])
    with pytest.raises(ContextTooLong, match="21 tokens do not fit the context of 20 tokens of Qwen3-VL: ask about"):
        decoder.read(layout)
    context = decoder.read(decoder.lay_out([[20] * 19]))
    answer = decoder.generate(context, limit=5)
    assert len([next(answer), next(answer)]) == 2
    with pytest.raises(ContextTooLong, match="21 tokens do not fit the context of 20 tokens of Qwen3-VL"):
        next(answer)


def test_an_answer_stops_before_its_stop_token(decoder: PageDecoder) -> None:
    whole = list(decoder.generate(read(decoder), limit=6))
    stop = whole[2]
    assert list(decoder.generate(read(decoder), limit=6, stop=[stop])) == whole[: whole.index(stop)]
    decoder.stop_tokens = (stop,)
    assert list(decoder.generate(read(decoder), limit=6)) == whole[: whole.index(stop)]


def test_an_answer_never_holds_a_placeholder(decoder: PageDecoder) -> None:
    context = read(decoder)
    context.logits[[IMAGE, VIDEO]] = 1e9
    assert next(decoder.generate(context, limit=1)) not in (IMAGE, VIDEO)
    assert context.logits.argmax() in (IMAGE, VIDEO)


def test_tokens_come_one_by_one(decoder: PageDecoder) -> None:
    context = read(decoder)
    before = context.tokens
    answer = decoder.generate(context, limit=100)
    next(answer)
    assert context.tokens == before
    next(answer)
    assert context.tokens == before + 1


def test_nothing_is_read_after_a_part_of_an_answer(decoder: PageDecoder) -> None:
    context = read(decoder)
    next(decoder.generate(context, limit=1))
    with pytest.raises(ValueError, match="this context holds a part of an answer; copy it before it answers"):
        decoder.read(decoder.lay_out([[5]], start=context.next_position), context)


@pytest.mark.parametrize(("name", "running"), [("qwen3_5", 3), ("lfm2_vl", 1), ("qwen3_vl", 0), ("unlimited_ocr", 0)])
def test_a_mark_holds_the_running_states_alone(name: str, running: int) -> None:
    decoder = case(name).decoder
    mark = decoder.read(decoder.lay_out([[20] * 5])).mark()
    assert len(mark.states) == running
    assert not any(hasattr(state, "keys") for state in mark.states.values())


def test_an_empty_layout_is_refused(decoder: PageDecoder) -> None:
    with pytest.raises(ValueError, match="there is nothing to read: the layout is empty"):
        decoder.read(decoder.lay_out([]))


def test_sampling_repeats_with_its_seed_and_keeps_to_the_likeliest() -> None:
    logits = torch.tensor([2.0, 1.9, 1.8, -9.0])
    draws = [[sampled(temperature=1.0, seed=seed)(logits) for seed in range(40)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert set(draws[0]) == {0, 1, 2}
    assert {sampled(temperature=1.0, top_p=0.3, seed=seed)(logits) for seed in range(40)} == {greedy(logits)}
    assert {sampled(temperature=0.01, seed=seed)(logits) for seed in range(40)} == {0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0, not 0; for the likeliest token use greedy"),
        ({"temperature": 1, "top_p": 0}, "top_p must be above 0 and at most 1, not 0"),
        ({"temperature": 1, "top_p": 1.5}, "top_p must be above 0 and at most 1, not 1.5"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampled(**settings)
