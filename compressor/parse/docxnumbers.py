"""Owns the numbers that Word shows before paragraphs, which stand nowhere in a file: they are counted, as Word does,
along a story's paragraphs from what numbering.xml and the styles say.

Knows nothing of text. Where a higher level that a number names has not been counted yet, its first number is shown.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from docx.oxml.ns import qn
from lxml import etree

from compressor.parse.docxtext import switch
from compressor.parse.numerals import numeral

BULLET = "- "  # for any sign that is no number
_PLACEHOLDER = re.compile(r"%([1-9])")


@dataclass(frozen=True, slots=True)
class _Level:
    form: str  # w:numFmt
    pattern: str  # the example of the form "custom"
    text: str  # "%1.%2", levels from 1
    start: int
    restart: int  # starts again after a paragraph of a level below this one, levels from 0
    legal: bool  # all its numbers in digits
    gap: str  # between number and text


@dataclass(frozen=True, slots=True)
class _List:
    counted: int  # lists of one abstract definition count on from each other
    levels: Mapping[int, _Level]
    overrides: Mapping[int, int]  # level -> what this list begins with
    named: Mapping[str, int]  # paragraph style -> its level


@dataclass(frozen=True, slots=True)
class _Said:
    """What a paragraph or a style says of its numbering, None where it says nothing. List 0 is none at all."""

    number: int | None
    level: int | None
    based: str = ""  # the style it goes on with


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a document, and which of its styles are numbered."""

    lists: Mapping[int, _List]
    styles: Mapping[str, _Said]
    usual: str  # the style of paragraphs that name none

    def place(self, properties: etree._Element | None) -> tuple[int, int] | None:
        """List and level of a paragraph, None where neither it nor its style says any; list and level are merged
        apart from each other: a style may only say the level of the list that it takes over.
        """
        said = _said(properties)
        number, level = said.number, said.level
        names = list(self._chain(said.based or self.usual))
        for name in names:
            style = self.styles[name]
            number = style.number if number is None else number
            level = style.level if level is None else level
            if style.number is not None:
                break
        if number is None:
            return None
        if level is None:
            named = self.lists[number].named if number in self.lists else {}
            level = next((named[name] for name in names if name in named), 0)
        return number, level

    def _chain(self, name: str) -> Iterator[str]:
        """A style and those that it is based on."""
        seen: set[str] = set()
        while name in self.styles and name not in seen:
            seen.add(name)
            yield name
            name = self.styles[name].based


def read_lists(numbering: etree._Element | None, styles: etree._Element, *, usual: str) -> Lists:
    """The lists of numbering.xml, None where there is none; `styles` is the root of styles.xml.

    usual: the style of paragraphs that name none.
    """
    paragraph_styles: dict[str, _Said] = {}
    list_styles: dict[str, _Said] = {}
    for style in styles.iterchildren(qn("w:style")):
        name = style.get(qn("w:styleId"), "")
        properties = style.find(qn("w:pPr"))
        said = _Said(_said(properties).number, _said(properties).level, _value(style, "w:basedOn") or "")
        if style.get(qn("w:type")) == "numbering":
            list_styles[name] = said
        elif style.get(qn("w:type")) == "paragraph":
            paragraph_styles[name] = said
    lists = {} if numbering is None else _lists(numbering, list_styles)
    return Lists(lists, paragraph_styles, usual)


