"""Owns what text looks like beyond its letters: bold, italic, code, links and headings, as runs of characters.

A style is a small bit field a character, because that is how it is drawn, read back and compared.
Imports no numpy before it is needed: parsers' processes start without.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RUN = re.compile(rb"([^\0])\1*", re.S)


class Style(IntFlag):
    """What can be drawn on a cell; a heading's level is two bits: 1, 2, or 3 for all deeper ones."""

    PLAIN = 0
    BOLD = 1
    ITALIC = 2
    CODE = 4
    LINK = 8
    HEADING_1 = 16
    HEADING_2 = 32
    HEADING_3 = 48


STYLE_BITS = 6


@dataclass(frozen=True, slots=True)
class StyleRun:
    """Characters [start, end) of a text that look alike, and not plain."""

    start: int
    end: int
    style: Style


def heading_style(level: int) -> Style:
    """The style of a heading of a level from 1; deeper ones than 3 look like 3."""
    return Style(min(max(level, 1), 3) << 4)


def heading_level(style: int) -> int:
    """0 where it is no heading."""
    return style >> 4 & 3


def styles_of(runs: Iterable[StyleRun], characters: int) -> "NDArray[np.uint8]":
    """Runs, which may overlap, -> a bit field a character, (characters,) uint8."""
    import numpy as np

    styles = np.zeros(characters, np.uint8)
    for run in runs:
        styles[run.start : run.end] |= np.uint8(run.style)
    return styles


def runs_of(styles: "NDArray[np.uint8] | bytes") -> Iterator[StyleRun]:
    """The longest runs of one style, plain ones left out; of a byte a character."""
    for run in _RUN.finditer(bytes(styles)):
        yield StyleRun(run.start(), run.end(), Style(run[1][0]))
