"""What a codec gets right is counted over any text, in time that grows with its length."""

import time

import numpy as np
import pytest

from compressor.codec.measure import IDENTIFIER, share_right


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://example.org/a?b=1 or write", ["https://example.org/a?b=1"]),
        ("to jo.doe@mail.example.org, please", ["jo.doe@mail.example.org"]),
        ("key 91d7b4ac-6f03-4e52 and LX210-77409", ["91d7b4ac-6f03-4e52"]),
        ("@home, a@b and words", []),
    ],
)
def test_ids_are_addresses_and_what_mixes_letters_and_digits(text: str, found: list[str]) -> None:
    assert IDENTIFIER.findall(text) == found


def test_a_chunk_of_at_signs_is_counted_at_once() -> None:
    chunk = "a@" * 2200
    start = time.process_time()
    assert share_right(IDENTIFIER, [chunk], [np.ones(len(chunk), bool)]) == 1.0
    assert time.process_time() - start < 2
