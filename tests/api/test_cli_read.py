"""What `percel read` shows of a document that failed, of one with a failed version, and of tabs at another rate."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli import app, main


def percel(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("options", [(), ("--markdown",), ("--rate", "80")])
def test_a_document_that_failed_is_an_error_that_says_why(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: tuple
) -> None:
    (tmp_path / "blank.txt").write_text(" \n ")
    percel("ingest", tmp_path / "blank.txt")
    monkeypatch.setattr(sys, "argv", ["percel", "read", "blank.txt", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said == "error: blank.txt failed and has no text to read: blank.txt has no text."


def test_a_version_that_failed_does_not_hide_the_one_before(home: Path, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The ferry left at 07:40.")
    percel("ingest", note)
    note.write_text(" ")
    assert percel("ingest", note).exit_code == 1
    assert percel("read", "note.txt").stdout == "The ferry left at 07:40.\n"


def test_a_rate_shows_tabs_as_they_are(home: Path, tmp_path: Path) -> None:
    code = tmp_path / "code.py"
    code.write_text("def left(ferry):\n\treturn 740\n")
    percel("ingest", code)
    assert percel("read", "code.py", "--rate", 10).stdout.startswith(code.read_text())
