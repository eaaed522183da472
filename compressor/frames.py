"""Owns zstd frames without their magic number: of a stream of a cache file, with a dictionary or none."""

from collections.abc import Sequence
from threading import local

import numpy as np
import zstandard
from numpy.typing import NDArray

LEVEL = 19
FRAME_LIMIT = 1 << 26  # bytes that one may hold; those of a chunk of 100 tokens are 51,200 levels, and fewer as stored
_STATES_SIZE = 0b1110_0000  # in a frame's first byte (RFC 8878, 3.1.1.1.1): two bits of the size's length, one segment


class _OfThread(local):
    """Coders by dictionary: one serves one thread at a time, and is dear to make."""

    def __init__(self) -> None:
        self.packing: dict[bytes, zstandard.ZstdCompressor] = {}
        self.unpacking: dict[tuple[bytes, int], zstandard.ZstdDecompressor] = {}


_coders = _OfThread()


def pack_frame(plain: NDArray[np.uint8], dictionary: bytes = b"") -> bytes:
    """Bytes (size,) as a frame, which names neither their number nor the dictionary; b"" for none."""
    return _packing(dictionary).compress(plain.tobytes()) if plain.size else b""


def unpack_frames(
    frames: Sequence[bytes | memoryview], sizes: Sequence[int], dictionary: bytes = b""
) -> NDArray[np.uint8]:
    """The inverse of `pack_frame`, for many frames of one dictionary: (bytes,) of all, one after the other.

    `sizes` are the bytes that each holds, FRAME_LIMIT at most. Raises ValueError for anything else.
    """
    if max(sizes, default=0) > FRAME_LIMIT:
        raise ValueError(f"a frame of {max(sizes):,} bytes; at most {FRAME_LIMIT:,} are read")
    try:
        decompress = decompressor(dictionary, zstandard.FORMAT_ZSTD1_MAGICLESS).decompress
        plain = [
            decompress(_sizeless(frame), size, allow_extra_data=False) if size else b""
            for frame, size in zip(frames, sizes, strict=True)
        ]
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if [len(part) for part in plain] != list(sizes):
        raise ValueError(f"{sum(map(len, plain))} bytes in place of {sum(sizes)}")
    return np.frombuffer(b"".join(plain), np.uint8)


def decompressor(dictionary: bytes, format: int) -> zstandard.ZstdDecompressor:
    """This thread's one for frames of a dictionary, b"" for none, and a format of zstd's. Raises ZstdError."""
    known = _coders.unpacking
    if (dictionary, format) not in known:
        words = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
        known[dictionary, format] = zstandard.ZstdDecompressor(dict_data=words, format=format)
    return known[dictionary, format]


def _sizeless(frame: bytes | memoryview) -> bytes | memoryview:
    """A frame that does not state a size: zstd would take that memory, whatever the limit that it is given."""
    if not len(frame) or frame[0] & _STATES_SIZE:
        raise ValueError("a frame that states its size, or none")
    return frame


def _packing(dictionary: bytes) -> zstandard.ZstdCompressor:
    known = _coders.packing
    if dictionary not in known:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_dict_id=False, write_content_size=False
        )
        words = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
        if words is not None:
            words.precompute_compress(compression_params=parameters)  # once, not for every frame
        known[dictionary] = zstandard.ZstdCompressor(dict_data=words, compression_params=parameters)
    return known[dictionary]
