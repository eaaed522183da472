"""Owns pages that were read once and are asked about many times: each question costs only its own tokens.

`read_pages` reads them all at once, every page seeing those before it (full attention). `join_pages` puts together
what was read of each page alone (block attention): faster, and approximate.
"""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from compressor.said import Said
from compressor.vlm.answer import ANSWER_TOKENS
from compressor.vlm.blocks import Block, assemble, read_block
from compressor.vlm.choose import Chooser, greedy
from compressor.vlm.decode import Context, PageDecoder
from compressor.vlm.page import PageCache
from compressor.vlm.prompt import prompt_parts, stream_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class OpenedPages:
    """A context that holds pages, ready for a question. One question at a time."""

    def __init__(
        self, decoder: PageDecoder, tokenizer: "PreTrainedTokenizerBase", pages: Sequence[PageCache], context: Context
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._pages = tuple(pages)
        self._context = context
        self._mark = context.mark()
        self._answering = False

    @property
    def tokens(self) -> int:
        """Tokens of context that the pages occupy."""
        return self._mark.tokens

    def tail(self, question: str) -> Sequence[int]:
        """The tokens that are read for a question: what stands after the last page."""
        tail = prompt_parts(self._tokenizer, self._decoder.family, self._pages, question)[-1]
        assert not isinstance(tail, PageCache), "a question stands after the pages"
        return tail

    def ask(self, question: str, *, limit: int = ANSWER_TOKENS, choose: Chooser = greedy) -> Said:
        """The answer in pieces, as it is made -> whether it is cut off at the limit. What is not taken is not made.

        Raises ContextTooLong; ValueError while another answer is neither taken to its end nor closed.
        """
        if self._answering:
            raise ValueError("these pages are answering another question: take or close that answer first")
        tail = self.tail(question)
        context = self._context
        self._answering = True
        try:
            self._decoder.read(self._decoder.lay_out([tail], start=context.next_position), context)
            tokens = self._decoder.generate(context, limit=limit, choose=choose)
            made = count()
            yield from stream_text(self._tokenizer, (token for token, _ in zip(tokens, made, strict=False)))
            return next(made) == limit
        finally:
            self._decoder.rewind(context, self._mark)
            self._answering = False


def read_pages(
    decoder: PageDecoder,
    tokenizer: "PreTrainedTokenizerBase",
    pages: Sequence[PageCache],
    *,
    chunk: int | None = None,
) -> OpenedPages:
    """Reads pages with full attention. Raises UnknownCodec, ContextTooLong, DeviceFull; ValueError for no pages."""
    if not pages:
        raise ValueError("there are no pages to read")
    before = prompt_parts(tokenizer, decoder.family, pages, "")[:-1]
    return OpenedPages(decoder, tokenizer, pages, decoder.read(decoder.lay_out(before), chunk=chunk))


def join_pages(
    decoder: PageDecoder, tokenizer: "PreTrainedTokenizerBase", pages: Sequence[PageCache], blocks: Sequence[Block]
) -> OpenedPages:
    """Puts together a block for each page, and reads the words between them. Block attention: approximate.

    Raises ValueError where blocks and pages differ in number; ModelError for a family without blocks; UnknownCodec.
    """
    if not pages or len(pages) != len(blocks):
        raise ValueError(f"{len(blocks)} blocks do not stand for {len(pages)} pages")
    parts = prompt_parts(tokenizer, decoder.family, pages, "")[:-1]
    waiting = iter(blocks)
    joined = [next(waiting) if isinstance(part, PageCache) else read_block(decoder, [part]) for part in parts if part]
    return OpenedPages(decoder, tokenizer, pages, assemble(decoder, joined))
