"""Pieces give back any symbols, in fewer bytes where they were learnt of such, and refuse what they did not write."""

import re
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.codec.vocabulary import learn_pieces
from compressor.frames import FRAME_LIMIT, pack_frame
from compressor.pieces import DRAWERS, Pieces, read_middles, write_middle
from compressor.walk import DRAWER_BITS, GROUP_BITS

NO_PIECES = "a frame without pieces or symbols"
WORDS = [
    "harbour ",
    "office ",
    "keeps ",
    "the ",
    "gauge ",
    "readings ",
    "of ",
    "every ",
    "lock ",
    "and ",
    "ferry ",
    "a ",
]


def text_of(seed: int, words: int) -> NDArray[np.uint8]:
    """Symbols below 16 that repeat as words do."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(WORDS) + 1)
    text = "".join(rng.choice(WORDS, size=words, p=shares / shares.sum()))
    return (np.frombuffer(text.encode(), np.uint8) * 7 % 16).astype(np.uint8)


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return learn_pieces([text_of(seed, 700) for seed in range(64)], range(16), most=300)


def test_what_repeats_takes_few_bytes(pieces: Pieces) -> None:
    plain = text_of(99, 700)
    packed = pieces.pack(plain)
    assert len(packed) < 0.55 * len(pack_frame(plain))
    assert 3.1 < len(packed) * 8 / 700 < 3.8  # bits a word; words of these shares tell 3.1
    assert (pieces.unpack([packed], [len(plain)]) == plain).all()


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(deadline=None)
def test_any_symbols_come_back_side_by_side(pieces: Pieces, texts: list[bytes]) -> None:
    plain = [np.frombuffer(text, np.uint8) % 16 for text in texts]
    frames = [pieces.pack(each) for each in plain]
    assert [frame == b"" for frame in frames] == [not each.size for each in plain]
    found = pieces.unpack(frames, [len(each) for each in plain])
    assert (found == np.concatenate([np.zeros(0, np.uint8), *plain])).all()


def test_a_frame_reads_the_same_beside_others_as_alone(pieces: Pieces) -> None:
    plain = [text_of(seed, 30 * seed) for seed in range(20)]
    frames = [pieces.pack(each) for each in plain]
    together = pieces.unpack(frames, [len(each) for each in plain])
    alone = [pieces.unpack([frame], [len(each)]) for frame, each in zip(frames, plain, strict=True)]
    assert (together == np.concatenate(alone)).all()


def test_pieces_come_back_from_their_tensors(pieces: Pieces) -> None:
    again = Pieces.from_tensors({**pieces.tensors(), "cells": np.zeros(0, np.uint8)})
    assert again is not None
    plain = text_of(1, 100)
    assert again.pack(plain) == pieces.pack(plain)
    assert Pieces.from_tensors({"cells": np.zeros(0, np.uint8)}) is None


def test_a_frame_of_another_size_is_refused(pieces: Pieces) -> None:
    plain = text_of(5, 60)
    frame = pieces.pack(plain)
    for stored, size in ((frame, len(plain) - 1), (frame, len(plain) + 40), (frame[:-1], len(plain)), (frame * 2, 400)):
        halves = r" \+ ".join(map(str, read_middles([stored])[:, 0]))
        with pytest.raises(ValueError, match=rf"^\d+ symbols in \d+ \+ \d+ bytes in place of {size} in {halves}$"):
            pieces.unpack([frame, stored], [len(plain), size])
    for stored, size in ((b"", 3), (frame, 0), (b"\x7f" + frame, 3)):
        with pytest.raises(ValueError, match=rf"^{NO_PIECES}$"):
            pieces.unpack([stored], [size])


@pytest.mark.parametrize("middle", [1, 2, (1 << 14) - 1, 1 << 14, 100_000])
def test_the_middle_of_a_frame_is_found(middle: int) -> None:
    frame = write_middle(middle) + bytes(middle) + b"more"
    assert read_middles([frame]).tolist() == [[middle], [4]]
    assert len(write_middle(middle)) == (2 if middle < 1 << 14 else 4)
    with pytest.raises(ValueError, match=f"^half a frame of {middle:,} bytes in {len(frame) - 5:,}$"):
        read_middles([frame[:-5]])


def test_a_long_frame_is_read_too(pieces: Pieces) -> None:
    """Its middle takes four bytes."""
    plain = text_of(3, 80_000)
    frame = pieces.pack(plain)
    assert read_middles([frame]).min() > 1 << 14
    assert (pieces.unpack([frame], [len(plain)]) == plain).all()


def test_short_frames_beside_a_long_one_do_not_take_its_memory(pieces: Pieces) -> None:
    plain = [text_of(3, 40_000), *[text_of(4, 10)] * 500, np.zeros(0, np.uint8), text_of(5, 90)]
    frames, sizes = [pieces.pack(each) for each in plain], [len(each) for each in plain]
    pieces.unpack(frames[1:], sizes[1:])  # tables are made once
    tracemalloc.start()
    try:
        found = pieces.unpack(frames, sizes)
        assert tracemalloc.get_traced_memory()[1] < 40 * sum(sizes)
    finally:
        tracemalloc.stop()
    assert (found == np.concatenate(plain)).all()


def test_too_large_a_frame_is_refused_before_it_is_read(pieces: Pieces) -> None:
    message = r"^a frame of 67,108,865 symbols; at most 67,108,864 are read$"
    with pytest.raises(ValueError, match=message):
        pieces.unpack([b"x"], [FRAME_LIMIT + 1])


@given(st.binary(min_size=1, max_size=200), st.integers(1, 2000))
@settings(deadline=None)
def test_any_bytes_are_symbols_or_refused(pieces: Pieces, frame: bytes, size: int) -> None:
    refused = ""
    found = np.zeros(size, np.uint8)
    try:
        found = pieces.unpack([frame], [size])
    except ValueError as error:
        refused = str(error)
    assert not refused or re.search(rf"in place of {size} in \d|^half a frame of|^{NO_PIECES}$", refused)
    assert (refused == NO_PIECES) == (frame[0] < 0x80)
    assert found.shape == (size,)


def test_a_short_frame_is_not_read_for_long(pieces: Pieces) -> None:
    """It ends with its bits, however many symbols it is said to hold."""
    with pytest.raises(ValueError, match=rf"in place of {FRAME_LIMIT} in 1 \+ 2$"):
        pieces.unpack([b"\x80\1abc"], [FRAME_LIMIT])


def broken(pieces: Pieces, how: str) -> Pieces:
    group_codes, drawer_codes = pieces.group_codes.copy(), pieces.drawer_codes.copy()
    if how == "a group has no code":
        group_codes[0, np.argmax(group_codes[0])] = GROUP_BITS + 1
    if how == "a drawer has no code":
        drawer_codes[:] = 255
        drawer_codes[:, DRAWERS - 1] = 0
    if how == "codes are too long":
        drawer_codes[0, 0] = DRAWER_BITS + 1
    changed = {
        "another type": {"sizes": pieces.sizes.astype(np.int64)},
        "a context too many": {"contexts": np.full_like(pieces.contexts, len(pieces.group_codes))},
        "a piece too few": {"lengths": pieces.lengths[:-1]},
        "groups of another sum": {"sizes": pieces.sizes + np.uint32(1)},
    }
    return replace(pieces, **{"group_codes": group_codes, "drawer_codes": drawer_codes, **changed.get(how, {})})


WAYS_TO_BREAK = {
    "another type": "its pieces do not fit together",
    "a context too many": r"its pieces have \d+ groups and \d+ contexts",
    "a piece too few": "its pieces do not fit together",
    "groups of another sum": "its groups do not hold its pieces",
    "a group has no code": "the codes of its groups are no prefix codes",
    "a drawer has no code": "the codes of its drawers are no prefix codes",
    "codes are too long": "the codes of its drawers are no prefix codes",
}


@pytest.mark.parametrize("how", WAYS_TO_BREAK)
def test_broken_pieces_are_refused(pieces: Pieces, how: str) -> None:
    with pytest.raises(ValueError, match=f"^{WAYS_TO_BREAK[how]}$"):
        Pieces.from_tensors(broken(pieces, how).tensors())
