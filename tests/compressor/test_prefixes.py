"""Prefix codes are as short as counts allow, begin no other code, and are found again in a row of bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.prefixes import NO_CODE, are_codes, code_bits, code_table, codes_of, pack_bits


def test_codes_of_counts_that_are_powers_of_two_are_as_long_as_their_shares_say() -> None:
    assert code_bits(np.array([8.0, 1.0, 4.0, 2.0, 1.0]), 12).tolist() == [1, 4, 2, 3, 4]


def test_counts_that_are_all_nothing_have_codes_too() -> None:
    assert code_bits(np.zeros(8), 6).tolist() == [3] * 8


@given(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=40), st.integers(6, 12))
def test_codes_of_any_counts_are_codes_within_the_limit(counts: list[int], most: int) -> None:
    bits = code_bits(np.array(counts, np.float64), most)
    assert bits.max() <= most
    assert are_codes(bits[None], most)


@given(st.lists(st.integers(1, 1 << 12), min_size=2, max_size=40), st.data())
def test_a_row_of_codes_is_read_again(counts: list[int], data: st.DataObject) -> None:
    bits = np.stack([code_bits(np.array(counts, np.float64), 12), code_bits(np.array(counts[::-1], np.float64), 12)])
    written = data.draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, len(counts) - 1)), max_size=30))
    rows, numbers = np.array(written, np.int64).reshape(-1, 2).T
    packed = pack_bits(codes_of(bits, 12)[rows, numbers].astype(np.uint64), bits[rows, numbers])
    table = code_table(bits, 12)
    text = "".join(f"{byte:08b}" for byte in packed)
    for row, number in written:
        found = int(table[row << 12 | int(text[:12].ljust(12, "0"), 2)])
        assert found >> 4 == number
        text = text[found & 15 :]
    assert len(text) < 8
    assert set(text) <= {"0"}


def test_a_number_without_a_code_takes_no_room() -> None:
    bits = np.array([[1, NO_CODE, 1]], np.uint8)
    assert are_codes(bits, 3)
    assert (code_table(bits, 3) >> 4).tolist() == [0] * 4 + [2] * 4


@pytest.mark.parametrize("bits", [[1, 1, 1], [1, 2], [NO_CODE, NO_CODE], [4, 1]])
def test_what_is_not_whole_is_no_code(bits: list[int]) -> None:
    assert not are_codes(np.array([bits], np.uint8), 3)


def test_the_last_byte_is_filled_up_as_asked() -> None:
    assert pack_bits(np.array([0b101], np.uint64), np.array([3])) == bytes([0b10100000])
    assert pack_bits(np.array([0b101], np.uint64), np.array([3]), fill=1) == bytes([0b10111111])
