"""Texts wait for their turn with their styles, in a blob that older and newer programs can read."""

import json
import zlib

from compressor.styles import Style, StyleRun
from workers.pending import PendingText, read_pending, write_pending

TEXTS = [
    PendingText("plain \u2028 text"),
    PendingText("a bold word", (StyleRun(2, 6, Style.BOLD), StyleRun(7, 11, Style.BOLD | Style.HEADING_2))),
    PendingText(""),
]


def test_what_is_written_is_read() -> None:
    assert read_pending(write_pending(TEXTS)) == TEXTS
    assert write_pending(TEXTS) == write_pending(list(TEXTS))


def test_a_blob_from_before_there_were_styles_is_read() -> None:
    old = zlib.compress(json.dumps(["one", "two"]).encode())
    assert read_pending(old) == [PendingText("one"), PendingText("two")]
