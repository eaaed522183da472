"""Owns one line of text and its styles -> CommonMark's inline marks: bold, italic, code, links."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import groupby
from unicodedata import category

from compressor.styles import Style, StyleRun, runs_of

_MARKS = {Style.LINK: ("[", "]"), Style.BOLD: ("**", "**"), Style.ITALIC: ("*", "*")}
_INLINE = int(Style.BOLD | Style.ITALIC | Style.CODE | Style.LINK)  # an int: arithmetic of flags is slow
_APART = "<!-- -->"  # a comment: nothing to a reader, but it keeps stars from what stands beside them
_TAKEN_FOR_MARKS = re.compile(r"[\\`*\[\]~]|<(?!\s)|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])")
_BACKTICKS = re.compile("`+")
_BEFORE_A_TARGET = re.compile(r"(?<=\])(?=:)")


class _Kind(Enum):
    TEXT = auto()
    OPENS = auto()
    CLOSES = auto()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str  # not empty

    def is_stars(self, kind: _Kind) -> bool:
        return self.kind is kind and self.text[0] == "*"


_MARKING = (_Kind.OPENS, _Kind.CLOSES)
_LINK_OPENS, _LINK_CLOSES = _Token(_Kind.OPENS, "["), _Token(_Kind.CLOSES, "]")


def marked(text: str, looks: bytes) -> str:
    """A line with marks where its `looks` (characters,) have them; what would be a mark besides is escaped.

    White space at the ends of emphasis stands outside of its marks, and so does a full stop or a bracket that a letter
    follows on the other side: between the two CommonMark knows no emphasis.
    """
    looks = bytes(look & _INLINE for look in looks)
    if not any(looks):
        return _escaped(text)
    tokens = _merged(list(_tokens(text, _trimmed(text, looks))))
    shown = ""
    for place, token in enumerate(tokens):
        before = tokens[place - 1] if place else None
        if before == _LINK_CLOSES and token.text[0] in "(:":  # it would say where the link leads
            shown += "\\"
        elif token == _LINK_OPENS and before is not None and before.kind is _Kind.TEXT and shown[-1] == "!":
            shown = f"{shown[:-1]}\\!"  # it would be a picture
        elif _clings(tokens, place):
            shown += _APART
        shown += token.text
    return shown


def longest_backticks(code: str) -> int:
    """How many backticks stand in a row at most."""
    return max(map(len, _BACKTICKS.findall(code)), default=0)


def _trimmed(text: str, looks: bytes) -> bytes:
    """Looks without what cannot stand beside a mark at the ends of their runs."""
    kept = bytearray(looks)
    for style in map(int, (*_MARKS, Style.CODE)):
        for run in runs_of(bytes(look & style for look in looks)):
            start, end = _solid(text, looks, run)
            for place in (*range(run.start, start), *range(end, run.end)):
                kept[place] &= ~style
    return bytes(kept)


def _solid(text: str, looks: bytes, run: StyleRun) -> tuple[int, int]:
    """The part of a run of one style that marks can enclose."""
    start, end = run.start, run.end
    while True:
        start = end - len(text[start:end].lstrip())
        end = start + len(text[start:end].rstrip())
        if start == end or run.style not in (Style.BOLD, Style.ITALIC):
            return start, end
        if _is_loose(text, looks, start, start - 1):
            start += 1
        elif _is_loose(text, looks, end - 1, end):
            end -= 1
        else:
            return start, end


def _is_loose(text: str, looks: bytes, inside: int, outside: int) -> bool:
    """Whether stars between two neighbours would be no mark. Code has backticks around it, which are signs."""
    if not 0 <= outside < len(text) or (looks[inside] | looks[outside]) & Style.CODE:
        return False
    return _is_sign(text[inside]) and _is_letter(text[outside])


def _is_sign(character: str) -> bool:
    return category(character)[0] in "PS"


def _is_letter(character: str) -> bool:
    """Neither white space nor punctuation to any version of CommonMark; only the newer ones count symbols among it."""
    return not character.isspace() and category(character)[0] != "P"


def _tokens(text: str, looks: bytes) -> Iterator[_Token]:
    """Marks nest: of those that open at one place the longest is the outermost; one that goes on is opened again."""
    opened: list[Style] = []
    start = 0
    for _, group in groupby(looks):
        end = start + len(list(group))
        style = Style(looks[start])
        staying = next((place for place, mark in enumerate(opened) if mark not in style), len(opened))
        yield from (_Token(_Kind.CLOSES, _MARKS[mark][1]) for mark in reversed(opened[staying:]))
        del opened[staying:]
        opening = [mark for mark in _MARKS if mark in style and mark not in opened]
        if opening:  # not before white space
            gap = end - start - len(text[start:end].lstrip())
            if gap:
                yield _Token(_Kind.TEXT, text[start : start + gap])
            start += gap
        if start < end:
            opening.sort(key=lambda mark: -_reach(looks, start, int(mark)))
            yield from (_Token(_Kind.OPENS, _MARKS[mark][0]) for mark in opening)
            opened += opening
            piece = text[start:end]
            if Style.CODE in style:
                # In a link it would say where that leads, code or not.
                pieces = _BEFORE_A_TARGET.split(piece) if Style.LINK in style else [piece]
                yield _Token(_Kind.TEXT, _APART.join(map(_code, pieces)))
            else:
                yield _Token(_Kind.TEXT, _escaped(piece))
        start = end
    yield from (_Token(_Kind.CLOSES, _MARKS[mark][1]) for mark in reversed(opened))


def _reach(looks: bytes, start: int, mark: int) -> int:
    """Where a mark that is on at `start` ends."""
    return next((place for place in range(start, len(looks)) if not looks[place] & mark), len(looks))


def _code(text: str) -> str:
    if text.isspace():
        return text
    fence = "`" * (longest_backticks(text) + 1)
    padded = text[0] == "`" or text[-1] == "`" or (text[0] == " " and text[-1] == " ")
    return f"{fence} {text} {fence}" if padded else f"{fence}{text}{fence}"


def _escaped(text: str) -> str:
    return _TAKEN_FOR_MARKS.sub(r"\\\g<0>", text)


def _merged(tokens: Sequence[_Token]) -> list[_Token]:
    """Stars that open or close together as one token, because that is how they are read."""
    merged: list[_Token] = []
    for place, token in enumerate(tokens):
        together = bool(merged) and any(token.is_stars(kind) and merged[-1].is_stars(kind) for kind in _MARKING)
        if together and not (token.kind is _Kind.OPENS and _reopens(tokens[place + 1 :])):
            merged[-1] = replace(token, text=merged[-1].text + token.text)
        else:
            merged.append(token)
    return merged


def _reopens(tokens: Sequence[_Token]) -> bool:
    """Whether other stars open before two marks that are open close: they would be taken for the end of one."""
    open_stars = 2
    for token in tokens:
        if token.is_stars(_Kind.OPENS):
            return True
        open_stars -= token.is_stars(_Kind.CLOSES)
        if not open_stars:
            break
    return False


def _clings(tokens: Sequence[_Token], place: int) -> bool:
    """Whether stars would be misread, with what stands before the token at `place` so near."""
    if place == 0:
        return False
    before, token = tokens[place - 1], tokens[place]
    if token.is_stars(_Kind.OPENS):
        letter, sign = before.text[-1], tokens[place + 1].text[0]
        return any(before.is_stars(kind) for kind in _MARKING) or (_is_letter(letter) and _is_sign(sign))
    if before.is_stars(_Kind.CLOSES) and token.kind is _Kind.TEXT:
        return _is_sign(tokens[place - 2].text[-1]) and _is_letter(token.text[0])
    return False
