"""Owns where a model points: boxes in the text of an answer, checked, as boxes on the pages it was asked about.

Read are `<|ref|>label<|/ref|><|det|>[[x0, y0, x1, y1], ...]<|/det|>` (DeepSeek-OCR), `<|det|>label [x0, y0, x1, y1]
<|/det|>text` (Unlimited-OCR), `<ref>label</ref><box>...</box>` and JSON objects with `bbox_2d` (Qwen). Coordinates
are shares of the page in thousandths. A box that is malformed, outside its page or without area is dropped: a
citation that points nowhere is better than one that points wrong. Knows no torch.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compressor.types import Box

_LONGEST = 1000  # characters of one mark; bounded, so that a runaway answer costs no more than its length
_REF = rf"<(\|?)ref\1>(?P<ref>[^<]{{0,{_LONGEST}}})<\1/ref\1>\s*"
_DET = rf"<\|det\|>(?P<det>[^<]{{0,{_LONGEST}}})<\|/det\|>"
_BOX = rf"<box>(?P<box>[^<]{{0,{_LONGEST}}})</box>"
_FIELDS = rf"[^{{}}]{{0,{_LONGEST}}}"
_OBJECT = (  # with the fence, bracket or comma beside it
    r"(?:```(?:json)?\s*)?(?:\[\s*)?"
    rf'(?P<object>\{{{_FIELDS}"bbox_2d"{_FIELDS}\}})'
    r"(?:\s*,\s*|\s*\]\s*(?:```)?)?"
)
_MARK = re.compile(rf"(?:{_REF})?(?:{_DET}|{_BOX})|{_OBJECT}")
_LEFT_OVER = re.compile(r"<(?:\|det\||box)>[^<]*\Z|<\|?/?(?:ref|det|box)\|?>|<PAGE>")  # first: what was cut off
_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_FOUR = re.compile(rf"[\[(]{_NUMBER},{_NUMBER}(?:,|\)\s*,\s*\(){_NUMBER},{_NUMBER}[\])]")
_PAGE = "<PAGE>"


@dataclass(frozen=True, slots=True)
class Pointed:
    """One thing that a model points at."""

    label: str
    boxes: tuple[Box, ...]
    page: int | None  # from 0, in the order that pages were given; None where the model does not say


@dataclass(frozen=True, slots=True)
class Pointing:
    """An answer's text without its marks, and what they point at, in order."""

    text: str
    pointed: tuple[Pointed, ...]


def read_pointing(answer: str) -> Pointing:
    """Takes the marks out of an answer. Never fails; an answer without marks stays as it is."""
    pointed: list[Pointed] = []
    text, end = "", 0
    for mark in _MARK.finditer(answer):
        text += answer[end : mark.start()]
        end = mark.end()
        label, boxes = _read_mark(mark)
        if boxes:
            before = answer.count(_PAGE, 0, mark.start())
            pointed.append(Pointed(label, tuple(dict.fromkeys(boxes)), before - 1 if before else None))
        if mark["object"] is not None:
            text += f"{label}\n"
        elif mark["ref"] is not None:  # a label without it names a kind of region; what is there follows the mark
            text += label
    text += answer[end:]
    if text == answer and not _LEFT_OVER.search(answer):
        return Pointing(answer, ())
    return Pointing(_LEFT_OVER.sub("", text).strip(), tuple(pointed))


def _read_mark(mark: re.Match[str]) -> tuple[str, list[Box]]:
    """The label of a mark, and those of its boxes that are sound."""
    if mark["object"] is not None:
        return _read_object(mark["object"])
    if mark["box"] is not None:
        return (mark["ref"] or "").strip(), list(_boxes(mark["box"], 1000))
    label, bracket, rest = mark["det"].partition("[")
    return (mark["ref"] or label).strip(), list(_boxes(bracket + rest, 999))


def _read_object(written: str) -> tuple[str, list[Box]]:
    """Of one JSON object; of its list, which may be cut off, nothing is needed."""
    try:
        fields = json.loads(written)
    except (ValueError, RecursionError):
        return "", []
    label = fields.get("label", fields.get("text_content", ""))
    corners = fields.get("bbox_2d")  # the name may also stand where a value does
    sound = isinstance(corners, list) and len(corners) == 4
    sound = sound and all(isinstance(value, int | float) and not isinstance(value, bool) for value in corners)
    box = _box(corners, 1000) if sound else None
    return str(label), [box] if box else []


def _boxes(written: str, scale: int) -> Iterator[Box]:
    """Sound boxes of "[[x0, y0, x1, y1], ...]" or "(x0,y0),(x1,y1)"."""
    for four in _FOUR.finditer(written):
        box = _box([float(number) for number in four.groups()], scale)
        if box:
            yield box


def _box(corners: Sequence[float], scale: int) -> Box | None:
    """Corners in parts of `scale` as a box; None where they are no box on the page."""
    if not all(0 <= value <= scale for value in corners):
        return None
    x0, y0, x1, y1 = (value / scale for value in corners)
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
