"""Owns a model that answers questions about pages: planned before it is loaded, and asked again without reading again.

Only the language model is loaded, when it is first asked. Keys and values of the pages that a question was about are
kept under a budget of bytes: the same pages in the same order cost a further question only its own tokens.
"""

import logging
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from compressor.device import choose_device, free_memory, has_native_bf16
from compressor.errors import ContextTooLong
from compressor.vlm.blocks import Block, read_block
from compressor.vlm.codec import PageCodec
from compressor.vlm.kept import Kept
from compressor.vlm.load import load_decoder, load_tokenizer
from compressor.vlm.memory import MemoryPlan, Shape, check_memory, largest_context, plan_memory
from compressor.vlm.opened import OpenedPages, join_pages, read_pages
from compressor.vlm.page import PageCache
from compressor.vlm.prompt import count_prompt
from compressor.vlm.shape import read_shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compressor.vlm.decode import PageDecoder

log = logging.getLogger(__name__)

Attention = Literal["full", "block"]


@dataclass(frozen=True, slots=True)
class PageKey:
    """A stored page: equal keys are equal pages."""

    blob: str
    entry: str


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Positions that were read for a question; those of pages that were read before are not among them."""

    tokens: int


class PageReader:
    """One model for one process: its decoder, its tokenizer, and what is kept of pages. Safe for several threads."""

    def __init__(
        self, codec: PageCodec, *, device: str = "auto", kept_bytes: int = 0, attention: Attention = "full"
    ) -> None:
        self.codec = codec
        self.attention: Attention = attention
        self._device = choose_device(device)
        self._kept: Kept[OpenedPages | Block] = Kept(kept_bytes)
        self._decoder: PageDecoder | None = None
        self._lock = threading.Lock()

    @cached_property
    def shape(self) -> Shape:
        """What decides the memory of the language model, from its settings alone."""
        return read_shape(self.codec.directory)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's own."""
        return load_tokenizer(self.codec.directory)

    def prompt_tokens(self, question: str, pages: int, image_token: int) -> int:
        """Tokens of a prompt around so many pages, the question's included."""
        return count_prompt(self.tokenizer, self.codec.family, question, pages=pages, image_token=image_token)

    def room(self, *, held: int = 0) -> int:
        """Tokens of a context, answer included, that fit the model's positions and the memory that is free.

        `held` are the bytes of page caches beside it. Raises DeviceFull where not even the weights fit.
        """
        most = largest_context(self.shape, self._available(held), number_bytes=self._number_bytes, apart=self._apart)
        return most or self.plan(1, held=held).tokens

    def plan(self, tokens: int, *, held: int = 0) -> MemoryPlan:
        """The memory of a context of so many tokens, answer included, beside page caches of `held` bytes.

        Raises ContextTooLong, DeviceFull.
        """
        if tokens > self.shape.max_tokens:
            raise ContextTooLong(
                f"{tokens:,} tokens do not fit the context of {self.shape.max_tokens:,} tokens of "
                f"{self.codec.family.label}: ask about fewer pages"
            )
        return check_memory(
            self.shape, tokens, self._available(held), number_bytes=self._number_bytes, apart=self._apart
        )

    def write(
        self,
        keys: Sequence[PageKey],
        load: Callable[[], Sequence[PageCache]],
        question: str,
        *,
        plan: MemoryPlan,
        limit: int,
    ) -> Generator[Prefilled | str, None, bool]:
        """How much had to be read, then the answer in pieces -> whether it is cut off at the limit.

        `load` is called for pages that were not kept. One answer at a time; others wait for it.
        Raises ModelError, UnknownCodec, ContextTooLong, DeviceFull.
        """
        with self._lock:
            opened, prefilled = self._open(keys, load, plan)
            yield Prefilled(prefilled + len(opened.tail(question)))
            return (yield from opened.ask(question, limit=limit))

    @property
    def sources(self) -> frozenset[str]:
        """The blobs of all pages that something is kept of."""
        return self._kept.sources

    def forget(self, gone: Collection[str]) -> int:
        """Drops what is kept of pages in these blobs: their documents were deleted, or made anew."""
        return self._kept.forget(lambda blob: blob in gone)

    def _open(
        self, keys: Sequence[PageKey], load: Callable[[], Sequence[PageCache]], plan: MemoryPlan
    ) -> tuple[OpenedPages, int]:
        """The pages read, and how many positions were read for it."""
        key = tuple(keys)
        kept = self._kept.get(key)
        if isinstance(kept, OpenedPages):
            return kept, 0
        if plan.total > self._available() - self._kept.size:
            self._kept.clear()
        pages = load()
        decoder = self._load()
        opened, prefilled = self._joined(decoder, keys, pages) if self.attention == "block" else (None, 0)
        if opened is None:
            opened = read_pages(decoder, self.tokenizer, pages)
            prefilled = opened.tokens
        size = self._kv_bytes(opened.tokens) + sum(page.stored_bytes for page in pages)
        self._kept.put(key, opened, size=size, sources={one.blob for one in keys})
        return opened, prefilled

    def _joined(
        self, decoder: "PageDecoder", keys: Sequence[PageKey], pages: Sequence[PageCache]
    ) -> tuple[OpenedPages, int]:
        """Pages read apart, each at most once as long as it is kept."""
        blocks, prefilled = [], 0
        for key, page in zip(keys, pages, strict=True):
            block = self._kept.get(key)
            if not isinstance(block, Block):
                block = read_block(decoder, [page])
                prefilled += block.tokens
                self._kept.put(key, block, size=block.stored_bytes, sources={key.blob})
            blocks.append(block)
        opened = join_pages(decoder, self.tokenizer, pages, blocks)
        return opened, prefilled + opened.tokens - sum(block.tokens for block in blocks)

    def _load(self) -> "PageDecoder":
        if self._decoder is None:
            log.info("decoder loading", extra={"decoder": self.codec.name, "codec": self.codec.model})
            self._decoder = load_decoder(self.codec.directory, device=self._device)
        return self._decoder

    @property
    def _number_bytes(self) -> int:
        return 2 if has_native_bf16(self._device) else 4

    @property
    def _apart(self) -> bool:
        """Whether pages are read apart; those of a question then lie beside its context until it is whole."""
        return self.attention == "block"

    def _available(self, held: int = 0) -> int:
        """Bytes that are free, could be freed, or hold the weights already; page caches never are on a GPU."""
        loaded = self.shape.parameters * self._number_bytes if self._decoder is not None else 0
        return free_memory(self._device) + self._kept.size + loaded - (held if self._device == "cpu" else 0)

    def _kv_bytes(self, tokens: int) -> int:
        return plan_memory(self.shape, tokens, number_bytes=self._number_bytes).kv
