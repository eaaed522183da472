"""Owns the step from float tokens to levels and back.

Tokens come normalised (mean 0, variance 1 over their width), so one fixed step serves every token and
no scale need be stored per row; the format's name fixes it.
"""

import torch
from torch import Tensor

from compressor.formats import Format


def quantise(tokens: Tensor, format: Format) -> Tensor:
    """Float tokens (..., width) -> uint8 levels (..., width), clamped to the format's range."""
    half = format.levels / 2
    return (tokens / format.step + half).floor().clamp(0, format.levels - 1).to(torch.uint8)


def dequantise(levels: Tensor, format: Format) -> Tensor:
    """uint8 levels -> float32 tokens, each at the middle of its step."""
    return (levels.float() - (format.levels - 1) / 2) * format.step


def through(tokens: Tensor, format: Format) -> Tensor:
    """What a reader will see of these tokens; the gradient passes straight through."""
    return tokens + (dequantise(quantise(tokens, format), format) - tokens).detach()
