"""Owns the choice of the next token from a decoder's logits."""

from collections.abc import Callable

import torch
from torch import Tensor

Chooser = Callable[[Tensor], int]  # logits (vocabulary,) float32 -> a token's id


def greedy(logits: Tensor) -> int:
    """The likeliest token."""
    return int(logits.argmax())


def sampled(*, temperature: float, top_p: float = 1.0, seed: int = 0) -> Chooser:
    """Draws a token from the likeliest ones that together reach `top_p`; the same seed draws the same tokens.

    Raises ValueError for a temperature that is not above 0 or a top_p outside (0, 1].
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}; for the likeliest token use greedy")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> int:
        shares, order = (logits.float().cpu() / temperature).softmax(-1).sort(descending=True)
        shares[shares.cumsum(-1) - shares >= top_p] = 0  # what comes after the token that reaches top_p
        return int(order[torch.multinomial(shares, 1, generator=generator)])

    return choose
