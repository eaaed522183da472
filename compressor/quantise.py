"""Owns the step from float tokens to levels and back.

Tokens come within a format's reach, so one fixed step serves every token and no scale need be stored per row; the
format's name fixes it. Where numbers have fewer than four bits, several digits share one stored number.
"""

import torch
from torch import Tensor

from compressor.formats import SHARED, Format


def quantise(tokens: Tensor, format: Format) -> Tensor:
    """Float tokens (..., width) -> uint8 levels (..., width), clamped to the format's range."""
    half = format.levels / 2
    return (tokens / format.step + half).floor().clamp(0, format.levels - 1).to(torch.uint8)


def dequantise(levels: Tensor, format: Format) -> Tensor:
    """uint8 levels -> float32 tokens, each at the middle of its step."""
    return (levels.float() - (format.levels - 1) / 2) * format.step


def store(tokens: Tensor, digits: int) -> Tensor:
    """Float tokens (..., digits * width) -> uint8 levels (..., width) of int4; neighbours share a level."""
    levels = quantise(tokens, SHARED[digits])
    if digits == 1:
        return levels
    base = SHARED[digits].levels
    places = torch.tensor([base**place for place in range(digits)], dtype=torch.uint8, device=tokens.device)
    shared: Tensor = (levels.unflatten(-1, (-1, digits)) * places).sum(-1, dtype=torch.uint8)
    return shared


def split(levels: Tensor, digits: int) -> Tensor:
    """uint8 levels (..., width) of int4 -> the digits that share them, uint8 (..., digits * width)."""
    if digits == 1:
        return levels
    bits = (SHARED[digits].levels - 1).bit_length()
    shifts = torch.arange(0, digits * bits, bits, dtype=torch.uint8, device=levels.device)
    return ((levels[..., None] >> shifts) & (SHARED[digits].levels - 1)).flatten(-2)


def recall(levels: Tensor, digits: int) -> Tensor:
    """uint8 levels (..., width) of int4 -> float32 tokens (..., digits * width): the inverse of `store`."""
    return dequantise(split(levels, digits), SHARED[digits])


def through(tokens: Tensor, format: Format) -> Tensor:
    """What a reader will see of these tokens; the gradient passes straight through."""
    return tokens + (dequantise(quantise(tokens, format), format) - tokens).detach()
