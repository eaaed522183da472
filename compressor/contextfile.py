"""Owns the context file: the vision tokens of many chunks as one safetensors file, for a decoder elsewhere.

One tensor, `tokens` (n, width) float16, and metadata. It is written piece by piece, so that a context of a million
tokens, a gigabyte, is never held as a whole. Knows nothing of what the metadata says.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import IO

import numpy as np
from numpy.typing import NDArray

from compressor.errors import CacheError, ContextTooLong

HEADER_LIMIT = 100_000_000  # bytes; readers of safetensors refuse a longer header
ALIGNMENT = 8  # bytes; numbers begin at a multiple of it, so that a map of the file can be used as it is


def write_context(
    file: IO[bytes], pieces: Iterable[NDArray[np.float16]], tokens: int, metadata: Mapping[str, str]
) -> int:
    """Writes pieces (tokens, width), of `tokens` in all, one after the other; -> width, 0 where there are none.

    Raises ContextTooLong for metadata that no header holds, CacheError where widths differ, OSError.
    """
    left = iter(pieces)
    first = next(left, np.zeros((0, 0), np.float16))
    width = int(first.shape[1])
    header = _header(tokens, width, metadata)
    if len(header) > HEADER_LIMIT:
        raise ContextTooLong(
            f"what the file would say of its chunks takes {len(header):,} bytes, and a safetensors file has room for "
            f"{HEADER_LIMIT:,}: ask for fewer chunks, or of a part by a filter"
        )
    file.write(struct.pack("<Q", len(header)))
    file.write(header)
    written = 0
    for piece in _of_width(width, chain([first], left)):
        file.write(piece.astype("<f2", copy=False).data)
        written += len(piece)
    assert written == tokens, f"{written} tokens came, the header says {tokens}"
    return width


def _header(tokens: int, width: int, metadata: Mapping[str, str]) -> bytes:
    place = {"dtype": "F16", "shape": [tokens, width], "data_offsets": [0, 2 * tokens * width]}
    header = {"__metadata__": dict(metadata), "tokens": place}
    # What is no Unicode, of an argument of the shell say, would make the file unreadable.
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return text + b" " * (-len(text) % ALIGNMENT)


def _of_width(width: int, pieces: Iterable[NDArray[np.float16]]) -> Iterator[NDArray[np.float16]]:
    for piece in pieces:
        if piece.shape[1] != width:
            raise CacheError(f"caches of several kinds cannot share one context: widths {width} and {piece.shape[1]}")
        yield piece
