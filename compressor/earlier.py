"""Owns what cache files of versions 1 to 4 hold of an entry: the parts are `tokens`, `counts` and `residual`.

The facts of an entry are JSON: codec, format, digest, raw_char_accuracy, sha256, and from version 2 on `shape`, that of
the packed tokens (tokens, stored width; int4 packs two numbers in a byte). In versions 3 and 4 tokens and counts are
zstd frames, where that is shorter, and `strips` is the number of counts; in a frame the first 7/8 of all tokens come
first, then the others, and in version 4 it names the dictionary that it needs. In version 2 a frame holds token after
token, and counts are as they are; in version 1 tokens are, too, and have their shape themselves.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.codebook import BOOKS
from compressor.entries import TokenKind
from compressor.errors import ModelError
from compressor.formats import FORMATS, level_numbers, unpack
from compressor.frames import FRAME_LIMIT, decompressor
from compressor.sealed import Facts, Parts

OWN_SHARE = 7 / 8  # of a token
_MOST = 1 << 32  # tokens, bytes of one, and strips; a chunk has hundreds, but what is told here is believed elsewhere
NUMBER_END = 8  # bytes of a dictionary up to where its number ends
# A dictionary has no checksum of its own, and a changed one unpacks frames to something else: number -> sha256 of what
# follows it, of those that were published; no more will be.
PUBLISHED = {
    510024947: "eb49b0ed373f2837ec04a40094e140d236c5d771b248f6bb9d9647bcb5366090",  # native-10
    1608910715: "3cf51e149f1eba1ff6ab2b08b104d1d26f02dac32bb00955ef0fb31210038128",  # native-20
    16073574: "929664cafb46f9db6b58d15f1f3287986f04d5ec5b77d50ea4f4f06de6ad8e95",  # native-40
    929438467: "cc4163fe46af8363186dfe9a62a8036136daa2e47cf30bbacb2f3b901793fa84",  # native-80
}


class EarlierEntries:
    """The entries of a file by their facts, and the shapes of their parts of tokens."""

    def __init__(self, facts: Mapping[str, Facts], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raises ValueError for an entry whose facts cannot be read."""
        for entry in facts:
            try:
                _check(facts[entry], shapes[entry])
            except ValueError as error:
                raise ValueError(f"{entry} cannot be unpacked ({error})") from error
        self._facts = facts
        self._shapes = shapes

    def kinds(self, entries: Sequence[str]) -> set[TokenKind]:
        return {self._kind(entry) for entry in entries}

    def tokens(self, entry: str) -> int:
        tokens: int = self._facts[entry].get("shape", self._shapes[entry])[0]
        return tokens

    def digest(self, entry: str) -> str:
        digest: str = self._facts[entry]["digest"]
        return digest

    def way(self, entry: str) -> None:
        """Each is read by itself, so all are alike."""

    def cache(self, entry: str, parts: Parts) -> Cache:
        """Raises ValueError where it cannot be unpacked."""
        facts = self._facts[entry]
        if parts["counts"].ndim != 1 or parts["residual"].ndim != 1:
            raise ValueError(f"counts {parts['counts'].shape} and residual {parts['residual'].shape}")
        return Cache(
            codec=facts["codec"],
            format=facts["format"],
            levels=unpack(tokens_of(facts, parts).copy(), FORMATS[facts["format"]]),
            counts=_decode(parts["counts"], facts.get("strips", parts["counts"].size)).copy(),
            residual=parts["residual"].tobytes(),
            digest=facts["digest"],
            raw_char_accuracy=facts["raw_char_accuracy"],
        )

    def read_numbers(self, entries: Sequence[str], parts: Sequence[Parts], target: NDArray[np.float16]) -> None:
        start = 0
        for entry, each in zip(entries, parts, strict=True):
            facts, end = self._facts[entry], start + self.tokens(entry)
            words = _words(facts["format"])
            np.take(words, tokens_of(facts, each), out=target[start:end].view(words.dtype), mode="clip")
            start = end

    def _kind(self, entry: str) -> TokenKind:
        facts = self._facts[entry]
        _, width = facts.get("shape", self._shapes[entry])
        return TokenKind(facts["format"], width * _words(facts["format"]).itemsize // 2)  # bytes of a float16


def _check(facts: Facts, stored: tuple[int, ...]) -> None:
    """Raises ValueError for facts that cannot be read; `stored` is the shape of the part of tokens."""
    shape = facts.get("shape", stored)
    numbers = [*shape, facts.get("strips", 0)] if isinstance(shape, list | tuple) and len(shape) == 2 else [-1]
    if not all(type(number) is int and 0 <= number <= _MOST for number in numbers):
        raise ValueError(f"shape {shape} and strips {facts.get('strips')}")
    if not all(isinstance(facts.get(key), str) for key in ("codec", "format", "digest")):
        raise ValueError("codec, format or digest are not told")
    if facts["format"] not in FORMATS:
        raise ValueError(f"{facts['format'][:80]!r} is no format")
    accuracy = facts.get("raw_char_accuracy")
    if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
        raise ValueError("raw_char_accuracy is no share")


def tokens_of(facts: Facts, parts: Parts) -> NDArray[np.uint8]:
    """Packed tokens (tokens, stored width) of an entry.

    Raises ValueError where they cannot be unpacked, ModelError where that is for a broken dictionary.
    """
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


@cache
def _words(format: str) -> NDArray[Any]:
    """The numbers in each stored byte, (256,), as one word: two float16 of int4, one of int8."""
    numbers = level_numbers(FORMATS[format])[unpack(np.arange(256, dtype=np.uint8)[:, None], FORMATS[format])]
    return numbers.view(np.uint32 if numbers.shape[1] == 2 else np.uint16).ravel()


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
        plain = decompressor(_dictionary(told.dict_id), zstandard.FORMAT_ZSTD1).decompress(frame, max_output_size=size)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if len(plain) != size:
        raise ValueError(f"{len(plain)} bytes in place of {size}")
    return np.frombuffer(plain, np.uint8)


def _dictionary(number: int) -> bytes:
    """The dictionary of a number; 0: none. Raises ModelError where a file is broken and may be it, else ValueError."""
    if not number:
        return b""
    sound, broken = _installed()
    if number in sound:
        return sound[number]
    if broken:
        raise ModelError(f"the dictionary {broken[0]}: reinstall Percel")
    raise ValueError(f"its dictionary {number} is not installed")


@cache
def _installed() -> tuple[dict[int, bytes], list[str]]:
    """Sound dictionaries by number; what is wrong with each other file, its name first."""
    sound, broken = {}, []
    for path in sorted(BOOKS.glob("*.zdict")):
        try:
            dictionary = path.read_bytes()
            sound[_number(dictionary)] = dictionary
        except (OSError, ValueError, zstandard.ZstdError) as error:
            broken.append(f"{path.name} cannot be read ({error})")
    return sound, broken


def _number(dictionary: bytes) -> int:
    """By which frames name a dictionary. Raises ValueError, ZstdError for a broken one."""
    words = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
    words.precompute_compress(level=1)  # takes it in, which nothing but a dictionary is fit for
    number, checksum = words.dict_id(), hashlib.sha256(dictionary[NUMBER_END:]).hexdigest()
    if (number in PUBLISHED or checksum in PUBLISHED.values()) and PUBLISHED.get(number) != checksum:
        raise ValueError("it is not as published")
    return number
