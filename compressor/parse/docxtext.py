"""Owns the text of one Word paragraph as a reader sees it: runs with their looks, and what of them is not shown.

Tracked insertions are text, tracked deletions are none. Hidden text (w:vanish) is left out, as Word neither shows nor
prints it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from docx.oxml.ns import qn
from lxml import etree

from compressor.parse.styled import Styled, is_monospaced
from compressor.styles import Style

BOX = qn("w:txbxContent")
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # the same content again
_BREAKS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_TEXT = frozenset({qn("w:t"), "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"})
_SKIP = frozenset({_FALLBACK, BOX, qn("w:del"), qn("w:moveFrom"), qn("w:instrText"), qn("w:pPr"), qn("w:rPr")})
_OFF = ("0", "false", "off")

Looks = Mapping[Style, bool]  # what is switched on or off
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a document's styles say of the text that is set in them, by their ids, taken over from where they come."""

    looks: Mapping[str, Looks]  # of character styles
    hidden: Mapping[str, bool]  # of character and paragraph styles
    usual: str  # the style of paragraphs that name none

    @property
    def hides(self) -> bool:
        """Whether any style hides its text."""
        return any(self.hidden.values())


def read_sheet(styles: etree._Element) -> Sheet:
    """The styles of styles.xml, by its root."""
    elements = {style.get(qn("w:styleId"), ""): style for style in styles.iterchildren(qn("w:style"))}
    kinds = {name: style.get(qn("w:type")) for name, style in elements.items()}
    paragraphs = [name for name, kind in kinds.items() if kind == "paragraph"]
    characters = {name: style for name, style in elements.items() if kinds[name] == "character"}
    usual = next((name for name in paragraphs if _on(elements[name].get(qn("w:default"), "0"))), "")
    looks: dict[str, Looks] = {}
    for name in characters:
        looks[name] = {}
        for style, own in _inherited(characters, name, _own_looks):
            link = {Style.LINK: True} if style.endswith("Hyperlink") else {}  # of fields, which hold no w:hyperlink
            looks[name] = {**own, **link, **looks[name]}
    hidden: dict[str, bool] = {}
    for name in elements:
        said = (own for _, own in _inherited(elements, name, _own_hidden) if own is not None)
        hidden[name] = next(said, False)
    return Sheet(looks, hidden, usual)


def _inherited(
    styles: Mapping[str, etree._Element], name: str, own: Callable[[etree._Element], T]
) -> Iterator[tuple[str, T]]:
    """What a style says, then what those say that it is based on, nearest first."""
    seen: set[str] = set()
    while name in styles and name not in seen:
        seen.add(name)
        yield name, own(styles[name])
        based = styles[name].find(qn("w:basedOn"))
        name = "" if based is None else based.get(qn("w:val"), "")


def paragraphs_in(element: etree._Element) -> Iterator[etree._Element]:
    """All paragraphs inside an element in order, each once."""
    for paragraph in element.iter(qn("w:p")):
        if next(paragraph.iterancestors(_FALLBACK), None) is None:
            yield paragraph


def text_of(paragraph: etree._Element, sheet: Sheet) -> Styled:
    """Runs, links, insertions and formulas of one paragraph; text boxes are not part of it."""
    return Styled.join("", (text for text, hidden in _pieces(paragraph, sheet, paragraph, Style.PLAIN) if not hidden))


def hides_text(paragraph: etree._Element, sheet: Sheet) -> bool:
    """Whether something of a paragraph's text is hidden."""
    return any(hidden and text.strip() for text, hidden in _pieces(paragraph, sheet, paragraph, Style.PLAIN))


def is_end_deleted(paragraph: etree._Element) -> bool:
    """Whether the paragraph's mark is deleted: then it goes on in the next one."""
    mark = paragraph.find(f"{qn('w:pPr')}/{qn('w:rPr')}")
    return mark is not None and any(mark.find(qn(tag)) is not None for tag in ("w:del", "w:moveFrom"))


def is_end_hidden(paragraph: etree._Element, sheet: Sheet) -> bool:
    """Whether the paragraph's mark is hidden: without text that is shown it is no paragraph at all."""
    return _is_hidden(paragraph.find(f"{qn('w:pPr')}/{qn('w:rPr')}"), paragraph, sheet)


def _pieces(
    element: etree._Element, sheet: Sheet, paragraph: etree._Element, style: Style, hidden: bool = False
) -> Iterator[tuple[Styled, bool]]:
    """Text in order, and whether it is hidden."""
    for child in element:
        if child.tag in _TEXT:
            yield Styled.of(child.text or "", style), hidden
        elif child.tag in _BREAKS:
            yield Styled.of(_BREAKS[child.tag], style), hidden
        elif child.tag not in _SKIP and child.tag != qn("w:tabs"):
            is_run = child.tag == qn("w:r")
            inside = _is_hidden(child.find(qn("w:rPr")), paragraph, sheet) if is_run else hidden
            yield from _pieces(child, sheet, paragraph, style | _style(child, sheet), inside)


def _is_hidden(properties: etree._Element | None, paragraph: etree._Element, sheet: Sheet) -> bool:
    """Whether a run, or a paragraph's mark, of these properties is hidden: they say so, or else its styles."""
    own = None if properties is None else switch(properties, "w:vanish")
    if own is not None:
        return own
    if not sheet.hides:
        return False
    named = None if properties is None else properties.find(qn("w:rStyle"))
    if named is not None and sheet.hidden.get(named.get(qn("w:val"), ""), False):
        return True
    around = paragraph.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
    return sheet.hidden.get(sheet.usual if around is None else around.get(qn("w:val"), ""), False)


def _style(element: etree._Element, sheet: Sheet) -> Style:
    """What a run or a link adds to the look of the text inside it."""
    if element.tag == qn("w:hyperlink"):
        return Style.LINK
    properties = element.find(qn("w:rPr")) if element.tag == qn("w:r") else None
    if properties is None:
        return Style.PLAIN
    named = properties.find(qn("w:rStyle"))
    looks = {**(sheet.looks.get(named.get(qn("w:val")), {}) if named is not None else {}), **_looks(properties)}
    return Style(sum(style for style, on in looks.items() if on))


def _looks(properties: etree._Element) -> Looks:
    """What run properties themselves say."""
    looks: dict[Style, bool] = {}
    for tag, style in (("w:b", Style.BOLD), ("w:i", Style.ITALIC)):
        on = switch(properties, tag)
        if on is not None:
            looks[style] = on
    fonts = properties.find(qn("w:rFonts"))
    font = None if fonts is None else fonts.get(qn("w:ascii")) or fonts.get(qn("w:hAnsi"))
    if font is not None:
        looks[Style.CODE] = is_monospaced(font)
    return looks


def _own_looks(style: etree._Element) -> Looks:
    properties = style.find(qn("w:rPr"))
    return {} if properties is None else _looks(properties)


def _own_hidden(style: etree._Element) -> bool | None:
    properties = style.find(qn("w:rPr"))
    return None if properties is None else switch(properties, "w:vanish")


def switch(properties: etree._Element, tag: str) -> bool | None:
    """On or off, None where nothing is said."""
    switch = properties.find(qn(tag))
    return None if switch is None else _on(switch.get(qn("w:val"), "1"))


def _on(value: str) -> bool:
    return value not in _OFF
