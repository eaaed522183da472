"""Owns the figures of a codec on a text: rate, fidelity before and after the residual, bytes, speed."""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.cachefile import write_caches
from compressor.codec.native import NativeCodec
from compressor.codec.typography import characters_of, set_text

CHUNK_CHARACTERS = 4_400  # about 1,000 text tokens, as ingestion makes them
WORD = re.compile(r"\S+")
NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
# What a reader cannot guess: letters and digits mixed, hexadecimal runs, addresses.
IDENTIFIER = re.compile(r"\b(?:https?://\S+|[^\s@]+@[^\s@]+\.\w+|(?=\w*\d)(?=\w*[A-Za-z])\w{6,}(?:-\w+)*)")


@dataclass(frozen=True, slots=True)
class Figures:
    """What `bench codec` reports; shares are 0..1, 1.0 where there is nothing to get wrong."""

    codec: str
    chars: int
    text_tokens: int
    vision_tokens: int
    ratio: float  # text tokens per vision token
    token_width: int
    raw_char_accuracy: float
    word_precision: float
    numbers_exact: float
    ids_exact: float
    residual_bytes: int
    residual_share: float  # of the text's UTF-8 bytes
    exact: bool
    cache_bytes: int  # as a file, checksums included
    cache_bytes_per_1000_text_tokens: float
    encode_chars_per_s: float  # drawing, encoding, quantising and verifying
    read_chars_per_s: float


def chunks_of(text: str, characters: int = CHUNK_CHARACTERS) -> list[str]:
    """Cuts a text as long as a chunk; for measuring, where boundaries do not matter."""
    return [text[start : start + characters] for start in range(0, len(text), characters)]


def measure(codec: NativeCodec, texts: Iterable[str], count_tokens: Callable[[list[str]], list[int]]) -> Figures:
    """Encodes, stores and reads texts; the text must not be empty (ValueError)."""
    chunks = [chunk for text in texts for chunk in chunks_of(text)]
    if not chunks:
        raise ValueError("there is no text to measure")
    codec.encode(chunks[:1])  # the first pass of a network pays for its set-up
    start = time.perf_counter()
    caches: list[Cache] = []
    for first in range(0, len(chunks), 16):
        caches += codec.encode(chunks[first : first + 16])
    encoded = time.perf_counter()
    read = [text for first in range(0, len(caches), 16) for text in codec.read(caches[first : first + 16])]
    finished = time.perf_counter()
    right = [right_characters(codec, chunk, cache) for chunk, cache in zip(chunks, caches, strict=True)]
    characters = sum(map(len, chunks))
    text_tokens = sum(count_tokens(chunks))
    vision_tokens = sum(cache.vision_tokens for cache in caches)
    cache_bytes = len(write_caches({f"{index:06}": cache for index, cache in enumerate(caches)}))
    residual_bytes = sum(len(cache.residual) for cache in caches)
    return Figures(
        codec=codec.name,
        chars=characters,
        text_tokens=text_tokens,
        vision_tokens=vision_tokens,
        ratio=text_tokens / max(1, vision_tokens),
        token_width=caches[0].levels.shape[1],
        raw_char_accuracy=sum(int(part.sum()) for part in right) / max(1, characters),
        word_precision=share_right(WORD, chunks, right),
        numbers_exact=share_right(NUMBER, chunks, right),
        ids_exact=share_right(IDENTIFIER, chunks, right),
        residual_bytes=residual_bytes,
        residual_share=residual_bytes / max(1, sum(len(chunk.encode()) for chunk in chunks)),
        exact=read == chunks,
        cache_bytes=cache_bytes,
        cache_bytes_per_1000_text_tokens=1000 * cache_bytes / max(1, text_tokens),
        encode_chars_per_s=characters / (encoded - start),
        read_chars_per_s=characters / (finished - encoded),
    )


def right_characters(codec: NativeCodec, text: str, cache: Cache) -> NDArray[np.bool_]:
    """Which characters of a cache's text the network alone reads right, (characters,)."""
    true = set_text(text)
    right: NDArray[np.bool_] = (codec.read_raw(cache).codes == true.codes)[characters_of(true)]
    return right


def share_right(pattern: re.Pattern[str], chunks: list[str], right: list[NDArray[np.bool_]]) -> float:
    """Share of a pattern's matches whose every character was read right, in place."""
    found = exact = 0
    for chunk, mask in zip(chunks, right, strict=True):
        for match in pattern.finditer(chunk):
            found += 1
            exact += bool(mask[match.start() : match.end()].all())
    return exact / found if found else 1.0
