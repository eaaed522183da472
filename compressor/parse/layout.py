"""Owns page geometry: lines with boxes -> blocks in reading order. Knows nothing about any file format's library.

Coordinates are points on the page as a reader sees it, origin top left.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from statistics import median

from compressor.parse.styled import Styled
from compressor.styles import Style
from compressor.types import BlockKind

_BULLET = re.compile(r"^(?:[•‣▪●○■□◦–—*·]|-|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s+\S")
_MARK = re.compile(r"[•‣▪●○■□◦–—*·-]")
_SENTENCE_END = re.compile(r"[.!?:;。！？؟۔।]['\")\]”’]*$")
_HYPHEN = re.compile(r"(\w*[^\W\d_])[-‐\u00ad]$")
_WORD = re.compile(r"[^\W\d_]{2,}(?:-[^\W\d_]+)*")
_NUMBERED = re.compile(
    r"^(?:\d{1,2}(?:\.\d{1,2}){0,4}\.?|[A-Z]\.|[IVX]{1,5}\.|(?:Chapter|Section|Part|Appendix)\b.*?)\s+\S"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text."""

    styled: Styled
    x0: float
    y0: float
    x1: float
    y1: float
    size: float  # of the font, in points
    bold: bool  # most of it, and `mono` too
    mono: bool
    group: int  # lines that the library saw as one block share it
    kind: BlockKind = BlockKind.TEXT  # TABLE for a whole table that stands in a line's place

    @property
    def text(self) -> str:
        return self.styled.text


@dataclass(frozen=True, slots=True)
class Placed:
    """A block before it is normalised to its page."""

    kind: BlockKind
    text: Styled
    x0: float
    y0: float
    x1: float
    y1: float
    level: int = 0


@dataclass(frozen=True, slots=True)
class Typography:
    """What is normal in a document, so that headings and hyphens can be told from it."""

    body: float  # font size of most characters
    heading_sizes: tuple[float, ...]  # larger sizes, largest first
    words: frozenset[str]  # lower case
    outline: dict[str, int]  # heading text without white space, lower case -> level


def typography(lines: Iterable[Line], outline: dict[str, int]) -> Typography:
    """Measured on sample pages."""
    weight: dict[float, int] = {}
    words: set[str] = set()
    for line in lines:
        size = round(line.size * 2) / 2
        weight[size] = weight.get(size, 0) + len(line.text)
        words.update(word.lower() for word in _WORD.findall(line.text[:-1] if line.text.endswith("-") else line.text))
    body = max(weight, key=lambda size: (weight[size], -size)) if weight else 10.0
    total = sum(weight.values())
    larger = sorted((size for size in weight if size >= body * 1.12 and weight[size] < 0.3 * total), reverse=True)
    return Typography(body, tuple(larger[:6]), frozenset(words), outline)


