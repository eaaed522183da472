"""Owns the learning of a reader's habits: what it misreads of much text, by what stands around each cell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.habits import (
    BANDS,
    CHARACTER_BITS,
    LIKELY,
    SHIFT_MOST,
    SURROUNDINGS,
    Habits,
    gap_bits,
    surroundings,
    window,
)
from compressor.prefixes import NO_CODE, code_bits

CHARACTERS = 255  # that get codes
LEAST = 3  # times that a character must be misread to get one
ROUNDS = 15  # of sorting surroundings into kinds
# How much narrower surroundings count beside what was seen of wider ones, in cells.
NARROWER = 6.0
NARROWER_CHARACTERS = 2.0
RARE = 5e-4  # share of a character among a kind's, up to which it gets no code
LIKELIEST, UNLIKELIEST = 0.6, 0.001  # of the first band and the last


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """What was read of a chunk, (cells,) each."""

    symbols: NDArray[np.int64]
    codes: NDArray[np.int32]  # as set
    told: NDArray[np.bool_]  # read wrong, or in doubt


def learn_habits(chunks: Sequence[ReadChunk], count: int) -> Habits | None:
    """The habits of a reader of so many symbols; None where it hardly errs."""
    told = np.concatenate([chunk.told for chunk in chunks])
    codes = np.concatenate([chunk.codes for chunk in chunks])[told]
    known, seen = np.unique(codes, return_counts=True)
    characters = known[np.argsort(-seen, kind="stable")][: min(CHARACTERS, int((seen >= LEAST).sum()))]
    if not len(characters) or count > SURROUNDINGS:
        return None
    around = [surroundings(chunk.symbols, count) for chunk in chunks]
    bands = _bands(np.concatenate(around), told, count)
    likely, kinds = _kinds(np.concatenate(around)[told], _numbered(codes, characters), count, len(characters) + 1)
    return Habits(
        bands=bands,
        shifts=_shifts([bands[each] for each in around], [chunk.told for chunk in chunks]),
        likely=likely,
        characters=characters.astype(np.int32),
        codes=kinds,
        symbols=np.array([count], np.uint32),
    )


def _narrower(around: NDArray[np.int64], count: int, cells: int, kept: int) -> NDArray[np.int64]:
    """Surroundings of `cells` cells without the outer ones, so that `kept` are left."""
    outer = count ** ((cells - kept) // 2)
    narrower: NDArray[np.int64] = around // outer % count**kept
    return narrower


def _bands(around: NDArray[np.int64], told: NDArray[np.bool_], count: int) -> NDArray[np.uint8]:
    """The band of all surroundings."""
    cells = window(count)
    share = np.full(1, told.mean())
    for kept in range(1, cells + 1, 2):
        near = _narrower(around, count, cells, kept)
        seen = np.bincount(near, minlength=count**kept)
        wrong = np.bincount(near[told], minlength=count**kept)
        inner = np.arange(count**kept) // count % count ** max(kept - 2, 0)
        share = (wrong + NARROWER * share[inner]) / (seen + NARROWER)
    scale = np.log(share / UNLIKELIEST) / np.log(LIKELIEST / UNLIKELIEST)
    bands: NDArray[np.uint8] = (BANDS - 1 - np.round(scale * (BANDS - 1)).clip(0, BANDS - 1)).astype(np.uint8)
    return bands


def _shifts(bands: Sequence[NDArray[np.uint8]], told: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """For each band the one that gaps take the fewest bits with."""
    gaps: list[NDArray[np.int64]] = []
    where: list[NDArray[np.uint8]] = []
    for band, wrong in zip(bands, told, strict=True):
        turn = np.argsort(band, kind="stable")
        at = np.flatnonzero(wrong[turn])
        begins = np.concatenate([[0], at[:-1] + 1])[: len(at)]
        gaps.append(at - begins)
        where.append(band[turn[begins]])
    all_gaps, all_bands = np.concatenate(gaps), np.concatenate(where)
    shifts = range(SHIFT_MOST + 1)
    best = [min(shifts, key=lambda shift: gap_bits(all_gaps[all_bands == band], shift)) for band in range(BANDS)]
    return np.array(best, np.uint8)


def _numbered(codes: NDArray[np.int32], characters: NDArray[np.int32]) -> NDArray[np.int64]:
    """The place of each code in `characters`, or one behind the last."""
    numbers = np.full(int(max(codes.max(), characters.max())) + 1, len(characters))
    numbers[characters] = np.arange(len(characters))
    return numbers[codes]


def _kinds(
    around: NDArray[np.int64], numbers: NDArray[np.int64], count: int, characters: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The kind of all surroundings, and the codes of characters by kind."""
    cells = window(count)
    levels = []  # (kept cells, surroundings that were seen, what is expected there)
    expected = np.bincount(numbers, minlength=characters)[None] / len(numbers)
    row = np.zeros(1, np.int64)  # of `expected` for each of the narrower surroundings
    for kept in range(1, cells + 1, 2):
        near = _narrower(around, count, cells, kept)
        found, place = np.unique(near, return_inverse=True)
        seen = np.bincount(place * characters + numbers, minlength=len(found) * characters).reshape(-1, characters)
        narrow = expected[row[found // count % count ** max(kept - 2, 0)]]
        expected = (seen + NARROWER_CHARACTERS * narrow) / (seen.sum(1, keepdims=True) + NARROWER_CHARACTERS)
        levels.append((kept, found, expected))
        row = np.zeros(count**kept, np.int64)
        row[found] = np.arange(len(found))
    weights = np.bincount(place, minlength=len(found))
    kinds = _sorted_into_kinds(expected, weights)
    likely = np.zeros(1, np.uint8)
    for kept, found, each in levels:
        likely = likely[np.arange(count**kept) // count % count ** max(kept - 2, 0)]
        likely[found] = _nearest(each, kinds)
    codes = np.full(kinds.shape, NO_CODE, np.uint8)
    for bits, share in zip(codes, kinds, strict=True):
        used = share > RARE
        used[-1] = True
        bits[used] = code_bits(share[used] + RARE, CHARACTER_BITS)
    return likely, codes


def _sorted_into_kinds(expected: NDArray[np.float64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is expected in each of LIKELY kinds, so that surroundings are like their kind, (kinds, characters)."""
    first = np.argsort(-weights, kind="stable")[:LIKELY]
    kinds = expected[first]
    for _ in range(ROUNDS):
        nearest = _nearest(expected, kinds)
        sums = np.zeros_like(kinds)
        np.add.at(sums, nearest, expected * weights[:, None])
        kept = np.bincount(nearest, weights, minlength=len(kinds)) > 0
        kinds[kept] = sums[kept] / sums[kept].sum(1, keepdims=True)
    return kinds


def _nearest(expected: NDArray[np.float64], kinds: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The kind whose codes would suit each best."""
    costs = np.log(kinds + 1e-5).astype(np.float32)
    nearest: NDArray[np.uint8] = (expected.astype(np.float32) @ costs.T).argmax(1).astype(np.uint8)
    return nearest
