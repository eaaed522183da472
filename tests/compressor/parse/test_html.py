"""Pages as they are saved from the web give back what their readers see, nothing lost, doubled or glued together."""

import pytest

from compressor.limits import Limits
from compressor.parse import parse


def outline(tmp_path, page: str) -> list[tuple[str, str]]:
    path = tmp_path / "blob"
    path.write_text(page)
    return [(block.kind.value, block.text) for block in parse(path, name="page.html", limits=Limits()).blocks]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<ol><li>one<li>two</ol>", ["1. one", "2. two"]),
        ("<ol start=3 type=a><li>x<li value=9>y</ol>", ["c. x", "i. y"]),
        ("<ol reversed type=I><li>x<li>y</ol>", ["II. x", "I. y"]),
        ("<ul><li>a<ol><li>b</ol><li>c</ul>", ["- a", "1. b", "- c"]),
        ("<ol><li><p>one</p><p>more</p></li><li><div><p>two</div></ol>", ["1. one", "more", "2. two"]),
    ],
)
def test_items_have_the_marks_that_are_seen(tmp_path, page, expected):
    assert [text for _, text in outline(tmp_path, page)] == expected


def test_an_item_of_paragraphs_is_an_item(tmp_path):
    assert outline(tmp_path, "<ul><li><p>one</p></li></ul>") == [("list", "- one")]


def test_a_break_ends_a_line_of_text_but_not_of_a_cell_or_a_heading(tmp_path):
    page = "<h1>A<br>B</h1><p>1 High St<br/>Marlow <br>\n<br> UK</p><div>x<br>y<p>z</div><table><tr><td>a<br>b</table>"
    assert outline(tmp_path, page) == [
        ("heading", "A B"),
        ("text", "1 High St\nMarlow\nUK"),
        ("text", "x\ny"),
        ("text", "z"),
        ("table", "a b"),
    ]


@pytest.mark.parametrize(
    "code",
    [
        "if x:<br>    y<br>",
        "<code><span>if x:<br></span><span>    y<br></span></code>",
        "<div>if x:</div><div>    y</div>",
        "<div>if x:\n</div>\n<div>    y\n</div>",
        "if x:\n    y<script>no</script>",
    ],
)
def test_lines_of_code_stay_apart(tmp_path, code):
    assert outline(tmp_path, f"<pre>{code}</pre>") == [("code", "if x:\n    y")]


def test_code_in_which_no_element_is_closed_is_read(tmp_path):
    assert outline(tmp_path, f"<pre>{'<b>x' * 1500}</pre>") == [("code", "x" * 1500)]


def test_code_in_the_cells_of_a_table_keeps_its_lines(tmp_path):
    page = "<table><tr><td><pre>1\n2</pre><td><pre>if x:\n    y</pre></table>"
    assert outline(tmp_path, page) == [("code", "1\n2"), ("code", "if x:\n    y")]


def test_raised_and_lowered_figures_do_not_make_another_number(tmp_path):
    page = "<p>2<sup>10</sup>, $5,000<sup><a href=#n>1</a></sup>, 10<sup>-3</sup> m, H<sub>2</sub>O, 1<sup>st</sup></p>"
    assert outline(tmp_path, page) == [("text", "2¹⁰, $5,000¹, 10⁻³ m, H₂O, 1st")]


@pytest.mark.parametrize("reading", ["<rt>とうきょう</rt>", "<rp>(</rp><rt>とうきょう</rt><rp>)</rp>"])
def test_a_pronunciation_stands_in_brackets(tmp_path, reading):
    assert outline(tmp_path, f"<p><ruby>東京{reading}</ruby>です</p>") == [("text", "東京(とうきょう)です")]


@pytest.mark.parametrize(
    ("mathml", "expected"),
    [
        ("<mfrac><mn>1</mn><mn>2</mn></mfrac>", "1/2"),
        ("<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>", "(a+b)/c"),
        ("<msup><mi>x</mi><mn>2</mn></msup><msub><mi>a</mi><mi>i</mi></msub>", "x^2a_i"),
        ("<mi>sin</mi><mi>x</mi><mo>=</mo><msqrt><mn>2</mn></msqrt>", "sin x=√(2)"),
        ("<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>", "∑_(i=1)^n"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr><mtr><mtd>a</mtd></mtr></mtable>", "[1, 0; a]"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "3√(x)"),
        ("<msup><mi>x</mi></msup>", "x"),
    ],
)
def test_a_formula_is_written_on_one_line(tmp_path, mathml, expected):
    assert outline(tmp_path, f"<p><math>{mathml}</math></p>") == [("text", expected)]


@pytest.mark.parametrize(
    "formula",
    [
        # KaTeX, MathJax and MediaWiki
        "<span><span>{}</span><span aria-hidden='true'><span>E=m</span></span></span>",
        "<mjx-container><mjx-math aria-hidden='true'>E=m</mjx-math><mjx-mml>{}</mjx-mml></mjx-container>",
        "<span><span style='display: none'>{}</span><img alt='E=m' aria-hidden='true'></span>",
    ],
)
def test_a_formula_is_read_once(tmp_path, formula):
    tex = '<annotation encoding="application/x-tex">E=m</annotation>'
    mathml = f"<math><semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi></mrow>{tex}</semantics></math>"
    assert outline(tmp_path, f"<p>So {formula.format(mathml)}.</p>") == [("text", "So E=m.")]
