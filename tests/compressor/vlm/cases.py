"""One tiny model of each family, three pages of it, and what the model itself says of their pixels."""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from compressor.vlm.decode import PageDecoder
from compressor.vlm.encode import PageEncoder
from compressor.vlm.families import FAMILIES
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.rows import RowFormat
from tests.compressor.vlm.marks import IMAGE_TEXT, tokenize
from tests.compressor.vlm.tiny import GRID, IMAGE, build, pixels, together

CODEC = "hf:tiny@0123456789ab"
BEFORE, QUESTION = [1, 30], [40, 41, 42, 43]
ORDERS = ((0,), (2, 0, 1))  # one page; three pages, not in the order that they were encoded in
STEPS = 8


class Forbidden(nn.Module):
    """Stands where a vision module was."""

    def forward(self, *args: object, **kwargs: object) -> None:
        raise AssertionError("a vision module ran")


@contextmanager
def without_vision(model, decoder: str):
    """The model with all but its language model replaced by modules that raise."""
    kept = {name: child for name, child in model.model.named_children() if name != decoder}
    for name in kept:
        setattr(model.model, name, Forbidden())
    try:
        yield
    finally:
        for name, child in kept.items():
            setattr(model.model, name, child)


@dataclass(frozen=True)
class Case:
    name: str
    model: nn.Module
    tokens: tuple[PageTokens, ...]

    @property
    def family(self):
        return FAMILIES[self.name]

    @property
    def decoder(self) -> PageDecoder:
        return PageDecoder(self.model, self.family, codec=CODEC)

    def stored(self, format: RowFormat = "f32") -> list[PageCache]:
        return [store_page(page, codec=CODEC, image_token=IMAGE, format=format) for page in self.tokens]

    def prompt(self, pages: Sequence[PageCache], order: Sequence[int]) -> list:
        return [BEFORE, *[pages[page] for page in order], QUESTION]

    def pixel_arguments(self, order: Sequence[int]) -> dict:
        ids = self.decoder.lay_out(self.prompt(self.stored(), order)).ids[None]
        given = {"input_ids": ids, **together(self.name, [pixels(self.name, page) for page in order])}
        if self.name in GRID:
            given["mm_token_type_ids"] = (ids == IMAGE).int()
            self.model.model.rope_deltas = None
        return given


@cache
def case(name: str) -> Case:
    model = build(name)
    encoder = PageEncoder(
        model, FAMILIES[name], codec=CODEC, image_processor=None, tokenize=tokenize, image_text=IMAGE_TEXT
    )
    return Case(name, model, tuple(encoder.encode_pixels([pixels(name, page)])[0] for page in range(3)))


@cache
def pixel_logits(name: str, order: tuple[int, ...]) -> Tensor:
    """(tokens, vocabulary) of the model's own forward pass over pixels."""
    with torch.no_grad():
        return case(name).model(**case(name).pixel_arguments(order)).logits[0]


@cache
def pixel_answer(name: str, order: tuple[int, ...]) -> tuple[list[int], Tensor]:
    """Greedy tokens and their logits (steps, vocabulary), by the model's own generate over pixels."""
    given = case(name).pixel_arguments(order)
    with torch.no_grad():
        made = case(name).model.generate(
            **given,
            max_new_tokens=STEPS,
            do_sample=False,
            suppress_tokens=[IMAGE],
            return_dict_in_generate=True,
            output_logits=True,
        )
    return made.sequences[0, given["input_ids"].shape[1] :].tolist(), torch.cat(made.logits)
