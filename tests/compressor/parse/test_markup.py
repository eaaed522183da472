"""Markdown and reStructuredText as they are written in repositories: nothing of them is left out."""

import pytest

from compressor.limits import Limits
from compressor.parse import parse


def blocks(tmp_path, text: str, name: str) -> list[tuple[str, str]]:
    path = tmp_path / "blob"
    path.write_text(text)
    return [(block.kind.value, block.text) for block in parse(path, name=name, limits=Limits()).blocks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("| a | b |\n|---|---|\n| x<br>y | z |\n", ("table", "a | b\nx y | z")),
        ("one<br/>two <BR> three", ("text", "one\ntwo \n three")),
        ('See <img src="a.png" alt="Q &amp; A">.', ("text", "See Q & A.")),
        ("A <kbd>B</kbd><!-- c -->", ("text", "A B")),
    ],
)
def test_html_in_a_line_of_markdown_leaves_what_is_seen(tmp_path, text, expected):
    assert blocks(tmp_path, text, "notes.md") == [expected]


def test_deep_lists_and_quotes_are_read_to_their_end(tmp_path):
    text = "".join(f"{'  ' * level}- level {level}\n" for level in range(40))
    assert [found for _, found in blocks(tmp_path, text, "a.md")] == [f"- level {level}" for level in range(40)]
    assert blocks(tmp_path, ">" * 60 + " deep", "a.md") == [("text", "deep")]


def test_a_footnote_of_one_word_is_no_link_to_it(tmp_path):
    text = "Said[^1].\n\n[^1]: https://example.com/source\n\n[this]: https://example.com/link\n"
    assert blocks(tmp_path, text, "a.md") == [("text", "Said[^1]."), ("text", "[^1]: https://example.com/source")]


def test_directives_of_sphinx_are_read(tmp_path):
    text = (
        ".. versionchanged:: 3.0\n   It grew **much**.\n\n.. py:function:: foo(x)\n\n   Does foo.\n\n"
        "   :param x: the x\n\n"
        ".. code-block:: python\n   :linenos:\n   :caption: a.py\n\n   if x:\n       y\n\n"
        ".. tabs::\n\n   .. tab:: One\n\n      Inside.\n\n.. seealso::\n\n   Another page.\n"
    )
    assert blocks(tmp_path, text, "page.rst") == [
        ("text", "versionchanged:: 3.0\nIt grew much."),
        ("text", "py:function:: foo(x)"),
        ("text", "Does foo."),
        ("list", "param x: the x"),
        ("text", "a.py"),
        ("code", "if x:\n    y"),
        ("text", "tabs::"),
        ("text", "tab:: One"),
        ("text", "Inside."),
        ("text", "seealso::"),
        ("text", "Another page."),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "=== ===\na   b\n=== ===\n1 22222\n=== ===",
        ".. figure:: a.png\n   :odd: 1\n\n   The caption.",
        ".. table:: T\n   :odd: 1\n\n   = =\n   1 2\n   = =",
    ],
)
def test_what_docutils_refuses_is_shown_as_it_stands(tmp_path, broken):
    assert blocks(tmp_path, f"Before.\n\n{broken}\n\nAfter.\n", "page.rst") == [
        ("text", "Before."),
        ("code", broken),
        ("text", "After."),
    ]


def test_items_have_the_marks_of_their_list(tmp_path):
    text = "a. alpha\nb. beta\n\ni) one\nii) two\n\n(3) three\n\n- dash\n"
    assert [found for _, found in blocks(tmp_path, text, "page.rst")] == [
        "a. alpha",
        "b. beta",
        "i) one",
        "ii) two",
        "(3) three",
        "- dash",
    ]


def test_cells_that_span_leave_their_columns_in_line(tmp_path):
    text = "+---+---+---+\n| a | b     |\n+---+---+---+\n| 1 | 2 | 3 |\n+   +---+---+\n|   | 4 | 5 |\n+---+---+---+\n"
    assert blocks(tmp_path, text, "page.rst") == [("table", "a | b\n1 | 2 | 3\n | 4 | 5")]


def test_pictures_and_notes_say_what_a_reader_sees(tmp_path):
    text = ".. image:: a.png\n   :alt: A weir\n\n.. warning:: Deep water.\n"
    assert [found for _, found in blocks(tmp_path, text, "page.rst")] == ["A weir", "Warning:", "Deep water."]
