"""Owns attention over texts laid end to end, each of which sees itself only.

On a CPU torch's kernel takes the exponentials of a row 16 at a time, and what is left over one by one: of 47 keys it
takes twice the time of 48. So a text is shown a few keys more, of its neighbours, which are masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from compressor.device import rounded

STEP_TOKENS = 16  # exponentials taken at once


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text and the keys that it is shown lie in its batch."""

    text: slice
    keys: slice
    mask: Tensor | None  # (1, keys) -inf outside the text; None where it is shown itself only


def places_of(lengths: Sequence[int], tokens: int, like: Tensor) -> list[Place]:
    """The places of texts of those lengths in a batch of `tokens`; masks are of the device and dtype of `like`."""
    places, start = [], 0
    for length in lengths:
        text = slice(start, start + length)
        width = rounded(length, STEP_TOKENS)
        if not like.is_cpu or width == length or width > tokens:
            places.append(Place(text, text, None))
        else:
            first = min(start, tokens - width)
            mask = like.new_full((1, width), -inf)
            mask[:, start - first : start - first + length] = 0
            places.append(Place(text, slice(first, first + width), mask))
        start += length
    return places


def attend(qkv: Tensor, places: Sequence[Place], heads: int) -> Tensor:
    """(tokens, 3 * width) -> (tokens, width): queries, keys and values of all heads to what they attend to.

    The places cover the tokens from the first on; padding behind them attends to nothing and becomes 0.
    """
    tokens, width = qkv.shape[0], qkv.shape[1] // 3
    split = qkv.view(tokens, 3, heads, width // heads).permute(1, 2, 0, 3)  # (3, heads, tokens, width of a head)
    attended = [_attend_one(split, place).transpose(0, 1) for place in places]
    padding = tokens - places[-1].text.stop
    if padding:
        attended.append(qkv.new_zeros(padding, heads, width // heads))
    return torch.cat(attended).reshape(tokens, width)


def _attend_one(split: Tensor, place: Place) -> Tensor:
    """(3, heads, tokens, width) -> (heads, tokens of the text, width)."""
    query = split[:1, :, place.text]
    key, value = split[1:, None, :, place.keys]
    mask = None if place.mask is None else place.mask.expand(query.shape[2], -1)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask)[0]
