"""Tables keep their numbers whole: in a pipe, in a narrow terminal, and whatever a document is called."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.cli.output import Figure, Output

COLUMNS = ("document", "state", "keys and values", "cache")
ROWS = [("a-report-with-a-long-name-2026.pdf", "ready", Figure("121,202,733"), Figure("237.3 kB"))]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    Output(as_json=False).table(COLUMNS, ROWS)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_pipe_gets_a_row_whole_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert lines(capsys) == [
        "document                           state keys and values    cache",
        "a-report-with-a-long-name-2026.pdf ready     121,202,733 237.3 kB",
    ]


@pytest.mark.parametrize("columns", [55, 40, 20])
def test_in_a_narrow_terminal_text_gives_way_and_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    terminal(monkeypatch, columns)
    row = lines(capsys)[-1]
    assert row.startswith("a-report-wi")
    assert "…" in row
    assert row.endswith("ready 121,202,733 237.3 kB")


def test_documents_of_one_title_are_told_apart_by_their_ids(home: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "note.txt").write_text(f"The ferry {folder} left at 07:40.")
    runner.invoke(app, ["ingest", str(tmp_path)])
    rows = [line.split() for line in runner.invoke(app, ["ls"]).stdout.splitlines() if " note.txt " in line]
    assert [runner.invoke(app, ["read", row[0]]).stdout for row in rows] == [
        "The ferry a left at 07:40.\n",
        "The ferry b left at 07:40.\n",
    ]


def test_a_title_does_nothing_to_the_terminal(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\nb.txt").write_text("The ferry left at 07:40.")
    runner = CliRunner()
    said = [runner.invoke(app, [*words]).stdout for words in (["ingest", str(tmp_path)], ["ls"])]
    assert all("a?[31m?b.txt ready" in shown and "\x1b" not in shown for shown in said)
