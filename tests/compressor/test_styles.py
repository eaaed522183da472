"""Runs of styles and styles a character say the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.styles import Style, StyleRun, heading_level, heading_style, runs_of, styles_of


@given(st.lists(st.integers(0, 63), max_size=40))
def test_runs_become_the_styles_that_they_were_made_of(styles):
    array = np.array(styles, np.uint8)
    runs = list(runs_of(array))
    assert styles_of(runs, len(styles)).tolist() == styles
    assert runs == list(runs_of(bytes(styles)))
    assert all(run.style for run in runs)


def test_runs_that_overlap_add_up():
    runs = [StyleRun(0, 4, Style.BOLD), StyleRun(2, 6, Style.LINK)]
    assert list(runs_of(styles_of(runs, 7))) == [
        StyleRun(0, 2, Style.BOLD),
        StyleRun(2, 4, Style.BOLD | Style.LINK),
        StyleRun(4, 6, Style.LINK),
    ]


@pytest.mark.parametrize(("level", "kept"), [(1, 1), (2, 2), (3, 3), (6, 3)])
def test_headings_below_the_third_level_look_like_the_third(level, kept):
    assert heading_level(heading_style(level) | Style.CODE) == kept
