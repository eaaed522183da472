"""Letters keep their looks whatever is done to the text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from compressor.parse.source import clean, one_line, styled_row
from compressor.parse.styled import Styled, is_monospaced
from compressor.styles import Style, StyleRun

BOLD, ITALIC = Style.BOLD, Style.ITALIC
styled = st.lists(st.tuples(st.text("ab \n\t\r\x00", max_size=6), st.sampled_from([Style(n) for n in range(16)]))).map(
    lambda parts: Styled.join("", (Styled.of(text, style) for text, style in parts))
)


@given(styled)
def test_text_is_cut_and_cleaned_as_plain_text_is(text):
    for function in (clean, one_line, str.strip, str.rstrip):
        done = getattr(Styled, function.__name__)(text) if hasattr(Styled, function.__name__) else function(text)
        assert done.text == function(text.text)
        assert len(done.looks) == len(done.text)
        letters = [look for letter, look in zip(text.text, text.looks, strict=True) if letter in "ab"]
        assert [look for letter, look in zip(done.text, done.looks, strict=True) if letter in "ab"] == letters


def test_what_is_put_in_looks_as_all_that_it_replaces():
    text = Styled.of("a ") + Styled.of(" b\n\nc", BOLD) + Styled.of("\n") + Styled.of("d", ITALIC)
    assert one_line(text) == Styled.of("a ") + Styled.of("b c", BOLD) + Styled.of(" ") + Styled.of("d", ITALIC)
    assert Styled.of("xay", BOLD).sub(re.compile("(a)"), r"<\1>") == Styled.of("x<a>y", BOLD)


def test_styles_add_up_and_are_told_as_runs():
    text = (Styled.of("ab", BOLD) + Styled.of("cd")).also(ITALIC) + Styled.of("ef")
    assert text.runs == (StyleRun(0, 2, BOLD | ITALIC), StyleRun(2, 4, ITALIC))


def test_the_lines_between_cells_are_plain():
    assert styled_row([Styled.of(" a ", BOLD), Styled.of("b", BOLD), Styled.of(" ")]).runs == (
        StyleRun(0, 1, BOLD),
        StyleRun(4, 5, BOLD),
    )


def test_fonts_for_code_are_known_by_their_names():
    assert [
        name for name in ("Courier New", "CMTT10", "DejaVu Sans Mono", "Monotype Corsiva") if is_monospaced(name)
    ] == [
        "Courier New",
        "CMTT10",
        "DejaVu Sans Mono",
    ]