def reading_order(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines as flows: each flow is one column between full-width elements, its lines from top to bottom."""
    lines = [line for line in lines if line.text.strip()]
    if len(lines) < 6:
        return [_top_down(lines)] if lines else []
    gutter = _gutter(lines)
    if gutter is None:
        return [_top_down(lines)]
    flows: list[list[Line]] = []
    left: list[Line] = []
    right: list[Line] = []

    def close() -> None:
        for side in (left, right):
            if side:
                flows.extend(reading_order(side))
        left.clear()
        right.clear()

    for line in sorted(lines, key=lambda line: (line.y0, line.x0)):
        if line.x1 <= gutter + 1:
            left.append(line)
        elif line.x0 >= gutter - 1:
            right.append(line)
        else:
            close()
            if flows and all(_crosses(other, gutter) for other in flows[-1]):
                flows[-1].append(line)
            else:
                flows.append([line])
    close()
    return flows


def _crosses(line: Line, x: float) -> bool:
    return line.x0 < x - 1 and line.x1 > x + 1


def _gutter(lines: Sequence[Line]) -> float | None:
    """The x of white space between two columns of prose, None where there is none.

    Cells of a table leave white space too, but they are short: in prose most lines fill their column.
    """
    x0, x1 = min(line.x0 for line in lines), max(line.x1 for line in lines)
    width = x1 - x0
    em = median(line.size for line in lines)
    if width < 12 * em:
        return None
    bins = 160
    covered = [0] * (bins + 1)
    for line in lines:
        a = int((line.x0 - x0) / width * bins)
        b = int((line.x1 - x0) / width * bins)
        covered[a] += 1
        covered[min(b + 1, bins)] -= 1
    depth = list(accumulate(covered[:bins]))
    allowed = [i for i in range(int(0.12 * bins), int(0.88 * bins)) if depth[i] <= 0.2 * len(lines)]
    candidates: list[tuple[int, float]] = []  # crossing lines, x
    for _, run in groupby(enumerate(allowed), key=lambda place: place[1] - place[0]):
        spots = [i for _, i in run]
        fewest = min(depth[i] for i in spots)
        clear = [i for i in spots if depth[i] == fewest]
        candidates.append((fewest, x0 + (clear[len(clear) // 2] + 0.5) / bins * width))
    middle = (x0 + x1) / 2
    for _, x in sorted(candidates, key=lambda candidate: (candidate[0], abs(candidate[1] - middle))):
        if _columns(lines, x):
            return x
    return None


def _columns(lines: Sequence[Line], x: float) -> bool:
    left = [line for line in lines if line.x1 <= x + 1]
    right = [line for line in lines if line.x0 >= x - 1]
    if len(left) < 3 or len(right) < 3 or len(left) + len(right) < 8:
        return False
    top = max(min(line.y0 for line in left), min(line.y0 for line in right))
    bottom = min(max(line.y1 for line in left), max(line.y1 for line in right))
    if bottom - top < 4 * median(line.size for line in lines):
        return False  # one above the other
    for side in (left, right):
        span = max(line.x1 for line in side) - min(line.x0 for line in side)
        em = median(line.size for line in side)
        filled: dict[int, float] = {}  # a side may itself be columns: what counts is how much of each row is text
        for line in side:
            row = round((line.y0 + line.y1) / 2 / em)
            filled[row] = filled.get(row, 0.0) + (line.x1 - line.x0)
        full = sum(1 for width in filled.values() if width > 0.6 * span)
        if full < 0.3 * len(filled) or span < 8 * em:
            return False
    return True


def _top_down(lines: Sequence[Line]) -> list[Line]:
    """By baseline, then from left to right on one baseline."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: (line.y1 + line.y0, line.x0)):
        row = rows[-1] if rows else None
        if row is not None and _same_row(row[-1], line):
            row.append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.x0)]


def _same_row(a: Line, b: Line) -> bool:
    overlap = min(a.y1, b.y1) - max(a.y0, b.y0)
    return overlap > 0.6 * min(a.y1 - a.y0, b.y1 - b.y0) and BlockKind.TABLE not in (a.kind, b.kind)


def blocks_of(flow: Sequence[Line], style: Typography) -> list[Placed]:
    """A flow's lines as paragraphs, headings, list items, tables and code."""
    rows: list[list[Line]] = []
    for line in flow:
        if rows and _same_row(rows[-1][-1], line) and line.x0 >= rows[-1][-1].x0:
            rows[-1].append(line)
        else:
            rows.append([line])
    placed: list[Placed] = []
    paragraph: list[Line] = []
    i = 0
    while i < len(rows):
        if rows[i][0].kind is BlockKind.TABLE:
            _flush(paragraph, placed, style)
            line = rows[i][0]
            placed.append(Placed(BlockKind.TABLE, line.styled, line.x0, line.y0, line.x1, line.y1))
            i += 1
            continue
        end = _table_end(rows, i)
        if end - i >= 3:
            _flush(paragraph, placed, style)
            text = Styled.join("\n", (Styled.join(" | ", _cells(row)) for row in rows[i:end]))
            placed.append(_around(BlockKind.TABLE, text, [line for row in rows[i:end] for line in row]))
            i = end
            continue
        line = _merged(rows[i])
        if paragraph and not _continues(paragraph, line, style):
            _flush(paragraph, placed, style)
        paragraph.append(line)
        i += 1
    _flush(paragraph, placed, style)
    return placed


def _cells(row: Sequence[Line]) -> list[Styled]:
    """Neighbouring pieces closer than a word space belong to one cell."""
    cells = [row[0].styled.strip()]
    for before, line in pairwise(row):
        if line.x0 - before.x1 > 1.2 * line.size:
            cells.append(line.styled.strip())
        else:
            cells[-1] = Styled.join(" ", (cells[-1], line.styled.strip()))
    return cells


def _table_end(rows: Sequence[Sequence[Line]], start: int) -> int:
    """Where a run of rows with the same number (two at least) of separate cells ends; a bullet is no cell."""
    first = _cells(rows[start])
    if len(first) < 2 or len(first[0]) <= 2:
        return start
    end = start
    while (
        end < len(rows) and rows[end][0].kind is not BlockKind.TABLE and abs(len(_cells(rows[end])) - len(first)) <= 1
    ):
        if len(_cells(rows[end])) < 2:
            break
        end += 1
    return end


