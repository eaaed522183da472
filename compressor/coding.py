"""Owns entropy coding: bytes of a cache as zstd frames, where that is shorter.

A native token's first 7/8 are its cells' own numbers, the same wherever a glyph stands. In a frame those of all
tokens come first, then what cells share: the own ones repeat as letters do, and their runs go on from token to token.
So frames of one rate have much in common, which the rate's dictionary knows: a chunk is too short to learn it from.
A frame names the dictionary that it needs; one that is replaced stays installed under its number.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import local

import numpy as np
import zstandard
from numpy.typing import NDArray

ZSTD_LEVEL = 19
DICTIONARY_BYTES = 112_640  # zstd's own default; twice as much saves 2 % more
DICTIONARIES = Path(__file__).parent / "codec" / "weights"
OWN_SHARE = 7 / 8  # of a native token


class _OfThread(local):
    """Decompressors by the number of their dictionary: one serves one thread at a time, and is dear to make."""

    def __init__(self) -> None:
        self.by_number: dict[int, zstandard.ZstdDecompressor] = {}


_decompressors = _OfThread()


def code(plain: NDArray[np.uint8], codec: str = "") -> NDArray[np.uint8]:
    """Bytes (size,) as they are stored, (bytes,); with the dictionary of a codec, "native-20", if it has one."""
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL, dict_data=_dictionary_of(codec)).compress(plain.tobytes())
    return np.frombuffer(frame, np.uint8) if len(frame) < plain.size else plain


def decode(stored: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The inverse of `code`: (size,). Raises ValueError for anything else."""
    if stored.size == size:
        return stored
    frame = stored.tobytes()
    try:
        number = zstandard.get_frame_parameters(frame).dict_id
        plain = _decompressor(number).decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes in place of {size}")
    return np.frombuffer(plain, np.uint8)


def code_tokens(packed: NDArray[np.uint8], codec: str) -> NDArray[np.uint8]:
    """Packed tokens (tokens, stored width) of a codec, "native-20", as they are stored, (bytes,)."""
    frame = code(_own_first(packed), codec)
    return frame if frame.size < packed.size else packed.ravel()


def decode_tokens(stored: NDArray[np.uint8], tokens: int, width: int) -> NDArray[np.uint8]:
    """The inverse of `code_tokens`: (tokens, stored width). Raises ValueError for anything else."""
    if stored.size == tokens * width:
        return stored.reshape(tokens, width)
    plain, own = decode(stored, tokens * width), int(width * OWN_SHARE)
    packed = np.empty((tokens, width), np.uint8)
    packed[:, :own] = plain[: tokens * own].reshape(tokens, own)
    packed[:, own:] = plain[tokens * own :].reshape(tokens, width - own)
    return packed


def train_dictionary(samples: Sequence[NDArray[np.uint8]]) -> bytes:
    """A dictionary for the packed tokens (tokens, stored width) of chunks like these; a thousand or so are needed."""
    plain: list[bytes | bytearray | memoryview] = [_own_first(packed).tobytes() for packed in samples]
    return zstandard.train_dictionary(DICTIONARY_BYTES, plain).as_bytes()


def dictionary_path(codec: str, directory: Path = DICTIONARIES) -> Path:
    """Where the dictionary of a codec, "native-20", lies."""
    return directory / f"{codec}.zdict"


def dictionary_number(data: bytes) -> int:
    """The number by which frames name a dictionary."""
    return zstandard.ZstdCompressionDict(data).dict_id()


def _own_first(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    own = int(packed.shape[1] * OWN_SHARE)
    return np.concatenate([packed[:, :own].ravel(), packed[:, own:].ravel()])


@cache
def _dictionary_of(codec: str) -> zstandard.ZstdCompressionDict | None:
    path = dictionary_path(codec)
    if not path.exists():
        return None
    dictionary = zstandard.ZstdCompressionDict(path.read_bytes())
    dictionary.precompute_compress(level=ZSTD_LEVEL)  # once, not for every frame
    return dictionary


def _decompressor(number: int) -> zstandard.ZstdDecompressor:
    """For frames of the dictionary of a number; 0: of none."""
    known = _decompressors.by_number
    if number not in known:
        if number and number not in _by_number():
            raise ValueError(f"its dictionary {number} is not installed")
        known[number] = zstandard.ZstdDecompressor(dict_data=_by_number()[number] if number else None)
    return known[number]


@cache
def _by_number() -> dict[int, zstandard.ZstdCompressionDict]:
    found = (zstandard.ZstdCompressionDict(path.read_bytes()) for path in DICTIONARIES.glob("*.zdict"))
    return {dictionary.dict_id(): dictionary for dictionary in found}
