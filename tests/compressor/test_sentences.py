"""Sentences end where a reader of the language would end them, and their ranges cover the text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.sentences import split_sentences


def sentences(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We left! Why? Nobody knows.", ["It rained.", "We left!", "Why?", "Nobody knows."]),
        ("Dr. Smith met Mr. J. Doe. They spoke.", ["Dr. Smith met Mr. J. Doe.", "They spoke."]),
        ("Pay 3.50 by 1.2.2024. Thanks.", ["Pay 3.50 by 1.2.2024.", "Thanks."]),
        ("Use e.g. this one, see Fig. 3 and No. 7. Done.", ["Use e.g. this one, see Fig. 3 and No. 7.", "Done."]),
        ("He works at Acme Inc. She does not.", ["He works at Acme Inc.", "She does not."]),
        ('"Go." He went.', ['"Go."', "He went."]),
        ("今天下雨。我们走了！为什么？", ["今天下雨。", "我们走了！", "为什么？"]),
        ("هل وصلت؟ نعم وصلت. شكرا.", ["هل وصلت؟", "نعم وصلت.", "شكرا."]),
        ("यह एक वाक्य है। यह दूसरा है।", ["यह एक वाक्य है।", "यह दूसरा है।"]),
        ("a | 1\nb | 2", ["a | 1", "b | 2"]),
        ("3. Payment is due.", ["3. Payment is due."]),
        ('Wait ... what?! "Go on..." He did.', ["Wait ... what?!", '"Go on..."', "He did."]),
    ],
)
def test_sentences_of_many_scripts(text, expected):
    assert sentences(text) == expected


def test_wrapped_prose_is_not_cut_at_its_line_breaks():
    text = "This sentence is long enough that its author wrapped\nit onto a second line. The next one is short."
    assert sentences(text) == [text[: text.index(" The next")], "The next one is short."]


@pytest.mark.parametrize(
    "moment",
    ["2026-05-12T10:00:05Z", "[2026-05-12 10:00:05,120]", "10:00:05.120", "May 12 10:00:05", "May  2 10:00:05"],
)
def test_lines_of_a_log_are_not_taken_for_wrapped_prose(moment: str):
    lines = [f"{moment} host=alpha,error={number} the disk is full and nothing is written" for number in (4711, 4712)]
    assert sentences("\n".join(lines)) == lines


def test_lines_of_an_access_log_are_apart():
    lines = [f"10.0.0.{number} - - [12/May/2026:10:00:05] GET /report.pdf HTTP/1.1 200" for number in (7, 8)]
    assert sentences("\n".join(lines)) == lines


@pytest.mark.parametrize("piece", [".", "?!", "A. ", "1. ", '."'])
def test_long_rows_of_stops_and_initials_take_time_by_their_length(piece: str):
    """Not by its square, from each stop to the end of its row or back to where its sentence begins."""

    def seconds(times: int) -> float:
        start = time.process_time()
        split_sentences(f"Chapter one {piece * times}x 5")
        return time.process_time() - start

    assert seconds(400_000) < 20 * seconds(50_000) + 0.5


@given(st.text(alphabet=st.sampled_from("aB .!?\n。؟1|\"'-"), max_size=80))
def test_ranges_cover_the_text_in_order(text):
    ranges = split_sentences(text)
    assert "".join(text[start:end] for start, end in ranges) == text
    assert all(start < end for start, end in ranges)
