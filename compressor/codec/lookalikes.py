"""Owns which of several characters that look alike stands in a cell: the one of its word's script."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.codec.atlas import PLANES, load_atlas
from compressor.codec.typography import BLANK, CONTINUATION, cell_bitmaps

NONE = -1  # the numbers of no glyph
RARE, COMMON = 1, 2  # letters
STANDARDS = ("iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8", "cp1252", "cp1251", "tis-620")
HAN, HAN_STANDARDS = range(0x2E80, 0xD7B0), ("gb2312", "big5", "shift_jis", "euc_kr")  # Han, kana and Hangul
UNCODED = range(0x0530, 0x1100)  # Armenian to Georgian; those of these that have a standard stand in it nearly whole
LEAST_LETTERS = 10  # of a script; what stands alone, such as the micro sign, is of none
# Added to logits, so that characters of the script come first, then those of none.
_OF_SCRIPT, _OF_NONE = 2000.0, 1000.0


@dataclass(frozen=True, slots=True)
class Script:
    """The script of what surrounds cells, (strips, 56)."""

    number: Tensor  # int64, 0 where no letter tells
    stable: Tensor  # bool: any device finds the same one


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """What is known of characters besides their glyphs; tables of (0x20000,) by character."""

    script: Tensor  # int64, 0 of none, and of a rare letter of a script that has common ones
    witness: Tensor  # int64: the script that a letter tells of; 0 where common letters of several have its numbers
    ambiguous: Tensor  # bool: others have its numbers, and a script may tell them apart
    # int64: of a sign the ASCII one that is drawn alike, of a wide digit the letter of its script that is: nobody can
    # see which; of a rare wide letter the only common one that has its numbers; else itself. Narrow digits are
    # Arabic's, and as frequent as the letters that they look like.
    plain: Tensor
    sign: Tensor  # bool: all that have its numbers are read as one ASCII sign
    scripts: int  # numbers of scripts, 0 among them

    def to(self, device: torch.device) -> "Lookalikes":
        return Lookalikes(
            script=self.script.to(device),
            witness=self.witness.to(device),
            ambiguous=self.ambiguous.to(device),
            plain=self.plain.to(device),
            sign=self.sign.to(device),
            scripts=self.scripts,
        )

    def mixed(self, found: Tensor, told: Tensor) -> Tensor:
        """The strips that have, or may have, characters of several scripts, (strips,) bool: all is well in others.

        found: (strips, 56) characters; told: the cells that may count.
        """
        witness = self.witness[found]
        scripts = torch.stack([self.script[found], torch.where(witness > 0, witness, self.script[found])])
        counts = told & (self.ambiguous[found] | (witness > 0))
        most = scripts.masked_fill(~counts, 0).amax((0, 2))
        return scripts.masked_fill(~counts, len(self.script)).amin((0, 2)) < most

    def scripts_around(
        self, found: Tensor, blank: Tensor, told: Tensor, certain: Tensor, possible: Tensor
    ) -> tuple["Script", "Script"]:
        """The scripts of each cell's word and of its strip.

        found: (strips, 56) characters; blank: where words end; told: the cells that count; certain: those that count
        on any device; possible: those that do on some.
        """
        (strips, cells), scripts = found.shape, self.scripts
        word = blank.cumsum(1)
        rows = torch.arange(strips, device=found.device)[:, None] * (cells + 1) + word
        witness = self.witness[found]
        places = (rows * scripts + witness).flatten()
        counts = torch.zeros(3, strips * (cells + 1) * scripts, dtype=torch.int32, device=found.device)
        for count, cells_of in zip(counts, (told, certain, possible), strict=True):
            count.scatter_add_(0, places, ((witness > 0) & cells_of).int().flatten())
        counts = counts.view(3, strips, cells + 1, scripts)
        by_word, by_strip = _most(*counts), _most(*counts.sum(2, keepdim=True))
        return (
            Script(by_word.number.gather(1, word), by_word.stable.gather(1, word)),
            Script(by_strip.number.expand(strips, cells), by_strip.stable.expand(strips, cells)),
        )

    def preference(self, characters: Tensor, script: Tensor) -> Tensor:
        """How much before others characters come where a script is expected, float32."""
        found = self.script[characters]
        return (found == script) * _OF_SCRIPT + (found == 0) * _OF_NONE


def _most(here: Tensor, least: Tensor, most: Tensor) -> Script:
    """Counts of letters by script (strips, words, scripts) -> the scripts of most of them, (strips, words).

    Those found here decide; another device finds between the least and the most of each.
    """
    count, number = here.max(2)
    number = number * (count > 0)
    others = most.scatter(2, number[..., None], 0).amax(2)
    return Script(number, (least.gather(2, number[..., None])[..., 0] > others) | (most.amax(2) == 0))


def scripts_of(characters: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Of each character a number for its script, 0 for none, and whether it is a letter, RARE or COMMON.

    A script is what letters' names begin with, as in CYRILLIC SMALL LETTER A; Python knows no property for it.
    """
    names = [unicodedata.name(chr(character), "").split(" ")[0] for character in characters.tolist()]
    letters = np.array([_letter(chr(character)) for character in characters.tolist()], np.uint8)
    counts = Counter(name for name, letter in zip(names, letters, strict=True) if letter)
    known = sorted(name for name, count in counts.items() if count >= LEAST_LETTERS and name)
    numbers = {name: number for number, name in enumerate(known, 1)}
    return np.array([numbers.get(name, 0) for name in names], np.uint8), letters


