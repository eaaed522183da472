"""The numbers that Word counts are in the text, because people ask for "clause 4.2"."""

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml

from compressor.limits import Limits
from compressor.parse import parse
from compressor.types import BlockKind
from tests.compressor.parse.office import parsed_as

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def level(depth: int, text: str, form: str = "decimal", more: str = "", start: int = 1) -> str:
    """A level of a list; `more` stands where w:lvlRestart, w:pStyle, w:isLgl and w:suff do."""
    return (
        f'<w:lvl w:ilvl="{depth}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


LEGAL = (level(0, "%1."), level(1, "%1.%2"), level(2, "(%3)", "lowerLetter"), level(3, "(%4)", "lowerRoman"))


class Numbered:
    """A Word document with lists of its own."""

    def __init__(self) -> None:
        self.document = docx.Document()
        self._root = self.document.part.numbering_part.element

    def abstract(self, identifier: int, *levels: str) -> None:
        """An abstract list."""
        element = parse_xml(f'<w:abstractNum {WORD} w:abstractNumId="{identifier}">{"".join(levels)}</w:abstractNum>')
        self._root.insert(0, element)

    def instance(self, number: int, abstract: int, overrides: str = "") -> None:
        """A list that refers to an abstract one."""
        self._root.append(
            parse_xml(f'<w:num {WORD} w:numId="{number}"><w:abstractNumId w:val="{abstract}"/>{overrides}</w:num>')
        )

    def add(self, text: str, number: int | None = None, depth: int | None = None, style: str | None = None):
        """A paragraph in a list."""
        paragraph = self.document.add_paragraph(text, style=style)
        number_it(paragraph._p.get_or_add_pPr(), number, depth)
        return paragraph

    def style(self, name: str, number: int | None = None, depth: int | None = None, based: str = "Normal"):
        """A paragraph style in a list."""
        style = self.document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
        style.base_style = self.document.styles[based]
        number_it(style.element.get_or_add_pPr(), number, depth)
        return style

    def parsed(self, tmp_path):
        return parsed_as("contract.docx", tmp_path, self.document)

    def texts(self, tmp_path) -> list[str]:
        return [block.text for block in self.parsed(tmp_path).blocks]


def number_it(properties, number: int | None, depth: int | None) -> None:
    if number is not None or depth is not None:
        numbered = properties.get_or_add_numPr()
        if depth is not None:
            numbered.get_or_add_ilvl().val = depth
        if number is not None:
            numbered.get_or_add_numId().val = number


@pytest.fixture
def legal() -> Numbered:
    """A document with the list 90: 1., 1.1, (a), (i)."""
    numbered = Numbered()
    numbered.abstract(90, *LEGAL)
    numbered.instance(90, 90)
    return numbered


def test_numbered_items_have_their_numbers_and_bullets_a_dash(tmp_path):
    document = docx.Document()
    for text, style in (
        ("One", "List Number"),
        ("Two", "List Number"),
        ("Dot", "List Bullet"),
        ("Deep", "List Number 2"),
    ):
        document.add_paragraph(text, style=style)
    path = tmp_path / "blob"
    document.save(str(path))
    blocks = parse(path, name="a.docx", limits=Limits()).blocks
    assert [block.text for block in blocks] == ["1. One", "2. Two", "- Dot", "1. Deep"]
    assert {block.kind for block in blocks} == {BlockKind.LIST}


def test_clauses_count_and_start_again_under_the_next_higher_one(tmp_path, legal):
    for depth, text in [
        (0, "Scope"),
        (1, "a"),
        (1, "b"),
        (2, "x"),
        (3, "y"),
        (3, "z"),
        (0, "Term"),
        (1, "c"),
        (2, "w"),
    ]:
        legal.add(text, 90, depth)
    assert legal.texts(tmp_path) == [
        *("1. Scope", "1.1 a", "1.2 b", "(a) x", "(i) y", "(ii) z", "2. Term", "2.1 c", "(a) w"),
    ]


def test_headings_are_numbered_through_their_styles(tmp_path):
    numbered = Numbered()
    levels = [level(i, text, more=f'<w:pStyle w:val="Heading{i + 1}"/>') for i, text in enumerate(["%1", "%1.%2"])]
    numbered.abstract(90, *levels)
    numbered.instance(90, 90)
    for depth in (0, 1):
        style = numbered.document.styles[f"Heading {depth + 1}"]
        number_it(style.element.get_or_add_pPr(), 90, depth or None)
    for text, depth in [("Scope", 1), ("Parties", 2), ("Term", 1), ("Notice", 2)]:
        numbered.document.add_heading(text, depth)
    blocks = numbered.parsed(tmp_path).blocks
    assert [(b.kind, b.level, b.text) for b in blocks] == [
        (BlockKind.HEADING, 1, "1 Scope"),
        (BlockKind.HEADING, 2, "1.1 Parties"),
        (BlockKind.HEADING, 1, "2 Term"),
        (BlockKind.HEADING, 2, "2.1 Notice"),
    ]


def test_a_style_names_only_the_level_and_takes_the_list_from_its_base(tmp_path, legal):
    legal.style("Clause", 90)
    legal.style("Sub", None, 1, based="Clause")
    legal.style("Plain", 0, based="Clause")
    legal.style("Item", None, None, based="Sub")
    for text, style in [("A", "Clause"), ("B", "Sub"), ("C", "Item"), ("D", "Plain"), ("E", "Clause")]:
        legal.add(text, style=style)
    legal.add("F", 0, style="Clause")  # a paragraph's own word against its style's
    legal.add("G", None, 2, style="Clause")
    assert legal.texts(tmp_path) == ["1. A", "1.1 B", "1.2 C", "D", "2. E", "F", "(a) G"]


def test_a_list_style_lends_its_levels(tmp_path, legal):
    numbering = legal.document.styles.add_style("Outline", WD_STYLE_TYPE.LIST)
    number_it(numbering.element.get_or_add_pPr(), 90, None)
    legal.abstract(91, '<w:numStyleLink w:val="Outline"/>')
    legal.instance(91, 91)
    legal.add("A", 91, 0)
    legal.add("B", 91, 1)
    assert legal.texts(tmp_path) == ["1. A", "1.1 B"]


def test_lists_of_one_definition_count_on_until_one_overrides_its_start(tmp_path, legal):
    legal.instance(91, 90)
    starts = "".join(
        f'<w:lvlOverride w:ilvl="{i}"><w:startOverride w:val="{n}"/></w:lvlOverride>' for i, n in [(0, 5), (1, 1)]
    )
    legal.instance(92, 90, starts)
    for text, number, depth in [("A", 90, 0), ("B", 91, 0), ("C", 92, 0), ("D", 92, 1), ("E", 92, 0), ("F", 92, 1)]:
        legal.add(text, number, depth)
    assert legal.texts(tmp_path) == ["1. A", "2. B", "5. C", "5.1 D", "6. E", "6.1 F"]


def test_a_level_can_be_replaced_and_can_begin_anywhere(tmp_path, legal):
    legal.instance(91, 90, f'<w:lvlOverride w:ilvl="0">{level(0, "Annex %1:", "upperLetter")}</w:lvlOverride>')
    legal.abstract(92, level(0, "%1)", "upperRoman", start=4))
    legal.instance(92, 92)
    for text, number in [("A", 91), ("B", 91), ("C", 92), ("D", 92)]:
        legal.add(text, number, 0)
    assert legal.texts(tmp_path) == ["Annex A: A", "Annex B: B", "IV) C", "V) D"]


def test_levels_restart_where_they_say(tmp_path):
    numbered = Numbered()
    never, after_first = '<w:lvlRestart w:val="0"/>', '<w:lvlRestart w:val="1"/>'
    numbered.abstract(90, level(0, "%1"), level(1, "%2", more=never), level(2, "%3", more=after_first))
    numbered.instance(90, 90)
    for depth in (0, 1, 2, 1, 2, 0, 1, 2):
        numbered.add("x", 90, depth)
    assert numbered.texts(tmp_path) == ["1 x", "1 x", "1 x", "2 x", "2 x", "2 x", "3 x", "1 x"]


def test_legal_numbering_writes_higher_levels_in_digits_and_a_suffix_may_be_nothing(tmp_path):
    numbered = Numbered()
    legal = '<w:isLgl/><w:suff w:val="nothing"/>'
    numbered.abstract(
        90, level(0, "Article %1", "upperRoman"), level(1, "§%1.%2: ", more=legal), level(2, "%3", "none")
    )
    numbered.instance(90, 90)
    for depth in (0, 1, 2):
        numbered.add("x", 90, depth)
    assert numbered.texts(tmp_path) == ["Article I x", "§1.1:x", "x"]


def test_a_level_without_one_above_shows_where_that_begins(tmp_path, legal):
    for depth in (1, 1, 0, 1):
        legal.add("x", 90, depth)
    assert legal.texts(tmp_path) == ["1.1 x", "1.2 x", "1. x", "1.1 x"]


def test_empty_paragraphs_count_and_deleted_and_hidden_ones_do_not(tmp_path, legal):
    legal.add("A", 90, 0)
    legal.add("", 90, 0)
    for mark in ("<w:del/>", "<w:vanish/>"):
        gone = legal.add("", 90, 0)
        gone._p.get_or_add_pPr().append(parse_xml(f"<w:rPr {WORD}>{mark}</w:rPr>"))
    legal.add("B", 90, 0)
    assert legal.texts(tmp_path) == ["1. A", "3. B"]


def test_a_paragraph_whose_end_is_deleted_goes_on_in_the_next(tmp_path, legal):
    first = legal.add("Either party ", 90, 0)
    first._p.get_or_add_pPr().append(parse_xml(f"<w:rPr {WORD}><w:del/></w:rPr>"))
    legal.add("may end it.", 90, 0)
    legal.add("Notice.", 90, 0)
    assert legal.texts(tmp_path) == ["1. Either party may end it.", "2. Notice."]


def test_numbers_go_on_through_tables_and_stand_in_their_cells(tmp_path, legal):
    legal.add("A", 90, 0)
    table = legal.document.add_table(2, 2)
    for row, text in zip(table.rows, ("pump", "valve"), strict=True):
        number_it(row.cells[0].paragraphs[0]._p.get_or_add_pPr(), 90, 0)
        row.cells[1].text = text
    legal.add("B", 90, 0)
    assert legal.texts(tmp_path) == ["1. A", "2. | pump\n3. | valve", "4. B"]


def test_text_boxes_count_for_themselves(tmp_path, legal):
    first = legal.add("A", 90, 0)
    item = (
        '<w:p><w:pPr><w:numPr><w:ilvl w:val="0"/><w:numId w:val="90"/></w:numPr></w:pPr><w:r><w:t>In</w:t></w:r></w:p>'
    )
    first._p.append(parse_xml(f"<w:r {WORD}><w:txbxContent>{item}</w:txbxContent></w:r>"))
    legal.add("B", 90, 0)
    assert legal.texts(tmp_path) == ["1. A", "1. In", "2. B"]


def test_a_damaged_list_costs_its_numbers_and_not_the_document(tmp_path):
    numbered = Numbered()
    numbered.abstract(90, level(0, "%1.").replace('w:val="1"', 'w:val="one"'), level(1, "%1.%2.%9"))
    numbered.instance(90, 90)
    for number, depth in [(90, 0), (90, 1), (90, 7), (4711, 0)]:
        numbered.add("x", number, depth)
    loop = numbered.style("Loop")
    loop.element.basedOn_val = loop.style_id
    numbered.add("y", style="Loop")
    assert numbered.texts(tmp_path) == ["0. x", "0.1. x", "x", "x", "y"]


def test_a_document_without_any_lists_has_its_text(tmp_path):
    numbered = Numbered()
    part = numbered.document.part
    (relation,) = [key for key, rel in part.rels.items() if rel.reltype.endswith("/numbering")]
    numbered.add("One", style="List Number")
    part.drop_rel(relation)
    assert numbered.texts(tmp_path) == ["One"]
