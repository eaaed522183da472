"""Verification: what was read wrong, or could be, is mended chunk by chunk, and nothing else is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.codec.exact import Verified, verify_read
from compressor.codec.native import set_texts
from compressor.codec.residual import Coded, Doubt, apply_residual
from compressor.codec.typography import STRIP_CELLS, TextGrid, stack
from compressor.errors import CacheDamaged

TOKEN = 4  # strips


def _verify(texts: list[str], found: np.ndarray, doubt: np.ndarray | None = None) -> list[Verified]:
    doubt = np.zeros(found.shape, np.uint8) if doubt is None else doubt
    grids = set_texts(texts)
    return verify_read(texts, grids, _coded(grids), torch.from_numpy(found), torch.from_numpy(doubt))


def _coded(grids: list[TextGrid]) -> list[Coded]:
    """Tokens of a codec that has no habits."""
    return [Coded(np.zeros((-(-len(grid.codes) // TOKEN), 8), np.uint8), "native-0") for grid in grids]


@given(st.lists(st.text(max_size=400), max_size=5), st.integers(0, 40), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_chunk_is_mended_and_what_was_right_is_counted(texts: list[str], errors: int, random) -> None:
    grids = set_texts(texts)
    true = stack(grids, TOKEN)
    found, doubt = true.cells.copy(), np.zeros(true.codes.shape, np.uint8)
    for _ in range(errors if found.size else 0):
        cell = random.randrange(found.size)
        found.flat[cell] = random.choice([0x41, 0x110000, found.flat[cell] ^ 1 << 22])
        doubt.flat[random.randrange(found.size)] = random.choice(list(Doubt))
    start = 0
    for text, grid, chunk in zip(texts, grids, _verify(texts, found, doubt), strict=True):
        own = slice(start, start + len(grid.codes))
        start += -(-len(grid.codes) // TOKEN) * TOKEN
        read = found[own].copy()
        apply_residual(read, chunk.residual, chunk_cells=read.size)
        assert (read == grid.cells).all()
        assert bool(chunk.residual) == bool((found[own] != grid.cells).any() or doubt[own].any())
        wrong = (found[own] ^ grid.codes) & 0x1FFFFF != 0
        held = np.arange(STRIP_CELLS) < grid.counts[:, None]
        if not (grid.codes == 0x110000).any():
            assert chunk.raw_char_accuracy == (len(text) - int((wrong & held).sum())) / max(1, len(text))


def test_what_stands_behind_a_chunks_last_strip_does_not_matter() -> None:
    texts = ["a" * STRIP_CELLS, "b" * 5 * STRIP_CELLS]
    found = stack(set_texts(texts), TOKEN).cells.copy()
    found[1:TOKEN] = 0x42
    assert _verify(texts, found) == [Verified(b"", 1.0), Verified(b"", 1.0)]


def test_text_that_was_not_set_as_it_is_is_not_kept() -> None:
    other = set_texts(["text as seT"])
    nothing = torch.zeros(TOKEN, STRIP_CELLS, dtype=torch.uint8)
    with pytest.raises(CacheDamaged, match="a text was not set as it is; nothing was kept"):
        verify_read(["text as set"], other, _coded(other), torch.from_numpy(stack(other, TOKEN).cells), nothing)
    short = [TextGrid(other[0].codes, other[0].counts - 1, other[0].styles)]
    with pytest.raises(CacheDamaged, match="a text was not set as it is; nothing was kept"):
        verify_read(["text as seT"], short, _coded(short), torch.from_numpy(stack(short, TOKEN).cells), nothing)
