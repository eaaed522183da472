"""Pages that were read once answer every question as pages read for it."""

import pytest
import torch

from compressor.errors import ContextTooLong, DeviceFull, ModelError
from compressor.vlm.answer import stream_answer
from compressor.vlm.blocks import assemble, read_block
from compressor.vlm.opened import join_pages, read_pages
from compressor.vlm.prompt import prompt_parts, stream_text
from tests.compressor.vlm.cases import case
from tests.compressor.vlm.marks import CHAT, IMAGE_TEXT, make_tokenizer

QUESTIONS = ["What is the total?", "Who signed it, and when?", "What is the total?"]
NAMES = ["qwen3_vl", "unlimited_ocr", "lfm2_vl", "qwen3_5"]  # the last two keep a running state


@pytest.fixture(scope="module")
def words():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT.replace("PAGE", IMAGE_TEXT)
    return tokenizer


@pytest.mark.parametrize("name", NAMES)
def test_each_answer_is_that_of_pages_read_for_it(name: str, words) -> None:
    decoder, pages = case(name).decoder, case(name).stored()
    opened = read_pages(decoder, words, pages)
    for question in QUESTIONS:
        expected = "".join(stream_answer(decoder, words, pages, question, limit=6))
        assert "".join(opened.ask(question, limit=6)) == expected
    assert opened.tokens > sum(page.positions for page in pages)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_left_in_the_middle_does_no_harm(name: str, words) -> None:
    decoder, pages = case(name).decoder, case(name).stored()
    opened = read_pages(decoder, words, pages)
    expected = list(opened.ask(QUESTIONS[0], limit=6))
    left = opened.ask(QUESTIONS[1], limit=50)
    next(left)
    with pytest.raises(ValueError, match="these pages are answering another question: take or close that answer"):
        next(opened.ask(QUESTIONS[0], limit=6))
    left.close()
    assert list(opened.ask(QUESTIONS[0], limit=6)) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_device_that_fills_up_within_a_layer_does_no_harm(name: str, words, monkeypatch) -> None:
    decoder, pages = case(name).decoder, case(name).stored()
    opened = read_pages(decoder, words, pages)
    expected = list(opened.ask(QUESTIONS[0], limit=6))

    def fill(*given: object, **named: object) -> None:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(decoder.language.layers[1], "forward", fill)
        with pytest.raises(DeviceFull, match="the memory of cpu is too small for this batch: no room"):
            next(opened.ask(QUESTIONS[1]))
    assert list(opened.ask(QUESTIONS[0], limit=6)) == expected


def test_a_question_that_does_not_fit_does_no_harm(words) -> None:
    decoder, pages = case("qwen3_vl").decoder, case("qwen3_vl").stored()
    opened = read_pages(decoder, words, pages)
    expected = list(opened.ask(QUESTIONS[0], limit=6))
    with pytest.raises(ContextTooLong, match="tokens do not fit the context of 4096 tokens of Qwen3-VL"):
        next(opened.ask(5000 * "a"))
    assert list(opened.ask(QUESTIONS[0], limit=6)) == expected


def test_joined_pages_answer_as_their_blocks_assembled(words) -> None:
    decoder, pages = case("qwen3_vl").decoder, case("qwen3_vl").stored()
    blocks = [read_block(decoder, [page]) for page in pages]
    opened = join_pages(decoder, words, pages, blocks)
    parts = prompt_parts(words, decoder.family, pages, QUESTIONS[0])
    context = assemble(decoder, [read_block(decoder, [parts[0]]), *blocks])
    decoder.read(decoder.lay_out([parts[-1]], start=context.next_position), context)
    expected = list(stream_text(words, decoder.generate(context, limit=6)))
    assert list(opened.ask(QUESTIONS[0], limit=6)) == expected
    assert list(opened.ask(QUESTIONS[0], limit=6)) == expected


def test_what_cannot_be_opened_is_refused(words) -> None:
    decoder, pages = case("qwen3_vl").decoder, case("qwen3_vl").stored()
    with pytest.raises(ValueError, match="there are no pages to read"):
        read_pages(decoder, words, [])
    with pytest.raises(ValueError, match="1 blocks do not stand for 3 pages"):
        join_pages(decoder, words, pages, [read_block(decoder, [pages[0]])])
    running = case("lfm2_vl")
    with pytest.raises(ModelError, match="LFM2-VL keeps a running state: its pages cannot be put together from blocks"):
        read_block(running.decoder, [running.stored()[0]])
