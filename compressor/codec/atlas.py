"""Owns the glyph atlas: which pixels each character is drawn with.

The bitmaps are GNU Unifont's (SIL OFL 1.1), 8x16 pixels a cell; wide characters take two cells.
A line feed and a tab get visible marks of our own, so that no character of a text is lost in white space.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CELL_WIDTH = 8
CELL_HEIGHT = 16
PLANES = 0x20000  # code points with a glyph of their own: the planes 0 and 1 of Unicode
ATLAS_PATH = Path(__file__).with_name("atlas.npz")


@dataclass(frozen=True, slots=True)
class Atlas:
    """Glyph bitmaps by code point; immutable, shared by every text that is set."""

    cells: NDArray[np.uint8]  # (bitmaps, 16) one byte a pixel row, the leftmost pixel is the high bit
    first: NDArray[np.int32]  # (0x20000,) code point -> its first bitmap; bitmap 0 is the missing-glyph box
    wide: NDArray[np.bool_]  # (0x20000,) True where a character takes two cells


@cache
def load_atlas() -> Atlas:
    """Reads the atlas that ships with the package (about 40 ms, kept for the process)."""
    with np.load(ATLAS_PATH, allow_pickle=False) as stored:
        return Atlas(cells=stored["cells"], first=stored["first"], wide=stored["wide"])
