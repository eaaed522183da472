"""Owns page blocks: keys and values of pages read apart, moved to their places and put together.

Every page of an assembled context was read without the others (block attention): approximate against reading all
pages at once, but exactly what one pass under a block mask computes. Decoders here rotate keys by position before
they keep them, and rotations add up; so a block moves by rotating its keys on, by the difference of positions.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import ModelError, UnknownCodec
from compressor.vlm.decode import Context, PageDecoder
from compressor.vlm.layout import Part

_FIXED_ROPES = ("default", "linear", "yarn", "llama3", "proportional")  # frequencies do not depend on the length


@dataclass(frozen=True, slots=True)
class Block:
    """Keys and values of a stretch of a prompt, by layer; not rotated on from where it was read."""

    codec: str
    keys: tuple[Tensor, ...]  # (1, heads, tokens, width)
    values: tuple[Tensor, ...]
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
        keys = [_moved(decoder, block.keys[number], s - block.start) for block, s in zip(blocks, starts, strict=True)]
        values = [block.values[number].to(decoder.device) for block in blocks]
        context.kv.update(torch.cat(keys, -2), torch.cat(values, -2), number)
    context.tokens = sum(block.tokens for block in blocks)
    context.next_position = sum(block.span for block in blocks)
    return context


def check_movable(decoder: PageDecoder) -> None:
    """Raises ModelError for a model whose blocks cannot be moved exactly."""
    if decoder.family.page_kv != "shifted":
        raise ModelError(f"{decoder.family.label} keeps a running state: its pages cannot be put together from blocks")
    rope = decoder.config.get_text_config().rope_parameters or {}
    kind = rope.get("rope_type", "default")
    if kind not in _FIXED_ROPES:
        raise ModelError(
            f"positions of this {decoder.family.label} model are of type {kind!r}, which change with the length of the "
            f"context: its pages cannot be put together from blocks"
        )


def _moved(decoder: PageDecoder, keys: Tensor, distance: int) -> Tensor:
    """Keys (1, heads, tokens, width) rotated on by a number of positions, by the model's functions, in float32."""
    keys = keys.to(decoder.device)
    if not distance:
        return keys
    rotary = decoder.language.rotary_emb
    rotate = sys.modules[type(decoder.language).__module__].apply_rotary_pos_emb
    positions = torch.full((3, 1, 1) if decoder.family.grid else (1, 1), distance, device=decoder.device)
    wide = keys.float()
    cosines, sines = rotary(wide, positions)
    scale = getattr(rotary, "attention_scaling", 1.0) or 1.0  # of YaRN: it is in the keys already
    moved: Tensor = rotate(wide, wide, cosines / scale, sines / scale)[1]
    return moved.to(keys.dtype)


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
