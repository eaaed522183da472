"""Owns a whole question: pages and words into a decoder's context, the answer out as text."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from compressor.vlm.choose import Chooser, greedy
from compressor.vlm.decode import PageDecoder
from compressor.vlm.page import PageCache
from compressor.vlm.prompt import prompt_parts, stream_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER_TOKENS = 512


def stream_answer(
    decoder: PageDecoder,
    tokenizer: "PreTrainedTokenizerBase",
    pages: Sequence[PageCache],
    question: str,
    *,
    limit: int = ANSWER_TOKENS,
    choose: Chooser = greedy,
) -> Iterator[str]:
    """The answer to a question about pages, in pieces as it is made. Raises UnknownCodec, ContextTooLong."""
    layout = decoder.lay_out(prompt_parts(tokenizer, decoder.family, pages, question))
    context = decoder.read(layout)
    yield from stream_text(tokenizer, decoder.generate(context, limit=limit, choose=choose))
