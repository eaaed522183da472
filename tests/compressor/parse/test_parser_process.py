"""One bad file costs one clear error: the child process dies, the next file is parsed all the same."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.errors import DamagedDocument, DocumentError, EmptyDocument, ParserFailed
from compressor.limits import Limits
from compressor.parse import parse
from compressor.parse.child import ParserProcess

LIMITS = Limits(seconds=200.0)
BAD = {"text/plain": "tests.compressor.parse.bad_parsers:crash_on_request"}


@pytest.fixture(scope="module")
def process():
    with ParserProcess(parsers=BAD) as process:
        yield process


def written(folder: Path, text: str) -> Path:
    path = folder / "order.txt"
    path.write_text(text)
    return path


def test_the_child_returns_exactly_what_parsing_in_process_returns(tmp_path, process):
    path = tmp_path / "notes.md"
    path.write_text("# Ducks\n\nNo. 4711 costs 12,50 €.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert process.parse(path, name="notes.md", limits=LIMITS) == parse(path, name="notes.md", limits=LIMITS)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("segfault", r"order\.txt crashed the parser \(signal 11\)"),
        ("abort", r"order\.txt crashed the parser \(signal 6\)"),
        ("be killed", r"order\.txt crashed the parser \(signal 9\): the system ran out of memory"),
        ("exit", r"order\.txt crashed the parser \(exit status 3\)"),
        ("library bug", r"order\.txt could not be parsed \(IndexError: list index out of range\)"),
    ],
)
def test_a_crash_is_one_clear_error_and_the_next_file_is_parsed(tmp_path, process, order, message):
    with pytest.raises(ParserFailed, match=message):
        process.parse(written(tmp_path, order), name="order.txt", limits=LIMITS)
    after = process.parse(written(tmp_path, "all is well"), name="order.txt", limits=LIMITS)
    assert [block.text for block in after.blocks] == ["all is well"]


@pytest.mark.parametrize("order", ["hang", "spin"])
def test_a_hang_ends_after_the_time_limit(tmp_path, process, order):
    limits = dataclasses.replace(LIMITS, seconds=1.0)
    with pytest.raises(ParserFailed, match=r"order\.txt took longer than 1 s to parse"):
        process.parse(written(tmp_path, order), name="order.txt", limits=limits)
    assert process.parse(written(tmp_path, "fine"), name="order.txt", limits=LIMITS).blocks


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_memory_is_limited(tmp_path, process):
    limits = dataclasses.replace(LIMITS, memory_bytes=200_000_000)
    with pytest.raises(ParserFailed, match=r"order\.txt needs more than 200,000,000 bytes of memory"):
        process.parse(written(tmp_path, "eat memory"), name="order.txt", limits=limits)
    assert process.parse(written(tmp_path, "fine"), name="order.txt", limits=LIMITS).blocks


def test_a_stop_of_the_whole_service_is_no_fault_of_the_file(tmp_path, process):
    order = "be asked to stop"
    assert process.parse(written(tmp_path, order), name="order.txt", limits=LIMITS).blocks[0].text == order


def test_what_libraries_print_does_not_reach_the_protocol(tmp_path, process):
    assert process.parse(written(tmp_path, "print"), name="order.txt", limits=LIMITS).blocks[0].text == "print"


def test_document_errors_keep_their_class_and_words(tmp_path, process):
    empty = tmp_path / "empty.pdf"
    empty.touch()
    with pytest.raises(EmptyDocument, match=r"^empty\.pdf is empty: it has no bytes\.$"):
        process.parse(empty, name="empty.pdf", limits=LIMITS)
    damaged = tmp_path / "half.docx"
    damaged.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(DamagedDocument, match=r"half\.docx is a damaged or truncated zip container"):
        process.parse(damaged, name="half.docx", limits=LIMITS)


def test_a_document_error_does_not_cost_the_child(tmp_path, process):
    process.parse(written(tmp_path, "one"), name="order.txt", limits=LIMITS)
    before = process.pid
    with pytest.raises(DocumentError):
        process.parse(written(tmp_path, ""), name="order.txt", limits=LIMITS)
    process.parse(written(tmp_path, "two"), name="order.txt", limits=LIMITS)
    assert process.pid == before is not None


def test_a_child_is_replaced_after_its_share_of_files(tmp_path):
    with ParserProcess(files_per_child=1) as process:
        process.parse(written(tmp_path, "one"), name="order.txt", limits=LIMITS)
        assert process.pid is None
        process.parse(written(tmp_path, "two"), name="order.txt", limits=LIMITS)


def test_the_child_imports_neither_torch_nor_any_parser_before_it_needs_them():
    code = "import sys, compressor.parse.child; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pymupdf", "docx", "openpyxl", "lxml", "docutils"} & set(modules)
