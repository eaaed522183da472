"""Owns page blocks: keys and values of pages read apart, moved to their places and put together.

Every page of an assembled context was read without the others (block attention): approximate against reading all
pages at once, but exactly what one pass under a block mask computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import ModelError, UnknownCodec
from compressor.vlm.decode import Context, PageDecoder
from compressor.vlm.layout import Part
from compressor.vlm.rotate import check_movable, move


@dataclass(frozen=True, slots=True)
class Block:
    """Keys and values of a stretch of a prompt, by layer, as the model keeps them where it was read."""

    codec: str
    keys: tuple[Tensor, ...]  # (1, heads, tokens, width); latents of those models that keep them
    values: tuple[Tensor, ...]  # the same, of their own width and heads
    start: int  # position that its first token was read at
    span: int  # positions that it takes up

    @property
    def tokens(self) -> int:
        """Tokens of context that it takes up."""
        return self.keys[0].shape[-2]

    @property
    def stored_bytes(self) -> int:
        """Of keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))


def read_block(
    decoder: PageDecoder, parts: Sequence[Part], *, under: Sequence[int] = (), chunk: int | None = None
) -> Block:
    """Reads a stretch of a prompt by itself, or under a prefix that is then cut off.

    A prefix such as the opening of a chat makes pages more useful, but the distance to it is not kept when the block
    moves: with one, an assembled context is no longer what a block mask gives.
    Raises ModelError for a model whose blocks cannot be moved, and as `PageDecoder.read`.
    """
    check_movable(decoder)
    layout = decoder.lay_out([under, *parts])
    context = decoder.read(layout, chunk=chunk)
    keys, values = zip(*[_kept(layer) for layer in context.kv.layers], strict=True)
    if any(tensor.shape[-2] != len(layout) for tensor in keys):
        raise ModelError(f"this {decoder.family.label} model keeps only a window of what it reads: it has no blocks")
    cut = len(under)
    return Block(
        codec=decoder.codec,
        keys=tuple(tensor[..., cut:, :].clone() for tensor in keys),
        values=tuple(tensor[..., cut:, :].clone() for tensor in values),
        start=cut,
        span=layout.next_position - cut,
    )


@torch.no_grad()
def assemble(decoder: PageDecoder, blocks: Sequence[Block]) -> Context:
    """A context that holds blocks one after another, for a question to be read next. The blocks can be used again.

    Raises UnknownCodec for a block of another model, ValueError for none.
    """
    if not blocks:
        raise ValueError("there is nothing to assemble: no blocks")
    for block in blocks:
        if block.codec != decoder.codec:
            raise UnknownCodec(f"this block was read by {block.codec}; the decoder at hand is {decoder.codec}")
    starts = [sum(block.span for block in blocks[:number]) for number in range(len(blocks))]
    context = decoder.new_context(sum(block.tokens for block in blocks))
    for number in range(len(blocks[0].keys)):
        layers = [
            move(decoder, block.keys[number], block.values[number], start - block.start)
            for block, start in zip(blocks, starts, strict=True)
        ]
        keys, values = zip(*layers, strict=True)
        context.kv.update(torch.cat(keys, -2), torch.cat(values, -2), number)
    context.tokens = sum(block.tokens for block in blocks)
    context.next_position = sum(block.span for block in blocks)
    return context


def _kept(layer: object) -> tuple[Tensor, Tensor]:
    """Keys and values of a layer of a cache; Unlimited-OCR keeps those of the prompt apart from those of an answer."""
    prompt: tuple[Tensor | None, Tensor | None] = (
        getattr(layer, "prefill_keys", None),
        getattr(layer, "prefill_values", None),
    )
    if prompt[0] is not None and prompt[1] is not None:
        return prompt[0], prompt[1]
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    assert isinstance(keys, Tensor), "a layer that was read holds keys"
    assert isinstance(values, Tensor), "and values"
    return keys, values
