"""Owns the step from float tokens to stored integers and back.

Tokens come normalised (mean 0, variance 1 over their width), so one fixed step serves every token and
no scale need be stored per row; the format's name fixes it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Format:
    """A storage format: `levels` values, `step` apart, symmetric about zero."""

    name: str
    levels: int
    step: float


# int4's step is near the optimum for a normal variable (Max 1960: 0.335); the codec is trained through it.
INT4 = Format("int4", 16, 0.34)
INT8 = Format("int8", 256, 1 / 32)
FORMATS = {format.name: format for format in (INT4, INT8)}


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


def value_table(format: Format) -> NDArray[np.float16]:
    """The numbers that a stored byte stands for: (256, 2) float16 for int4, (256, 1) for int8."""
    stored = np.arange(256, dtype=np.uint8)[:, None]
    return dequantise(torch.from_numpy(unpack(stored, format)), format).numpy().astype(np.float16)


def pack(levels: NDArray[np.uint8], format: Format) -> NDArray[np.uint8]:
    """Levels as stored: int4 puts two in a byte, the first in the high half. Width must be even."""
    if format.levels > 16:
        return levels
    return ((levels[..., 0::2] << 4) | levels[..., 1::2]).astype(np.uint8)


def unpack(stored: NDArray[np.uint8], format: Format) -> NDArray[np.uint8]:
    """The inverse of `pack`."""
    if format.levels > 16:
        return stored
    return np.stack([stored >> 4, stored & 15], axis=-1).reshape(*stored.shape[:-1], 2 * stored.shape[-1])
