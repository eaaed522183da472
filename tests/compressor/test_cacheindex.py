"""An index comes back as it was written, and one that was not written by the program is refused, whatever it says."""

import json
import re
from typing import Any

import numpy as np
import pytest
import zstandard

from compressor import cacheindex
from compressor.cacheindex import Index, Said, Way, checksum_of, read_index, write_index
from compressor.frames import FRAME_LIMIT
from compressor.ranges import Whole

WAY = Way("native-20@0123456789ab", "int4", 512, "native-20-01234567")
FACTS = {"codec": "c", "format": "int4", "width": 512, "book": ""}
ENTRY_BYTES = 8 * 4 + 8 + 16 + 32


def said(place: int = 0, **changed: Any) -> Said:
    """What differs from entry to entry, in every byte of its numbers."""
    numbers = np.random.default_rng(place).integers(0, 10_000, 7).tolist()
    known = Said(0, *numbers, 0.5 + place / 1000, checksum_of([bytes([place])]), bytes([place] * 32))
    return known._replace(**changed)


def index_of(head: object, columns: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return zstandard.compress(len(text).to_bytes(4, "little") + text + columns)


@pytest.mark.parametrize("entries", [0, 1, 2, 200])
def test_an_index_comes_back_as_it_was(entries: int) -> None:
    known = {f"entry {place} \u6c34": said(place, way=place % 2) for place in range(entries)}
    ways = [WAY, Way("other@1", "int8", 7, "")]
    data = write_index(Index(known, ways))
    found = read_index(data)
    assert [(name, found[name]) for name in found] == list(known.items())
    assert found.ways == tuple(ways)
    assert found.size == sum(each.stored_bytes for each in known.values())
    assert write_index(found) == data


def test_entries_lie_one_behind_the_other() -> None:
    index = read_index(write_index(Index({"b": said(1), "a": said(2)}, [WAY])))
    first, second = said(1).stored_bytes, said(2).stored_bytes
    assert (index.stretch("b"), index.stretch("a")) == ((0, first), (first, first + second))
    assert (len(index), index.size, index.way("a")) == (2, first + second, WAY)


def test_the_parts_of_an_entry_are_found_and_checked() -> None:
    entry = said(symbols=1, shared=2, tail=0, residual=3, checksum=checksum_of([b"abbccc"]))
    index = Index({"first": said(tokens=1, symbols=9, shared=0, tail=0, residual=0), "a": entry}, [WAY])
    parts = index.parts("a", Whole(memoryview(b"--abbccc")), 7)  # read from the seventh byte on
    assert parts is not None
    assert {name: part.tobytes() for name, part in parts.items()} == {
        "symbols": b"a",
        "shared": b"bb",
        "tail": b"",
        "residual": b"ccc",
    }
    assert index.parts("a", Whole(memoryview(b"--abbccd")), 7) is None


HEADS = {
    "no object": ([], "it does not list names and ways"),
    "no names": ({"ways": []}, "it does not list names and ways"),
    "names are text": ({"names": "ab", "ways": []}, "it does not list names and ways"),
    "names are keys": ({"names": {"a": 1}, "ways": []}, "it does not list names and ways"),
    "names are numbers": ({"names": [1], "ways": []}, "its names are not all text, or not all different"),
    "names repeat": ({"names": ["a", "a"], "ways": []}, "its names are not all text, or not all different"),
    "a way is no object": ({"names": [], "ways": [1]}, "a way does not have codec (str), format (str), width (int)"),
    "a way lacks a field": ({"names": [], "ways": [{"codec": "c"}]}, "a way does not have codec (str)"),
    "a field too many": ({"names": [], "ways": [FACTS | {"more": 1}]}, "a way does not have codec (str)"),
    "no JSON": (b"{", "Expecting property name"),
    "no text": (b"\xff\xff\xff", "can't decode"),
}


@pytest.mark.parametrize("how", HEADS)
def test_a_head_that_is_none_is_refused(how: str) -> None:
    head, message = HEADS[how]
    with pytest.raises(ValueError, match=re.escape(message)):
        read_index(index_of(head))


@pytest.mark.parametrize(
    "head", [b"[" * 100_000, b"[]," * 500, b"1.5," * 500, b'{"' + b"a" * 2000 + b'":' + b"[" * 1000]
)
def test_a_head_that_says_more_than_its_entries_need_is_not_parsed(head: bytes) -> None:
    """Parsed, it takes up to a hundred times its bytes."""
    with pytest.raises(ValueError, match="it says more than 0 entries can have"):
        read_index(index_of(head))


def test_a_deep_head_is_refused_where_there_are_entries_enough_for_its_bytes() -> None:
    with pytest.raises(ValueError, match="it is nested too deep"):
        read_index(index_of(b"[" * 100_000, bytes(5_000 * ENTRY_BYTES)))


@pytest.mark.parametrize("name", ["[{,:" * 5_000, '"' * 5_000, "\\" * 5_001, '\\"' * 5_000])
def test_names_may_hold_what_json_is_made_of(name: str) -> None:
    assert list(read_index(write_index(Index({name: said()}, [WAY])))) == [name]


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_a_string_that_does_not_end_is_looked_at_once(end: bytes) -> None:
    with pytest.raises(ValueError, match=r"Unterminated string|Invalid"):
        read_index(index_of(b'["' + b'\\"' * 10_000_000 + end))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("codec", 1, "a way does not have codec (str)"),
        ("format", ["int4"], "a way does not have codec (str)"),
        ("format", "int3", "'int3' is no format"),
        ("book", None, "a way does not have codec (str)"),
        ("width", "512", "a way does not have codec (str)"),
        ("width", True, "a way does not have codec (str)"),
        ("width", 512.0, "a way does not have codec (str)"),
        ("width", float("nan"), "a way does not have codec (str)"),
        ("width", 0, "tokens of int4 cannot have 0 numbers"),
        ("width", -512, "tokens of int4 cannot have -512 numbers"),
        ("width", 511, "tokens of int4 cannot have 511 numbers"),
        ("width", 1 << 40, "tokens of int4 cannot have 1099511627776 numbers"),
        ("width", 10**30, "tokens of int4 cannot have 1000000000000000000000000000000 numbers"),
    ],
)
def test_a_way_that_cannot_be_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_index(index_of({"names": [], "ways": [FACTS | {field: value}]}))


