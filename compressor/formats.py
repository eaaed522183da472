"""Owns the storage formats of tokens: how many levels, how far apart, how packed. Knows no torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Format:
    """A storage format: `levels` values, `step` apart, symmetric about zero."""

    name: str
    levels: int
    step: float


# int4's step is near the optimum for a normal variable (Max 1960: 0.335); the codec is trained through it.
INT4 = Format("int4", 16, 0.34)
INT8 = Format("int8", 256, 1 / 32)
# Two or four numbers of fewer bits may share one of four: their steps are the optimum too (Max 1960: 0.996, 1.596).
SHARED = {1: INT4, 2: Format("int2", 4, 0.996), 4: Format("int1", 2, 1.596)}  # digits -> format of each
FORMATS = {format.name: format for format in (INT4, INT8)}


def pack(levels: NDArray[np.uint8], format: Format) -> NDArray[np.uint8]:
    """Levels as stored: int4 puts two in a byte, the first in the high half. Width must be even."""
    if format.levels > 16:
        return levels
    return ((levels[..., 0::2] << 4) | levels[..., 1::2]).astype(np.uint8)


def packed_width(width: int, format: Format) -> int:
    """Bytes that `pack` makes of so many levels."""
    return width if format.levels > 16 else width // 2


def unpack(stored: NDArray[np.uint8], format: Format) -> NDArray[np.uint8]:
    """The inverse of `pack`."""
    if format.levels > 16:
        return stored
    return np.stack([stored >> 4, stored & 15], axis=-1).reshape(*stored.shape[:-1], 2 * stored.shape[-1])


def level_numbers(format: Format) -> NDArray[np.float16]:
    """The number that each level stands for, (levels,): the middle of its step."""
    levels = np.arange(format.levels)
    return ((levels - (format.levels - 1) / 2) * format.step).astype(np.float16)