def _merged(row: Sequence[Line]) -> Line:
    if len(row) == 1:
        return row[0]
    main = max(row, key=lambda line: len(line.text))
    return replace(
        main,
        styled=Styled.join(" ", (line.styled.strip() for line in row)),
        x0=min(line.x0 for line in row),
        y0=min(line.y0 for line in row),
        x1=max(line.x1 for line in row),
        y1=max(line.y1 for line in row),
        bold=all(line.bold for line in row),
        mono=all(line.mono for line in row),
    )


def _continues(paragraph: Sequence[Line], line: Line, style: Typography) -> bool:
    """Whether a line goes on with the paragraph above it."""
    before = paragraph[-1]
    em = max(line.size, before.size)
    gap = line.y0 - before.y1
    if before.mono and line.mono and gap < 1.5 * em:
        return True
    if before.mono != line.mono or abs(line.size - before.size) > 0.12 * em or gap < -em:
        return False
    if gap > (1.2 * em if line.group == before.group else 0.75 * em):
        return False
    if _BULLET.match(line.text):
        return False
    right = max(other.x1 for other in paragraph)
    if before.bold != line.bold and before.x1 < right - 2 * em:
        return False
    if all(o.bold for o in paragraph) and not line.bold and _heading_level(before, before.text, style):
        return False
    ended = _SENTENCE_END.search(before.text.rstrip()) is not None
    indented = (
        line.x0 > before.x0 + 0.8 * em and len(paragraph) > 1 and line.x0 > min(o.x0 for o in paragraph) + 0.8 * em
    )
    if ended and indented:
        return False
    return not (ended and len(paragraph) > 1 and before.x1 < right - 8 * em and line.group != before.group)


def _flush(paragraph: list[Line], placed: list[Placed], style: Typography) -> None:
    if not paragraph:
        return
    if all(line.mono for line in paragraph) and len(paragraph) > 1:
        placed.append(_around(BlockKind.CODE, _code(paragraph), paragraph))
    else:
        text = joined([line.styled for line in paragraph], style.words)
        level = _heading_level(paragraph[0], text.text, style) if len(paragraph) <= 3 else 0
        kind = BlockKind.HEADING if level else BlockKind.LIST if _BULLET.match(text.text) else BlockKind.TEXT
        placed.append(replace(_around(kind, text, paragraph), level=level))
    paragraph.clear()


def _code(lines: Sequence[Line]) -> Styled:
    """Indentation is rebuilt from positions: fixed-pitch characters are 0.6 em wide."""
    left = min(line.x0 for line in lines)
    indents = (" " * round((line.x0 - left) / (0.6 * line.size)) for line in lines)
    return Styled.of("\n".join(indent + line.text.strip() for indent, line in zip(indents, lines, strict=True)))


def _heading_level(first: Line, text: str, style: Typography) -> int:
    """0 for what is no heading. The outline is sure; size is a good sign; bold needs a short line."""
    if len(text) > 200 or not any(c.isalpha() for c in text) or _MARK.match(text):
        return 0
    outlined = style.outline.get("".join(text.split()).lower())
    if outlined:
        return min(outlined, 6)
    size = round(first.size * 2) / 2
    if size in style.heading_sizes and len(text) > 2 and not (len(text) > 90 and text.endswith((".", ","))):
        return style.heading_sizes.index(size) + 1
    if first.bold and size >= 0.95 * style.body and len(text) <= 100 and not text.endswith((".", ",", ";", ":")):
        depth = text.split()[0].rstrip(".").count(".") if _NUMBERED.match(text) else 0
        return min(len(style.heading_sizes) + 1 + depth, 6)
    return 0


def joined(texts: Sequence[Styled], words: frozenset[str]) -> Styled:
    """Wrapped lines as running text. A hyphen at a line's end goes when the document's words allow it.

    The space between two lines looks as both of them do where they meet.
    """
    text = texts[0].strip()
    for following in texts[1:]:
        following = following.strip()
        hyphen = _HYPHEN.search(text.text)
        if hyphen is None or not following or not following.text[0].islower():
            keep = hyphen is not None and bool(following) and following.text[0].isalnum()
            text = text + following if keep else text + _space_between(text, following) + following
            continue
        head, tail = hyphen.group(1).lower(), (_WORD.match(following.text) or [following.text])[0].lower()
        whole = head + tail in words
        compound = f"{head}-{tail}" in words or (head in words and tail in words)
        text = text[:-1] + following if whole or not compound else text + following
    return text


def _space_between(before: Styled, after: Styled) -> Styled:
    look = before.looks[-1] & after.looks[0] if before and after else 0
    return Styled.of(" ", Style(look))


def _around(kind: BlockKind, text: Styled, lines: Sequence[Line]) -> Placed:
    return Placed(
        kind,
        text,
        min(line.x0 for line in lines),
        min(line.y0 for line in lines),
        max(line.x1 for line in lines),
        max(line.y1 for line in lines),
    )
