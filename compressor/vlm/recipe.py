"""Owns the typography of page images: what text looks like to a vision-language model, checked and named by a hash.

The ranges are those that Glyph was trained in (dpi, font size, line height) with margins up to an inch; the default is
close to its published recipe, with DejaVu Sans in the place of Verdana, whose outlines it shares.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from compressor.errors import ModelError

VERSION = 1  # raise it when the same text and recipe give other pixels
FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif")  # they come with matplotlib
_COLOUR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Lengths in points, 72 to an inch. Raises ModelError for values outside the ranges."""

    dpi: int = 96  # 45..300
    page_width: int = 595  # 100..2000; A4
    page_height: int = 842
    margin: int = 10  # 0..72
    font: str = "DejaVuSans"
    font_size: float = 9.0  # 7..14
    line_height: float = 11.0  # font_size + 0..3
    ink: str = "#000000"
    paper: str = "#ffffff"

    def __post_init__(self) -> None:
        _check("dpi", self.dpi, 45, 300)
        _check("page_width", self.page_width, 100, 2000)
        _check("page_height", self.page_height, 100, 2000)
        _check("margin", self.margin, 0, 72)
        _check("font_size", self.font_size, 7, 14)
        _check("line_height", self.line_height, self.font_size, self.font_size + 3)
        if self.font not in FONTS:
            raise ModelError(f"a page's font must be one of {', '.join(FONTS)}, not {self.font!r}")
        for name, colour in (("ink", self.ink), ("paper", self.paper)):
            if not _COLOUR.fullmatch(colour):
                raise ModelError(f"a page's {name} must be a colour as #rrggbb, not {colour!r}")
        if self.ink == self.paper:
            raise ModelError(f"a page's ink and paper must differ; both are {self.ink}")

    @property
    def digest(self) -> str:
        """Names the recipe: 8 hex digits, equal for equal pixels."""
        facts = json.dumps({"version": VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:8]

    def pixels(self, points: float) -> int:
        """A length as whole pixels."""
        return round(points * self.dpi / 72)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ModelError(f"a page's {name} must be {least:g} to {most:g}, not {value:g}")
