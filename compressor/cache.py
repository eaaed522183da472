"""Owns the noun `Cache`: the stored tokens of one chunk under one codec, with all that makes them exact.

Knows no torch, so that reading rows and files stays cheap.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cache:
    """One chunk's tokens as stored; immutable."""

    codec: str  # fingerprint, "native-20@0123456789ab"
    format: str  # of the levels, a name in formats.FORMATS
    levels: NDArray[np.uint8]  # (tokens, width)
    counts: NDArray[np.uint8]  # (strips,) characters in each strip of 56 cells
    residual: bytes
    digest: str  # sha256 of the text's UTF-8, hex
    raw_char_accuracy: float  # share of characters read right before the residual

    @property
    def characters(self) -> int:
        """Characters of the chunk's text."""
        return int(self.counts.sum(dtype=np.int64))

    @property
    def vision_tokens(self) -> int:
        """Decoder positions that the cache occupies; the native codec puts no separators between tokens."""
        return len(self.levels)


@dataclass(frozen=True, slots=True)
class Reading:
    """A range of characters wanted from a cache."""

    cache: Cache
    start: int
    end: int


def text_digest(text: str) -> str:
    """sha256 of the text's UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
