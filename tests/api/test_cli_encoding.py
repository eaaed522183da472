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
def test_a_full_disk_is_one_line(home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*PERCEL, "status", "--json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode != 0
    assert "error: [Errno 28] No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
