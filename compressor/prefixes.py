"""Owns prefix codes: the best ones for some counts, what they are as bits, and tables to read them with."""

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_CODE = 255  # in place of the bits of a code that there is not
WORD = 64  # bits of a code, at most


def code_bits(counts: NDArray[np.float64], most: int) -> NDArray[np.uint8]:
    """Bits of the codes that are best for these counts, `most` at most: (codes,)."""
    least = 0.0
    whole = max(float(counts.sum()), 1.0)  # of counts that are all 0, too, which else would never get any
    while True:
        bits = _huffman(np.maximum(counts, least))
        if bits.max() <= most:
            return bits
        least = max(2 * least, whole / 2 ** (most + 4))


def are_codes(bits: NDArray[np.uint8], most: int) -> bool:
    """Whether rows (rows, codes) are bits of codes, `most` at most, such that any bits begin with one of each row."""
    return bool((_shares(bits, most).sum(1) == 1 << most).all())


def codes_of(bits: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """The canonical codes of so many bits each, row by row: (rows, codes)."""
    order = np.argsort(bits, axis=1, kind="stable")
    taken = _shares(np.take_along_axis(bits, order, 1), most)
    codes = np.empty(bits.shape, np.int64)
    np.put_along_axis(codes, order, np.cumsum(taken, axis=1) - taken, 1)
    return codes >> (most - np.minimum(bits, most).astype(np.int64))


def code_table(bits: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """By row and the next `most` bits: number of the code << 4 | its bits, (rows << most,); 15 bits at most."""
    order = np.argsort(bits, axis=1, kind="stable")
    ordered = np.take_along_axis(bits, order, 1)
    table: NDArray[np.int64] = np.repeat((order << 4 | ordered).ravel(), _shares(ordered, most).ravel())
    return table


def spread_bits(codes: NDArray[np.uint64], bits: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes of so many bits one behind the other, a bit a byte, the highest of each first."""
    aligned = codes << (WORD - bits).astype(np.uint64)
    spread = np.unpackbits(aligned.astype(">u8").view(np.uint8).reshape(-1, WORD // 8), axis=1)
    written: NDArray[np.uint8] = spread[np.arange(WORD) < bits[:, None]]
    return written


def pack_bits(codes: NDArray[np.uint64], bits: NDArray[Any], *, fill: int = 0) -> bytes:
    """Codes one behind the other as bytes; `fill`: what the last one is filled up with."""
    written = spread_bits(codes, bits)
    return np.packbits(np.concatenate([written, np.full(-len(written) % 8, fill, np.uint8)])).tobytes()


def _shares(bits: NDArray[np.uint8], most: int) -> NDArray[np.int64]:
    """How many of all strings of `most` bits begin with a code of so many; 0 where there is no code."""
    return np.where(bits > most, 0, 1 << (most - np.minimum(bits, most).astype(np.int64)))


def _huffman(counts: NDArray[np.float64]) -> NDArray[np.uint8]:
    heap: list[tuple[float, int, list[int]]] = [(count, place, [place]) for place, count in enumerate(counts.tolist())]
    heapq.heapify(heap)
    bits = np.zeros(len(counts), np.uint8)
    while len(heap) > 1:
        one, other = heapq.heappop(heap), heapq.heappop(heap)
        together = one[2] + other[2]
        bits[together] += 1
        heapq.heappush(heap, (one[0] + other[0], one[1], together))
    return bits
