"""Owns postings: which passages have a word and how often, as arrays that never change; others are made of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from store.generations import Buffer
from store.lexical.cut import Cut
from store.lexical.saturation import levels_of, steepness, tops_of

_TYPES = {"U64": np.uint64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
_MOST = 255  # occurrences of a word in a passage that count


@dataclass(frozen=True)
class Postings:
    """Some passages' words. Those of a word are a slice of `places` and `counts`, its passages in order."""

    ids: NDArray[np.int64]  # (passages,) vector ids, ascending
    lengths: NDArray[np.int32]  # (passages,) words
    words: NDArray[np.uint64]  # (words,) keys, ascending
    starts: NDArray[np.int64]  # (words + 1,) where each word's slice begins
    places: NDArray[np.int32]  # (postings,) index of a passage
    counts: NDArray[np.uint8]  # (postings,) occurrences in it, 255 at most
    levels: NDArray[np.uint8]  # (postings,) what they come to there, were these all passages
    tops: NDArray[np.uint8]  # (words,) the highest level of each

    def index_of(self, keys: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Where the words are, -1 where no passage has one."""
        at = np.searchsorted(self.words, keys)
        if not len(self.words):
            return at - 1
        return np.where(self.words.take(at, mode="clip") == keys, at, -1)

    @cached_property
    def steep(self) -> float:
        """The steepness that the levels are of."""
        return steepness(self.total_length, len(self.ids))

    @cached_property
    def total_length(self) -> int:
        """Words in all passages."""
        return _total(self.lengths)

    @property
    def nbytes(self) -> int:
        """What the arrays take."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))


def of_cut(ids: NDArray[np.int64], cut: Cut) -> Postings:
    """The postings of texts that were cut, under their ids, which ascend."""
    order = np.argsort(cut.words)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    width = max(1, len(ids))
    pairs, counts = np.unique(rank[cut.word] * width + cut.text, return_counts=True)
    return _assemble(ids, cut.lengths, cut.words[order], pairs // width, pairs % width, counts)


def join(parts: Sequence[Postings]) -> Postings:
    """One of several whose ids ascend from one to the next."""
    if len(parts) == 1:
        return parts[0]
    ids = np.concatenate([part.ids for part in parts])
    assert (np.diff(ids) > 0).all()
    words = np.unique(np.concatenate([part.words for part in parts]))
    sizes = np.zeros((len(parts), len(words)), np.int64)  # of each word's slice in each part
    for part, its in zip(parts, sizes, strict=True):
        its[np.searchsorted(words, part.words)] = np.diff(part.starts)
    starts = np.concatenate([[0], np.cumsum(sizes.sum(0))])
    places = np.empty(starts[-1], np.int32)
    counts = np.empty(starts[-1], np.uint8)
    begin, passages = starts[:-1].copy(), 0
    for part, its in zip(parts, sizes, strict=True):
        mine = its[its > 0]
        # where each of the part's postings goes: its word's place there, and on from it
        target = np.repeat(begin[its > 0] - (np.cumsum(mine) - mine), mine) + np.arange(len(part.places))
        places[target] = part.places + np.int32(passages)
        counts[target] = part.counts
        begin += its
        passages += len(part.ids)
    return _weighed(ids, np.concatenate([part.lengths for part in parts]), words, starts, places, counts)


def without(postings: Postings, live: NDArray[np.bool_]) -> Postings:
    """Only the passages that live; words that none of them has are gone too."""
    if live.all():
        return postings
    kept = live[postings.places]
    word = np.repeat(np.arange(len(postings.words)), np.diff(postings.starts))[kept]
    moved = (np.cumsum(live) - 1)[postings.places[kept]]
    return _assemble(postings.ids[live], postings.lengths[live], postings.words, word, moved, postings.counts[kept])


def _assemble(
    ids: NDArray[np.int64],
    lengths: NDArray[np.int32],
    words: NDArray[np.uint64],
    word: NDArray[np.int64],
    places: NDArray[np.int64],
    counts: NDArray[np.int64] | NDArray[np.uint8],
) -> Postings:
    """Postings ordered by word, then passage, of which some words may have none."""
    sizes = np.bincount(word, minlength=len(words))
    starts = np.concatenate([[0], np.cumsum(sizes[sizes > 0])])
    return _weighed(
        ids, lengths, words[sizes > 0], starts, places.astype(np.int32), np.minimum(counts, _MOST).astype(np.uint8)
    )


def _weighed(
    ids: NDArray[np.int64],
    lengths: NDArray[np.int32],
    words: NDArray[np.uint64],
    starts: NDArray[np.int64],
    places: NDArray[np.int32],
    counts: NDArray[np.uint8],
) -> Postings:
    """Postings and their levels."""
    levels = levels_of(places, counts, lengths, steepness(_total(lengths), len(ids)))
    return Postings(ids, lengths, words, starts, places, counts, levels, tops_of(levels, starts))


def _total(lengths: NDArray[np.int32]) -> int:
    return int(lengths.sum(dtype=np.int64))


def to_bytes(postings: Postings) -> bytes:
    """The arrays as a safetensors file holds them."""
    return save({field.name: np.ascontiguousarray(getattr(postings, field.name)) for field in fields(postings)})


def from_bytes(data: Buffer) -> Postings | None:
    """Arrays that lie where the bytes are, nothing is copied; None where they are no postings.

    For bytes that are known to be what was written: sizes are checked, what is in the arrays is not.
    """
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        arrays = [_array(data, 8 + length, header[field.name]) for field in fields(Postings)]
    except (ValueError, KeyError, TypeError):
        return None
    return Postings(*arrays)


def _array(data: Buffer, first: int, entry: dict[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_TYPES[entry["dtype"]])
    return np.frombuffer(data, dtype, (end - begin) // dtype.itemsize, first + begin)
