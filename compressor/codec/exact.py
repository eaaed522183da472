"""Owns verification: what was read of many chunks against what was set, and what must be stored to mend it.

Chunks are compared all together, where they were read; only those with something amiss are looked at one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.codec.residual import CODE, Coded, apply_residual, write_residual
from compressor.codec.typography import TextGrid, characters_of, points_of, stack
from compressor.errors import CacheDamaged


@dataclass(frozen=True, slots=True)
class Verified:
    """A chunk that reads back to its text."""

    residual: bytes
    raw_char_accuracy: float  # share of characters read right without the residual


def verify_read(
    texts: Sequence[str], grids: Sequence[TextGrid], coded: Sequence[Coded], found: Tensor, doubt: Tensor
) -> list[Verified]:
    """Chunks as set, their tokens, and the cells and bits of Doubt read of these, (strips, 56) int32 and uint8.

    Raises CacheDamaged where a residual does not mend what was read, or a grid is not its text.
    """
    strips_per_token = len(found) // max(1, sum(len(each.levels) for each in coded))
    true = stack(grids, max(1, strips_per_token))
    ends = np.cumsum([len(each.levels) for each in coded]) * strips_per_token
    cells, characters = true.cells, characters_of(true)
    counted = [int(grid.counts.sum(dtype=np.int64)) for grid in grids]
    if counted != list(map(len, texts)) or (true.codes[characters] != points_of("".join(texts))).any():
        raise CacheDamaged("a text was not set as it is; nothing was kept")
    amiss = ((found != torch.from_numpy(cells).to(found.device)) | (doubt != 0)).any(1).nonzero()[:, 0]
    strips = amiss.cpu().numpy()
    read, doubtful = found[amiss].cpu().numpy(), doubt[amiss].cpu().numpy()
    wrong = (((read ^ cells[strips]) & CODE != 0) & characters[strips]).sum(1)
    verified = [Verified(b"", 1.0 if text else 0.0) for text in texts]
    chunks = np.searchsorted(ends, strips, side="right")
    for part in np.split(np.arange(len(strips)), np.flatnonzero(np.diff(chunks)) + 1):
        if not len(part):
            continue
        place = int(chunks[part[0]])
        grid, start = grids[place], ends[place - 1] if place else 0
        part = part[strips[part] - start < len(grid.codes)]  # not the blank strips behind it
        own, inside = cells[start : start + len(grid.codes)], strips[part] - start
        as_read, in_doubt = own.copy(), np.zeros(own.shape, np.uint8)
        as_read[inside], in_doubt[inside] = read[part], doubtful[part]
        missed = int(wrong[part].sum())
        verified[place] = Verified(
            _mended(own, as_read, in_doubt, coded[place]), (counted[place] - missed) / max(1, counted[place])
        )
    return verified


def _mended(true: NDArray[np.int32], found: NDArray[np.int32], doubt: NDArray[np.uint8], coded: Coded) -> bytes:
    """The residual of a chunk, (strips, 56) each, once it is seen to mend what was read."""
    residual = write_residual(true, found, doubt, coded)
    replayed = found.copy()
    apply_residual(replayed, residual, chunk_cells=replayed.size, coded=coded)
    if (replayed != true).any():
        raise CacheDamaged("a fresh cache does not read back to its text; it was not kept")
    return residual
