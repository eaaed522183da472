"""Passages of chunks: where on their pages they stand."""

import pytest

from api.passages import spans_of
from compressor.types import Box, Span
from store.types import LiveChunk

LAYOUT: list[list[float | None]] = [
    [0, 10, 1, 0.0, 0.0, 1.0, 0.5, None, None],
    [11, 20, 2, 0.1, 0.0, 0.9, 0.5, 3, 4],
    [None, None, None, None, None, None, None, None, None],
    [21, 30, 2, 0.1, 0.5, 0.9, 1.0, 5, 5],
]
CHUNK = LiveChunk(1, "d", "a.pdf", {}, 0, "", LAYOUT)


def test_the_layout_comes_back_as_it_was_stored():
    assert spans_of(CHUNK) == (
        Span(0, 10, 1, Box(0.0, 0.0, 1.0, 0.5), None),
        Span(11, 20, 2, Box(0.1, 0.0, 0.9, 0.5), (3, 4)),
        Span(0, 0, 1, Box(0.0, 0.0, 0.0, 0.0), None),
        Span(21, 30, 2, Box(0.1, 0.5, 0.9, 1.0), (5, 5)),
    )


@pytest.mark.parametrize(("start", "end"), [(0, 30), (10, 11), (9, 12), (15, 16), (20, 40), (40, 50)])
def test_of_a_range_only_what_it_touches_comes(start: int, end: int) -> None:
    touched = tuple(span for span in spans_of(CHUNK) if span.start < end and start < span.end)
    assert spans_of(CHUNK, start=start, end=end) == touched
