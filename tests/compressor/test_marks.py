"""Markdown that is made of text and styles renders as that text, in those styles."""

import time
from unicodedata import category

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from compressor.marks import to_markdown
from compressor.styles import Style, heading_style

BOLD, ITALIC, CODE, LINK = Style.BOLD, Style.ITALIC, Style.CODE, Style.LINK
H1, H2 = heading_style(1), heading_style(2)
MARKS = {"strong": BOLD, "em": ITALIC, "code_inline": CODE, "fence": CODE, "link": LINK}


class AnyTarget(dict):
    """Knows a target for every link, so that `[text]` is one."""

    def get(self, label, default=None):
        return {"href": "#", "title": ""}


def rendered(markdown: str, *, links: bool = True) -> list[tuple[str, Style]]:
    """Every character that a reader sees, white space left out, in its style; with `links` whose targets are known."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    found: list[tuple[str, Style]] = []

    def walk(node: SyntaxTreeNode, style: Style) -> None:
        if node.type in ("html_inline", "html_block"):
            assert node.content == "<!-- -->"
            return
        assert node.type not in ("blockquote", "hr", "code_block", "image", "s", "table", "definition")
        if node.type == "heading":
            style |= heading_style(int(node.tag[1]))
        style |= MARKS.get(node.type, Style.PLAIN)
        if node.type == "list_item":
            ordered = node.parent.type == "ordered_list"
            number = node.parent.attrs.get("start", 1) + node.parent.children.index(node) if ordered else ""
            found.extend((character, Style.PLAIN) for character in f"{number}{node.markup}")
        if node.type in ("text", "code_inline", "fence"):
            found.extend((character, style) for character in node.content if not character.isspace())
        for child in node.children:
            walk(child, style)

    walk(SyntaxTreeNode(parser.parse(markdown, {"references": AnyTarget() if links else {}})), Style.PLAIN)
    return found


def pieces(*parts: str | tuple[str, Style]) -> tuple[str, np.ndarray]:
    """Text and its styles, out of pieces; a piece alone is plain."""
    pairs = [(part, Style.PLAIN) if isinstance(part, str) else part for part in parts]
    styles = [int(style) for text, style in pairs for _ in text]
    return "".join(text for text, _ in pairs), np.array(styles, np.uint8)


@pytest.mark.parametrize(
    ("parts", "markdown"),
    [
        ([("Prices", H1), "\n", ("of ", H2), ("ducks", H2 | ITALIC)], "# Prices\n\n## of *ducks*"),
        (["a ", ("bold ", BOLD), ("both", BOLD | ITALIC), (" word", ITALIC)], "a **bold *both*** *word*"),
        (["a", (" bold ", BOLD), "one"], "a **bold** one"),
        ([("a", BOLD), "b", ("c", ITALIC)], "**a**b*c*"),
        ([("both", BOLD | ITALIC), (" bold", BOLD)], "***both* bold**"),
        (["see ", ("the list", LINK), "."], "see [the list]."),
        ([("the ", LINK), ("list", LINK | BOLD)], "[the **list**]"),
        ([("the list", LINK | CODE)], "[`the list`]"),
        (["run ", ("ls `pwd`", CODE), " now"], "run `` ls `pwd` `` now"),
        ([("a = 1\n\nb = [2]", CODE)], "```\na = 1\n\nb = [2]\n```"),
        ([("```\n**x**\n```", CODE)], "````\n```\n**x**\n```\n````"),
        (["so:\n", ("  x", CODE), "\nand"], "so:\n\n```\n  x\n```\n\nand"),
        ([("a", CODE), "\n", ("b", CODE)], "```\na\nb\n```"),
        (["a | b\n", ("1", BOLD), " | 2"], "a | b\n**1** | 2"),
        (["- a\n- ", ("b", BOLD), "\n1. c\n2. d"], "- a\n- **b**\n1. c\n2. d"),
        (["1. a\n1. b\n2. c"], "1. a\n1\\. b\n2. c"),
        (["2*3_4 a_b [x] <b> &amp; ~~ ` \\"], "2\\*3_4 a_b \\[x\\] \\<b> \\&amp; \\~\\~ \\` \\\\"),
        (["# a\n> b\n---\n+ c\n==\n- # d"], "\\# a\n\\> b\n\\---\n\\+ c\n\\==\n- \\# d"),
        ([("C #", H1)], "# C \\#"),
        (["no!", ("link", LINK), "(a): b"], "no\\![link]\\(a): b"),
        (["注", ("意：", BOLD), "水"], "注**意**：水"),
        ([("a", BOLD), ("b", ITALIC)], "**a**<!-- -->*b*"),
    ],
)
def test_marks(parts, markdown):
    text, styles = pieces(*parts)
    assert to_markdown(text, styles) == markdown


def test_a_blank_line_goes_where_a_block_starts_but_between_the_items_of_a_list():
    text = "One line\nand another.\nNext.\n- a\n- b\n3. c\nEnd"
    starts = [text.index(line) for line in ("One", "Next", "- a", "- b", "3. c", "End")]
    plain = np.zeros(len(text), np.uint8)
    assert to_markdown(text, plain, starts) == "One line\nand another.\n\nNext.\n\n- a\n- b\n\n3. c\n\nEnd"
    assert to_markdown(text, plain) == text


def test_blocks_of_code_one_after_the_other_are_one_with_a_blank_line_between_them():
    text, looks = pieces(("a = 1", CODE), "\n", ("b = 2\nc = 3", CODE), "\nend")
    assert to_markdown(text, looks, [0, 6, 18]) == "```\na = 1\n\nb = 2\nc = 3\n```\n\nend"


def test_text_without_a_letter_is_nothing():
    assert to_markdown("", np.zeros(0, np.uint8)) == ""
    assert to_markdown(" \n\n ", np.zeros(4, np.uint8)) == ""


@pytest.mark.parametrize("line", ["-" * 100_000 + "x", "-|: " * 25_000 + "x", " -" * 50_000 + "\\"])
def test_a_long_line_of_dashes_takes_no_longer_than_another(line):
    start = time.process_time()
    to_markdown("a" + line, np.zeros(len(line) + 1, np.uint8))
    another = time.process_time()
    to_markdown(line, np.zeros(len(line), np.uint8))
    assert time.process_time() - another < 1 + 4 * (another - start)


styles = st.sampled_from([Style(n) for n in range(16)])
words = st.lists(st.tuples(st.sampled_from(["a", "bc", "d e", " ", "f ", " g"]), styles), min_size=1, max_size=12)
nasty = st.lists(st.tuples(st.text("ab1 *_`[]()<>!#&;:|~\\-+=.$é。\t", max_size=5), styles), max_size=10)
lines = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2, 3]), nasty), min_size=1, max_size=6)


def put_in(text, looks):
    return [
        (character, Style(look))
        for character, look in zip(text, looks.tolist(), strict=True)
        if not character.isspace()
    ]


@settings(deadline=None)
@given(words)
def test_styles_of_words_are_found_again_exactly(parts):
    text, looks = pieces(*parts)
    assert rendered(to_markdown(text, looks)) == put_in(text, looks)


@settings(max_examples=400, deadline=None)
@example([(0, [("]:", Style.CODE | LINK)])], False)
@example([(0, [("a]:b]:c", Style.CODE | LINK), ("d", LINK)])], True)
@given(lines, st.booleans())
def test_any_text_is_found_again_and_only_signs_may_lose_emphasis(found, blocks):
    parts = []
    starts = []
    for level, line in found:
        starts.append(sum(len(text) for text, _ in parts))
        parts += [*((text, style | (heading_style(level) if level else 0)) for text, style in line), ("\n", Style(0))]
    text, looks = pieces(*parts)
    markdown = to_markdown(text, looks, starts if blocks else ())
    again = rendered(markdown)
    expected = put_in(text, looks)
    assert [character for character, _ in again] == [character for character, _ in expected]
    for (character, seen), (_, style) in zip(again, expected, strict=True):
        if category(character)[0] in "PS":
            assert seen | BOLD | ITALIC == style | BOLD | ITALIC
            assert seen in style
        else:
            assert seen == style
    unlinked = [(character, style & ~LINK) for character, style in again if character not in "[]"]
    assert [seen for seen in rendered(markdown, links=False) if seen[0] not in "[]"] == unlinked
