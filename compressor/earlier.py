"""Owns what cache files of versions 1 to 4 hold of an entry: the parts are `tokens`, `counts` and `residual`.

The facts of an entry are JSON: codec, format, digest, raw_char_accuracy, sha256, and from version 2 on `shape`, that of
the packed tokens (tokens, stored width; int4 packs two numbers in a byte). In versions 3 and 4 tokens and counts are
zstd frames, where that is shorter, and `strips` is the number of counts; in a frame the first 7/8 of all tokens come
first, then the others, and in version 4 it names the dictionary that it needs. In version 2 a frame holds token after
token, and counts are as they are; in version 1 tokens are, too, and have their shape themselves.
"""

from functools import cache
from threading import local
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.codebook import BOOKS
from compressor.formats import FORMATS, unpack, unpacked_width, value_table
from compressor.frames import FRAME_LIMIT
from compressor.sealed import Facts, Parts

OWN_SHARE = 7 / 8  # of a token


class _OfThread(local):
    """Decompressors by the number of their dictionary: one serves one thread at a time, and is dear to make."""

    def __init__(self) -> None:
        self.by_number: dict[int, zstandard.ZstdDecompressor] = {}


_decompressors = _OfThread()


def cache_of(facts: Facts, parts: Parts) -> Cache:
    """An entry as a cache. Raises ValueError where it cannot be unpacked."""
    return Cache(
        codec=facts["codec"],
        format=facts["format"],
        levels=unpack(tokens_of(facts, parts).copy(), FORMATS[facts["format"]]),
        counts=_decode(parts["counts"], facts.get("strips", parts["counts"].size)).copy(),
        residual=parts["residual"].tobytes(),
        digest=facts["digest"],
        raw_char_accuracy=facts["raw_char_accuracy"],
    )


def check(facts: Facts, stored: tuple[int, ...]) -> None:
    """Raises ValueError for facts that cannot be read; `stored` is the shape of the part of tokens."""
    shape = facts.get("shape", stored)
    numbers = [*shape, facts.get("strips", 0)] if isinstance(shape, list | tuple) and len(shape) == 2 else [-1]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"shape {shape} and strips {facts.get('strips')}")
    if not all(isinstance(facts.get(key), str) for key in ("codec", "format", "digest")):
        raise ValueError("codec, format or digest are not told")
    if facts["format"] not in FORMATS:
        raise ValueError(f"{facts['format'][:80]!r} is no format")
    if not isinstance(facts.get("raw_char_accuracy"), int | float):
        raise ValueError("raw_char_accuracy is not told")


def tokens_of(facts: Facts, parts: Parts) -> NDArray[np.uint8]:
    """Packed tokens (tokens, stored width) of an entry. Raises ValueError where they cannot be unpacked."""
    stored = parts["tokens"]
    tokens, width = facts.get("shape", stored.shape)
    plain = _decode(stored.ravel(), tokens * width)
    if "strips" not in facts or stored.size == plain.size:
        return plain.reshape(tokens, width)
    own = int(width * OWN_SHARE)
    packed = np.empty((tokens, width), np.uint8)
    packed[:, :own] = plain[: tokens * own].reshape(tokens, own)
    packed[:, own:] = plain[tokens * own :].reshape(tokens, width - own)
    return packed


def kind_of(facts: Facts, stored: tuple[int, ...]) -> tuple[str, int]:
    """Format and width of an entry's tokens; `stored` is the shape of its part."""
    _, width = facts.get("shape", stored)
    return facts["format"], unpacked_width(width, FORMATS[facts["format"]])


def tokens_in(facts: Facts, stored: tuple[int, ...]) -> int:
    """Tokens of an entry; `stored` is the shape of its part."""
    tokens: int = facts.get("shape", stored)[0]
    return tokens


def read_numbers(facts: Facts, parts: Parts, target: NDArray[np.float16]) -> None:
    """Dequantised tokens of an entry into `target` (tokens, width). Raises ValueError where they cannot be unpacked."""
    words = _words(facts["format"])
    np.take(words, tokens_of(facts, parts), out=target.view(words.dtype), mode="clip")


@cache
def _words(format: str) -> NDArray[Any]:
    """The numbers in each stored byte, (256,), as one word."""
    table = value_table(FORMATS[format])
    return table.view(np.uint32 if table.shape[1] == 2 else np.uint16).ravel()


def _decode(stored: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    if stored.size == size:
        return stored
    if not 0 <= size <= FRAME_LIMIT:
        raise ValueError(f"a frame of {size:,} bytes; at most {FRAME_LIMIT:,} are read")
    frame = stored.tobytes()
    try:
        told = zstandard.get_frame_parameters(frame)
        # Where a frame states its size, zstd would take that memory, whatever the limit that it is given.
        if told.content_size not in (size, zstandard.CONTENTSIZE_UNKNOWN):
            raise ValueError(f"{told.content_size} bytes in place of {size}")
        plain = _decompressor(told.dict_id).decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes in place of {size}")
    return np.frombuffer(plain, np.uint8)


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
    found = (zstandard.ZstdCompressionDict(path.read_bytes()) for path in BOOKS.glob("*.zdict"))
    return {dictionary.dict_id(): dictionary for dictionary in found}
