"""Pages that Percel wrote are read number for number, and a byte that is wrong is found."""

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENTRY, MODEL, make_page, numbers, page_path, put_page

from percel_vllm.blobs import DirectoryPages
from percel_vllm.names import PageError, read_name
from percel_vllm.pages import Page, load_page, open_page, read_parts


def opened(blobs: Path, name: str) -> Page:
    known = read_name(name)
    return open_page(DirectoryPages(blobs).open(known.blob), known.entry)


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("format", ["int8", "int4", "bf16", "f32"])
def test_numbers_are_those_that_percel_reads(blobs: Path, format: str, levels: int) -> None:
    page = make_page(format, levels=levels)
    found = opened(blobs, put_page(blobs, page))
    assert (found.model, found.rows, found.width, found.sent_width) == (MODEL, 6, 32, 32 * (1 + levels))
    assert torch.equal(load_page(found, device="cpu", dtype=torch.float32), numbers(page))
    assert torch.equal(load_page(found, device="cpu", dtype=torch.bfloat16), numbers(page, torch.bfloat16))


def test_a_changed_byte_is_found_in_header_and_page(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    data = path.read_bytes()
    found = opened(blobs, name)
    place = found.places[1][0] + 3
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(PageError, match=rf"is damaged: the checksum of {ENTRY} differs$"):
        read_parts(opened(blobs, name))
    path.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    with pytest.raises(PageError, match=r"is damaged: (its header cannot be read|the checksum of its header differs)"):
        opened(blobs, name)


@pytest.mark.parametrize("cut", [0, 4, 30, 700, -1])
def test_a_file_that_is_cut_off_is_found(blobs: Path, cut: int) -> None:
    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(PageError, match=r"^page file \w+ is damaged: "):
        opened(blobs, name)


def test_a_page_that_is_not_in_the_file_is_named(blobs: Path) -> None:
    known = read_name(put_page(blobs, make_page()))
    with pytest.raises(PageError, match=r"holds no page 000009\.0000$"):
        open_page(DirectoryPages(blobs).open(known.blob), "000009.0000")


def test_a_header_that_lies_about_its_parts_is_refused(blobs: Path) -> None:
    """With a checksum that is right: whoever can write there can sign, but not make us read beyond the page."""
    import hashlib

    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header[f"{ENTRY}.scales"]["shape"] = [3, 8]
    header["__metadata__"]["header_sha256"] = "0" * 64
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text.replace(b"0" * 64, digest, 1) + data[8 + length :])
    with pytest.raises(PageError, match=rf"its header cannot be read \(the parts of {ENTRY} do not fit together\)"):
        opened(blobs, name)


def test_numbers_beyond_a_type_are_not_given_out(blobs: Path) -> None:
    from compressor.vlm.page import PageTokens, store_page

    wide = PageTokens(torch.full((6, 32), 1e6), None, (2, 3), torch.tensor([9] * 6))
    name = put_page(blobs, store_page(wide, codec=MODEL, image_token=9))
    with pytest.raises(PageError, match=r"holds numbers that are not finite as torch\.float16$"):
        load_page(opened(blobs, name), device="cpu", dtype=torch.float16)


def sealed_again(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Changes what a file's header says of tensors and of the page, under a checksum that is right."""
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:end])
    facts = json.loads(header["__metadata__"]["entries"])
    change(header, facts[ENTRY])
    header["__metadata__"] |= {"entries": json.dumps(facts), "header_sha256": "0" * 64}
    text = json.dumps(header).encode()
    text = text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode(), 1)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[end:])


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ("features", [(1 << 62) + 6, 32]),  # NumPy's product is 192, as it should be
        ("ids", [1 << 62, 4]),  # and here 0
        ("features", [6.0, 32]),
        ("features", [-6, -32]),
        ("features", [6, 4, 8]),
        ("ids", ["8", 4]),
        ("ids", [True, 4]),
    ],
)
def test_shapes_that_cannot_be_are_damage(blobs: Path, part: str, shape: list[object]) -> None:
    name = put_page(blobs, make_page())

    def change(header: dict[str, Any], facts: dict[str, Any]) -> None:
        tensor = header[f"{ENTRY}.{part}"]
        tensor["shape"] = shape
        if shape == [1 << 62, 4]:
            tensor["data_offsets"] = [tensor["data_offsets"][0]] * 2

    sealed_again(page_path(blobs, name), change)
    with pytest.raises(PageError, match=rf"its header cannot be read \({ENTRY}\.{part} is not what its shape says\)"):
        opened(blobs, name)


@pytest.mark.parametrize("levels", ["2", 2.0, True, None])
def test_levels_that_are_no_number_are_damage(blobs: Path, levels: object) -> None:
    name = put_page(blobs, make_page())
    sealed_again(page_path(blobs, name), lambda header, facts: facts.update(levels=levels))
    with pytest.raises(PageError, match=rf"the levels or rows of {ENTRY} are none"):
        opened(blobs, name)


def test_a_header_nested_too_deep_is_damage(blobs: Path) -> None:
    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    text = b"[" * 100_000
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(PageError, match=r"is damaged: its header cannot be read \(maximum recursion"):
        opened(blobs, name)


@pytest.mark.parametrize(
    "name",
    [
        "percel:hf:qwen3_vl@0123456789ab:../../etc/passwd:000001.0000",
        f"percel:hf:qwen3_vl@0123456789ab:default/ab/cd/{'0' * 64}:000001.0000",
        f"percel:hf:qwen3_vl@0123456789ab:De/../ab/cd/abcd{'0' * 60}:000001.0000",
        f"percel:hf:qwen3_vl@0123456789ab:ab/cd/abcd{'0' * 60}:../000001.0000",
        f"percel:hf:qwen3_vl@0123456789ab:ab/cd/abcd{'0' * 60}:000001.0000\n",
        "percel:",
    ],
)
def test_what_is_no_name_of_a_page_is_refused(name: str) -> None:
    with pytest.raises(PageError, match=r"is not the name of a stored page$"):
        read_name(name)


def test_a_file_that_is_not_there_or_leads_elsewhere_is_refused(blobs: Path, tmp_path: Path) -> None:
    name = put_page(blobs, make_page())
    path = page_path(blobs, name)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(PageError, match=r"there is no page file default/\S+ in \S+: its document was deleted, or made"):
        opened(blobs, name)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PageError, match=r"leads out of "):
        opened(blobs, name)
