"""Owns entropy coding: bytes of a cache as zstd frames, where that is shorter.

A native token's first 7/8 are its cells' own numbers, the same wherever a glyph stands. In a frame those of all
tokens come first, then what cells share: the own ones repeat as letters do, and their runs go on from token to token.
"""

import numpy as np
import zstandard
from numpy.typing import NDArray

ZSTD_LEVEL = 15  # half a millisecond a chunk of native-40; higher ones give nothing more
OWN_SHARE = 7 / 8  # of a native token


def code(plain: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bytes (size,) as they are stored, (bytes,)."""
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(plain.tobytes())
    return np.frombuffer(frame, np.uint8) if len(frame) < plain.size else plain


def decode(stored: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The inverse of `code`: (size,). Raises ValueError for anything else."""
    if stored.size == size:
        return stored
    try:
        plain = zstandard.ZstdDecompressor().decompress(stored.tobytes(), max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes in place of {size}")
    return np.frombuffer(plain, np.uint8)


def code_tokens(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packed tokens (tokens, stored width) as they are stored, (bytes,)."""
    parts = np.split(packed, [int(packed.shape[1] * OWN_SHARE)], axis=1)
    frame = code(np.concatenate([part.ravel() for part in parts]))
    return frame if frame.size < packed.size else packed.ravel()


def decode_tokens(stored: NDArray[np.uint8], tokens: int, width: int) -> NDArray[np.uint8]:
    """The inverse of `code_tokens`: (tokens, stored width). Raises ValueError for anything else."""
    if stored.size == tokens * width:
        return stored.reshape(tokens, width)
    parts = np.split(decode(stored, tokens * width), [tokens * int(width * OWN_SHARE)])
    return np.concatenate([part.reshape(tokens, -1) for part in parts], axis=1)