class Numbers:
    """Counts along one story: the body, or the text boxes. To be asked for every paragraph once, in order."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._counts: dict[int, dict[int, int]] = {}  # abstract definition -> level -> the last number
        self._begun: set[tuple[int, int]] = set()  # lists and levels that have had their overrides

    def next(self, properties: etree._Element | None) -> str | None:
        """What Word shows before the text of a paragraph with these w:pPr, with the gap after it.

        BULLET for any bullet, "" where nothing is shown, None where nothing is said of a number.
        """
        place = self._lists.place(properties)
        if place is None:
            return None
        number, depth = place
        found = self._lists.lists.get(number)
        if found is None or depth not in found.levels:
            return ""
        counts = self._counts.setdefault(found.counted, {})
        self._count(found, number, depth, counts)
        level = found.levels[depth]
        shown = _PLACEHOLDER.sub(lambda match: _shown(found, level, int(match.group(1)) - 1, counts), level.text)
        if not shown.strip():
            return ""
        if level.form == "bullet" or not any(c.isalnum() for c in shown):
            return BULLET
        return shown.strip() + level.gap

    def _count(self, found: _List, number: int, depth: int, counts: dict[int, int]) -> None:
        for deeper in [d for d in counts if d > depth and d in found.levels and depth < found.levels[d].restart]:
            del counts[deeper]
        start = found.overrides.get(depth, found.levels[depth].start)
        if depth in found.overrides and (number, depth) not in self._begun:
            counts[depth] = start
        else:
            counts[depth] = counts[depth] + 1 if depth in counts else start
        self._begun.add((number, depth))


def _shown(found: _List, around: _Level, depth: int, counts: Mapping[int, int]) -> str:
    """The number of a level inside the text of a level."""
    level = found.levels.get(depth)
    if level is None:
        return ""
    number = counts.get(depth, found.overrides.get(depth, level.start))
    form = "decimal" if around.legal and level.form not in ("bullet", "none") else level.form
    return numeral(number, form, level.pattern)


def _lists(numbering: etree._Element, styles: Mapping[str, _Said]) -> dict[int, _List]:
    abstracts = {_integer(e.get(qn("w:abstractNumId"))): e for e in numbering.iterchildren(qn("w:abstractNum"))}
    numbers = {_integer(e.get(qn("w:numId"))): e for e in numbering.iterchildren(qn("w:num"))}
    lists: dict[int, _List] = {}
    for number, element in numbers.items():
        abstract = _integer(_value(element, "w:abstractNumId"))
        linked = styles.get(_value(abstracts.get(abstract), "w:numStyleLink") or "")
        if linked is not None and linked.number in numbers:  # the levels are those of a list style
            abstract = _integer(_value(numbers[linked.number], "w:abstractNumId"))
        if number is not None and abstract is not None and abstract in abstracts:
            lists[number] = _list(abstract, abstracts[abstract], element)
    return lists


def _list(counted: int, abstract: etree._Element, element: etree._Element) -> _List:
    levels = dict(_levels(abstract))
    overrides: dict[int, int] = {}
    for override in element.iterchildren(qn("w:lvlOverride")):
        levels.update(_levels(override))
        depth = _integer(override.get(qn("w:ilvl")))
        start = _integer(_value(override, "w:startOverride"))
        if depth is not None and start is not None:
            overrides[depth] = start
    named: dict[str, int] = {}
    for level in abstract.iterchildren(qn("w:lvl")):
        style, depth = _value(level, "w:pStyle"), _integer(level.get(qn("w:ilvl")))
        if style and depth is not None:
            named.setdefault(style, depth)
    return _List(counted, levels, overrides, named)


def _levels(parent: etree._Element) -> Iterator[tuple[int, _Level]]:
    for element in parent.iterchildren(qn("w:lvl")):
        depth = _integer(element.get(qn("w:ilvl")))
        if depth is None:
            continue
        form = next(element.iter(qn("w:numFmt")), None)  # a custom one stands in an alternative, before its fallback
        start, restart = _integer(_value(element, "w:start")), _integer(_value(element, "w:lvlRestart"))
        yield (
            depth,
            _Level(
                "decimal" if form is None else form.get(qn("w:val"), "decimal"),
                "" if form is None else form.get(qn("w:format"), ""),
                _value(element, "w:lvlText") or "",
                0 if start is None else start,
                depth if restart is None else min(restart, depth),
                switch(element, "w:isLgl") or False,
                "" if _value(element, "w:suff") == "nothing" else " ",
            ),
        )


def _said(properties: etree._Element | None) -> _Said:
    """What paragraph properties themselves say, and the style that they name."""
    if properties is None:
        return _Said(None, None)
    numbered = properties.find(qn("w:numPr"))
    return _Said(
        _integer(_value(numbered, "w:numId")),
        _integer(_value(numbered, "w:ilvl")),
        _value(properties, "w:pStyle") or "",
    )


def _value(parent: etree._Element | None, tag: str) -> str | None:
    child = None if parent is None else parent.find(qn(tag))
    return None if child is None else child.get(qn("w:val"))


def _integer(text: str | None) -> int | None:
    """A number of the file, None for what is none: a damaged number costs a number, not the document."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
