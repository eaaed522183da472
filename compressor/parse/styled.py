"""Owns text on its way through a parser: letters and how each looks, kept together whatever is cut or joined."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, reduce
from operator import and_
from typing import Self

from compressor.styles import Style, StyleRun, runs_of

_MONOSPACED = re.compile(r"mono(?!type)|courier|consol|typewriter|menlo|sourcecode|firacode|cmtt", re.I)


@dataclass(frozen=True, slots=True)
class Styled:
    """Text with a style a character."""

    text: str
    looks: bytes  # (characters,) of Style

    @classmethod
    def of(cls, text: str, style: Style = Style.PLAIN) -> Self:
        """Text that looks the same throughout."""
        return cls(text, bytes((style,)) * len(text))

    @classmethod
    def join(cls, separator: str, parts: Iterable["Styled"]) -> Self:
        """As `str.join`; the separators are plain."""
        all_parts = list(parts)
        return cls(
            separator.join(part.text for part in all_parts),
            bytes(len(separator)).join(part.looks for part in all_parts),
        )

    def __len__(self) -> int:
        return len(self.text)

    def __add__(self, other: "Styled") -> "Styled":
        return Styled(self.text + other.text, self.looks + other.looks)

    def __getitem__(self, where: slice) -> "Styled":
        return Styled(self.text[where], self.looks[where])

    def also(self, style: Style) -> "Styled":
        """The same text with a style more."""
        return Styled(self.text, self.looks.translate(_adding(style))) if style else self

    def strip(self, characters: str | None = None) -> "Styled":
        """As `str.strip`."""
        start = len(self.text) - len(self.text.lstrip(characters))
        return self[start : start + len(self.text.strip(characters))]

    def rstrip(self, characters: str | None = None) -> "Styled":
        """As `str.rstrip`."""
        return self[: len(self.text.rstrip(characters))]

    def sub(self, pattern: re.Pattern[str], replacement: str) -> "Styled":
        """As `pattern.sub`; what is put in looks as all that it replaces has in common."""
        if self.looks.count(self.looks[:1]) == len(self.looks):  # most text: it looks the same throughout
            text = pattern.sub(replacement, self.text)
            return Styled(text, self.looks[:1] * len(text))
        parts: list[Styled] = []
        last = 0
        for match in pattern.finditer(self.text):
            start, end = match.span()
            common = reduce(and_, self.looks[start:end]) if end > start else 0
            parts += (self[last:start], Styled.of(match.expand(replacement), Style(common)))
            last = end
        return Styled.join("", [*parts, self[last:]])

    @property
    def runs(self) -> tuple[StyleRun, ...]:
        """What is not plain, in order."""
        return tuple(runs_of(self.looks))


def is_monospaced(font: str) -> bool:
    """Whether a font's name says that code is set in it."""
    return _MONOSPACED.search(font) is not None


@cache
def _adding(style: Style) -> bytes:
    """What every byte is with a style's bits set."""
    return bytes(look | style for look in range(256))
