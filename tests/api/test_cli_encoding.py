"""What the command line does where its output takes only some characters, or none any more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PERCEL = [sys.executable, "-c", "from api.cli import main; main()"]


@pytest.fixture
def ascii_only(home: Path, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "note.txt").write_text("北京站 07:40")
    subprocess.run([*PERCEL, "ingest", str(tmp_path / "note.txt")], check=True, capture_output=True)
    return os.environ | {"PYTHONIOENCODING": "ascii"}


def test_where_output_is_not_utf8_json_is_escaped_and_text_is_an_error_that_says_what_to_do(
    ascii_only: dict[str, str],
) -> None:
    found = subprocess.run([*PERCEL, "read", "note.txt", "--json"], check=True, capture_output=True, env=ascii_only)
    assert json.loads(found.stdout)["chunks"][0]["text"] == "北京站 07:40"
    refused = subprocess.run([*PERCEL, "read", "note.txt"], capture_output=True, text=True, env=ascii_only)
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: the output is ascii, which lacks characters of this text: set PYTHONIOENCODING=utf-8\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(home: Path, options: list[str], unbuffered: str) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*PERCEL, "status", *options], stdout=full, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert (ended.returncode, ended.stderr) == (1, "error: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_enough_is_no_error_that_is_told(home: Path, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run([*PERCEL, "status"], stdout=writing, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")