def _letter(character: str) -> int:
    """A letter is common where a national standard has it, or it is of a script that Python has none of."""
    if unicodedata.category(character)[0] != "L":
        return 0
    standards = HAN_STANDARDS if ord(character) in HAN else STANDARDS
    return COMMON if ord(character) in UNCODED or any(character.encode(name, "ignore") for name in standards) else RARE


def lookalikes_of(
    narrow: Sequence[list[int]],
    wide: Sequence[list[int]],
    characters: NDArray[np.int64],
    scripts: NDArray[np.uint8],
    letters: NDArray[np.uint8],
) -> Lookalikes:
    """Narrow and wide characters in groups that have the same numbers; of all characters scripts and letters."""
    script, letter = np.zeros(PLANES, np.int64), np.zeros(PLANES, np.uint8)
    script[characters], letter[characters] = scripts, letters
    rare = np.isin(script, np.unique(script[letter == COMMON])) & (letter == RARE)
    script[rare] = 0  # of a script that has common ones: a dash rather than a letter of phonetics
    witness, plain = script * (letter > 0), np.arange(PLANES)
    ambiguous, sign = np.zeros((2, PLANES), np.bool_)
    for members in narrow:
        ambiguous[members] = len(set(script[members].tolist())) > 1
        telling = [member for member in members if letter[member] == COMMON] or members
        told = {int(script[member]) if letter[member] else 0 for member in telling}
        witness[members] = told.pop() if len(told) == 1 else 0
        for ascii_sign in (member for member in members if member < 128 and not letter[member]):
            same = _drawn_as(ascii_sign, members)
            plain[same], sign[same], ambiguous[same] = ascii_sign, same == members, False
    for members in wide:
        for digit in (member for member in members if script[member] and not letter[member]):
            alike = [other for other in members if letter[other] and script[other] == script[digit]]
            plain[digit] = next(iter(_drawn_as(digit, alike)), digit)
        if sum(letter[members] == COMMON) == 1:
            plain[[member for member in members if letter[member] == RARE]] = members[letter[members].argmax()]
    return Lookalikes(
        script=torch.from_numpy(script),
        witness=torch.from_numpy(witness),
        ambiguous=torch.from_numpy(ambiguous),
        plain=torch.from_numpy(plain),
        sign=torch.from_numpy(sign),
        scripts=int(script.max()) + 1,
    )


def _drawn_as(character: int, others: Sequence[int]) -> list[int]:
    """Which of other characters, as wide as one, have its pixels."""
    behind = CONTINUATION if load_atlas().wide[character] else BLANK
    drawn = cell_bitmaps(np.array([[each, behind] for each in (character, *others)], np.int32))
    return [other for other, pixels in zip(others, drawn[1:], strict=True) if (pixels == drawn[0]).all()]