@pytest.mark.parametrize("size", [0, ENTRY_BYTES - 1, ENTRY_BYTES + 1, 2 * ENTRY_BYTES])
def test_columns_of_another_number_of_entries_are_refused(size: int) -> None:
    data = index_of({"names": ["a"], "ways": [FACTS]}, bytes(size))
    with pytest.raises(ValueError, match=r"^\d+ bytes for 1 entries$"):
        read_index(data)


def test_a_head_longer_than_the_index_is_refused() -> None:
    text = b'{"names":[],"ways":[]}'
    with pytest.raises(ValueError, match=r"^26 bytes for 0 entries$"):
        read_index(zstandard.compress((1 << 30).to_bytes(4, "little") + text))


LARGE = "a has more than 67,108,864 bytes, which is the most that is read"
CANNOT_BE = [
    ({"way": 1}, "a has way 1 of 1"),
    ({"tokens": FRAME_LIMIT // 512 + 1}, LARGE),
    ({"strips": FRAME_LIMIT // 2, "escaped": FRAME_LIMIT // 2 + 1}, LARGE),
    ({"symbols": FRAME_LIMIT}, LARGE),
    ({"residual": FRAME_LIMIT}, LARGE),
    ({"raw_char_accuracy": float("nan")}, "a reads a share of nan of its characters"),
    ({"raw_char_accuracy": 1.5}, "a reads a share of 1.5 of its characters"),
]


@pytest.mark.parametrize(("changed", "message"), CANNOT_BE)
def test_an_entry_that_cannot_be_is_neither_written_nor_read(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, float], message: str
) -> None:
    index = Index({"a": said(**changed)}, [WAY])
    with pytest.raises(ValueError, match=f"^{message}$"):
        write_index(index)
    with monkeypatch.context() as patch:
        patch.setattr(cacheindex, "_check", lambda names, said, ways: None)
        data = write_index(index)
    with pytest.raises(ValueError, match=f"^{message}$"):
        read_index(data)


def test_an_entry_as_large_as_the_limit_is_read() -> None:
    entry = said(tokens=FRAME_LIMIT // 512, strips=1, escaped=FRAME_LIMIT - 1)
    assert read_index(write_index(Index({"a": entry}, [WAY])))["a"] == entry


def test_an_index_of_too_many_bytes_is_neither_written_nor_read() -> None:
    with pytest.raises(
        ValueError, match=r"^an index of 33,\d+,\d+ bytes; at most 33,554,432 are read: use several files$"
    ):
        write_index(Index({"n" * cacheindex.LIMIT: said()}, [WAY]))
    with pytest.raises(ValueError, match=r"^it has no size, or more than 33,554,432 bytes$"):
        read_index(zstandard.compress(bytes(cacheindex.LIMIT + 1)))


@pytest.mark.parametrize(
    "data", [b"", b"no frame", index_of({"names": [], "ways": []})[:-3]], ids=["nothing", "no frame", "cut off"]
)
def test_what_is_no_whole_frame_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"content size|did not decompress full frame"):
        read_index(data)


def test_bytes_behind_the_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="unused data"):
        read_index(write_index(Index({}, [])) + b"more")


def test_a_frame_without_a_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(ValueError, match="it has no size"):
        read_index(frame)
