"""Owns text and its styles -> Markdown. Knows what CommonMark takes for marks, and nothing of files or caches.

A link is `[text]`: where it leads is not part of what a reader sees, so it was not kept.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from compressor.emphasis import longest_backticks, marked
from compressor.styles import Style, heading_level

_INDENT = " \t"
_ITEM = re.compile(r"(?:-|(\d{1,9})[.)])[ \t]+(?=\S)")
# at a line's start; a number's mark comes after its digits
_TAKEN_FOR_A_BLOCK = re.compile(
    r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=#{1,6}(?:\s|$)|>|[-+](?:\s|$)|=+\s*$|[:|\s]*-[-:|\s]*$))"
)
_ESCAPED = r"\1\\"
_TAKEN_FOR_A_HEADINGS_END = re.compile(r"(?:^|(?<=\s))(?=#+$)")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text as it was found."""

    text: str
    looks: bytes  # (characters,) of Style
    begins: bool  # a block
    code: bool  # all of it, and nothing but code


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of Markdown that is no less than a line."""

    text: str
    alone: bool = False  # a heading or code: with a blank line above and below
    item: str = ""  # what ends its mark, "-", "." or ")", where it is one of a list
    begins: bool = False


def to_markdown(text: str, styles: NDArray[np.uint8], starts: Collection[int] = ()) -> str:
    """Text with `styles` (characters,) -> CommonMark that reads the same: headings, emphasis, code, `[links]`.

    A blank line goes where a block starts, at the characters `starts`; without them every line goes on with the
    paragraph above it. Lines that begin with "- " or a number are taken for list items, which they are where
    a parser has read a list. What else would be a mark is escaped.
    """
    assert len(styles) == len(text), (len(styles), len(text))
    found: list[str] = []
    before: _Part | None = None
    for part in _parts(_lines(text, styles.tobytes(), starts)):
        if before is not None:
            apart = before.alone or part.alone or (part.begins and not (part.item and part.item == before.item))
            found.append("\n\n" if apart else "\n")
        found.append(part.text)
        before = part
    return "".join(found)


def _lines(text: str, looks: bytes, starts: Collection[int]) -> Iterator[_Line]:
    """Lines that hold something; one below a blank line begins a block. Blank lines in code are lines of code.

    White space around a line is left out but in code: CommonMark drops it, or takes it for code or a break.
    """
    offset = 0
    begins = False
    for line in text.split("\n"):
        end = offset + len(line)
        own = looks[offset:end]
        begins = begins or offset in starts
        if line.strip() and own.count(Style.CODE) < len(own):
            left = len(line) - len(line.lstrip(_INDENT))
            right = len(line.rstrip(_INDENT))
            yield _Line(line[left:right], own[left:right], begins, code=False)
            begins = False
        elif line.strip() or (offset and looks[offset - 1] == Style.CODE):
            yield _Line(line, own, begins, code=True)
            begins = False
        else:
            begins = True
        offset = end + 1


def _parts(lines: Iterator[_Line]) -> Iterator[_Part]:
    number = -1  # of the list item above, where that had one
    for code, group in groupby(lines, key=lambda line: line.code):
        if code:
            yield from _fenced(list(group))
            number = -1
            continue
        for line in group:
            level = heading_level(line.looks[0])
            mark = _item_mark(line, above=number)
            if level:
                shown = _TAKEN_FOR_A_HEADINGS_END.sub(r"\\", marked(line.text, line.looks))
                yield _Part(f"{'#' * level} {shown}", alone=True)
                number = -1
            elif mark is not None:
                rest = marked(line.text[mark.end() :], line.looks[mark.end() :])
                sign = mark[0].rstrip()
                yield _Part(f"{sign} {_TAKEN_FOR_A_BLOCK.sub(_ESCAPED, rest)}", item=sign[-1], begins=line.begins)
                number = int(mark[1] or -1)
            else:
                shown = _TAKEN_FOR_A_BLOCK.sub(_ESCAPED, marked(line.text, line.looks))
                yield _Part(shown, begins=line.begins)
                number = -1 if line.begins else number


def _fenced(lines: Sequence[_Line]) -> Iterator[_Part]:
    """Code as one block, a blank line between what were several; nothing where all lines are blank."""
    body = "\n".join(f"\n{line.text}" if line.begins else line.text for line in lines).strip("\n")
    if body.strip():
        fence = "`" * max(3, 1 + longest_backticks(body))
        yield _Part(f"{fence}\n{body}\n{fence}", alone=True)


def _item_mark(line: _Line, *, above: int) -> re.Match[str] | None:
    """The mark of a list item. Numbers that Markdown would change, because it counts items itself, are none."""
    mark = _ITEM.match(line.text)
    if mark is None or any(line.looks[: mark.end()]):
        return None
    if mark[1] and (str(int(mark[1])) != mark[1] or above not in (-1, int(mark[1]) - 1)):
        return None
    return mark
