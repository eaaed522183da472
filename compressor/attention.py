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
    """How many tokens of a batch, one after the other, ask for one text, and the keys that they are shown."""

    queries: int
    first_key: int
    keys: int
    mask: Tensor | None  # (queries, keys) -inf outside the text; None where they are shown the text only


def places_of(lengths: Sequence[int], tokens: int, like: Tensor) -> list[Place]:
    """The places of texts of those lengths in a batch of `tokens`; masks are of the device and dtype of `like`.

    Padding behind the last text asks with it: so a text that is alone needs no step of its own for the padding.
    """
    places, start = [], 0
    padding = tokens - sum(lengths)
    for index, length in enumerate(lengths):
        queries = length + padding if index == len(lengths) - 1 else length
        width = rounded(length, STEP_TOKENS)
        if not like.is_cpu or width == length or width > tokens:
            places.append(Place(queries, start, length, None))
        else:
            first = min(start, tokens - width)
            mask = like.new_full((1, width), -inf)
            mask[:, start - first : start - first + length] = 0
            places.append(Place(queries, first, width, mask.expand(queries, width)))
        start += length
    return places


def attend(qkv: Tensor, places: Sequence[Place], heads: int) -> Tensor:
    """(tokens, 3 * width) -> (tokens, width): queries, keys and values of all heads to what they attend to.

    What stands for padding behind the last text is some finite number.
    """
    tokens = len(qkv)
    # each (1, heads, tokens, width of a head)
    query, key, value = qkv.view(1, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind()
    attended = [
        scaled_dot_product_attention(
            asking,
            key.narrow(2, place.first_key, place.keys),
            value.narrow(2, place.first_key, place.keys),
            attn_mask=place.mask,
        ).transpose(1, 2)  # (1, queries, heads, width of a head), as it lies in memory
        for place, asking in zip(places, query.split_with_sizes([place.queries for place in places], 2), strict=True)
    ]
    return (attended[0] if len(attended) == 1 else torch.cat(attended, 1)).reshape(tokens, -1)
