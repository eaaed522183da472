"""Owns the numbers that PowerPoint shows before paragraphs, which it counts along a shape's text (a:buAutoNum).

Numbers that a shape takes over from its slide's layout are not looked for: layouts have bullets.
"""

import re
from collections.abc import Iterator, Sequence

from pptx.oxml.ns import qn
from pptx.oxml.xmlchemy import BaseOxmlElement

from compressor.parse.numerals import numeral

_SCHEME = re.compile(r"(.+?)(ParenBoth|ParenR|Period|Plain|Minus)")
_FORMS = {
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
    "arabicDb": "decimalFullWidth",
    "arabic1": "arabicAlpha",
    "arabic2": "arabicAbjad",
    "hebrew2": "hebrew2",
    "circleNumDb": "decimalEnclosedCircle",
    "circleNumWdBlack": "decimalEnclosedCircle",
    "circleNumWdWhite": "decimalEnclosedCircle",
    "ea1Chs": "chineseCountingThousand",
    "ea1Cht": "chineseCountingThousand",
    "ea1JpnChsDb": "chineseCountingThousand",
    "ea1JpnKor": "chineseCountingThousand",
}
_AROUND = {"ParenBoth": "({})", "ParenR": "{})", "Period": "{}.", "Plain": "{}", "Minus": "{}-"}


def numbers(paragraphs: Sequence[BaseOxmlElement], defaults: BaseOxmlElement | None) -> Iterator[str]:
    """What is shown before each a:p of one text body, "" for nothing; `defaults` is the body's a:lstStyle.

    A list goes on over deeper paragraphs and empty ones, and ends at any other.
    """
    running: dict[int, tuple[str, int, int]] = {}  # level -> scheme, first number, last number
    for paragraph in paragraphs:
        if not any(run.text for run in paragraph.iter(qn("a:t"))):  # no number is shown there, and none counted
            yield ""
            continue
        level = _integer(_attribute(paragraph.find(qn("a:pPr")), "lvl"), 0)
        found = _scheme(paragraph, defaults, level)
        before = running.get(level)
        running = {other: state for other, state in running.items() if other < level}
        if found is None:
            yield ""
            continue
        scheme = found.get("type", "")
        first = _integer(found.get("startAt"), 1)
        number = before[2] + 1 if before is not None and before[:2] == (scheme, first) else first
        running[level] = (scheme, first, number)
        yield _written(scheme, number)


def _scheme(paragraph: BaseOxmlElement, defaults: BaseOxmlElement | None, level: int) -> BaseOxmlElement | None:
    """How a paragraph says that it is numbered, or else its shape for the level."""
    usual = None if defaults is None else defaults.find(qn(f"a:lvl{level + 1}pPr"))
    for properties in (paragraph.find(qn("a:pPr")), usual):
        if properties is None:
            continue
        for tag in ("a:buNone", "a:buChar", "a:buBlip", "a:buAutoNum"):
            said = properties.find(qn(tag))
            if said is not None:
                return said if tag == "a:buAutoNum" else None
    return None


def _written(scheme: str, number: int) -> str:
    match = _SCHEME.fullmatch(scheme)
    kind, around = match.groups() if match else ("", "Period")
    return _AROUND[around].format(numeral(number, _FORMS.get(kind, "decimal")))


def _attribute(element: BaseOxmlElement | None, name: str) -> str | None:
    return None if element is None else element.get(name)


def _integer(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() else default
