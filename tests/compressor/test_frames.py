"""A frame gives back the bytes that it was made of, and no more memory is taken than was asked for."""

import tracemalloc
from threading import Thread

import numpy as np
import pytest
import zstandard

from compressor.codebook import STREAMS, book_for
from compressor.codec.weights import available_rates
from compressor.frames import FRAME_LIMIT, pack_frame, unpack_frames

PLAIN = np.tile(np.arange(50, dtype=np.uint8), 20)
DICTIONARIES = [
    b"",
    *(book_for(f"native-{rate}", "int4", 512).dictionaries[s] for rate in available_rates() for s in STREAMS),
]


def foreign(plain: bytes, *, size: bool) -> bytes:
    """A frame that another program made."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=size
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


@pytest.mark.parametrize("dictionary", DICTIONARIES, ids=len)
def test_bytes_come_back_in_the_order_of_their_frames(dictionary: bytes) -> None:
    parts = [PLAIN[:0], PLAIN, PLAIN[:1], PLAIN[:0], PLAIN[::-1]]
    frames = [pack_frame(part, dictionary) for part in parts]
    assert [len(frame) > 0 for frame in frames] == [False, True, True, False, True]
    found = unpack_frames(frames, [part.size for part in parts], dictionary)
    assert (found == np.concatenate(parts)).all()
    views = [memoryview(frame) for frame in frames]
    assert (unpack_frames(views, [part.size for part in parts], dictionary) == found).all()


def test_no_frames_are_no_bytes() -> None:
    assert unpack_frames([], []).size == 0


@pytest.mark.parametrize("dictionary", DICTIONARIES, ids=len)
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 70_000, 3_000_000])
def test_no_frame_of_ours_states_its_size_or_dictionary(dictionary: bytes, size: int) -> None:
    """What is refused must never have been written; RFC 8878, 3.1.1.1.1 has the bits."""
    first = pack_frame(np.resize(PLAIN, size), dictionary)[0]
    assert first & 0b1110_0011 == 0


def test_equal_bytes_give_equal_frames_in_every_thread() -> None:
    found: list[bytes] = []
    threads = [Thread(target=lambda: found.append(pack_frame(PLAIN, DICTIONARIES[1]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [pack_frame(PLAIN, DICTIONARIES[1])] * 3


@pytest.mark.parametrize("claimed", [10, 1 << 30, 1 << 62, (1 << 64) - 3])
def test_a_frame_that_states_its_size_is_refused_before_memory_is_taken(claimed: int) -> None:
    frame = b"\xe0" + claimed.to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^a frame that states its size, or none$"):
            unpack_frames([frame], [10])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_whole_frame_that_states_its_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"^a frame that states its size, or none$"):
        unpack_frames([foreign(bytes(size), size=True)], [size])
    assert unpack_frames([foreign(bytes(size), size=False)], [size]).size == size


MISFITS = {
    "none": (b"", 10, "^a frame that states its size, or none$"),
    "no frame": (b"\0no", 10, "decompress"),
    "more than told": (pack_frame(PLAIN), 999, "decompress"),
    "less than told": (pack_frame(PLAIN), 1001, "^1000 bytes in place of 1001$"),
    "cut off": (pack_frame(PLAIN)[:-1], 1000, "decompress"),
    "more behind it": (pack_frame(PLAIN) + b"more", 1000, "unused data"),
    "too large": (pack_frame(PLAIN), FRAME_LIMIT + 1, "^a frame of 67,108,865 bytes; at most 67,108,864 are read$"),
}


@pytest.mark.parametrize("how", MISFITS)
def test_anything_else_is_refused(how: str) -> None:
    frame, size, message = MISFITS[how]
    with pytest.raises(ValueError, match=message):
        unpack_frames([frame], [size])


def test_a_dictionary_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="decompression dict"):
        unpack_frames([pack_frame(PLAIN)], [1000], b"\x37\xa4\x30\xec" + bytes(range(256)))
