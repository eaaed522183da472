"""What the command line counts: each file and each document once, however often and by whatever name it is given."""

import json
from pathlib import Path

from typer.testing import CliRunner

from api.cli import app


def as_json(*arguments: object) -> dict:
    return json.loads(CliRunner().invoke(app, [*map(str, arguments), "--json"]).stdout)


def said(*arguments: object) -> str:
    return " ".join(CliRunner().invoke(app, [str(argument) for argument in arguments]).stdout.split())


def test_a_file_that_is_named_twice_is_counted_once(home: Path, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The ferry left at 07:40.")
    (tmp_path / "link.txt").symlink_to(note)
    assert [d["title"] for d in as_json("ingest", note, note, tmp_path / "link.txt")["documents"]] == ["note.txt"]
    assert "1 of 1 documents ready" in said("ingest", note, note)


def test_refused_files_of_one_name_are_all_reported(home: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "empty.txt").touch()
    (tmp_path / "a" / "note.txt").write_text("The ferry left at 07:40.")
    documents = as_json("ingest", tmp_path)["documents"]
    assert [(d["title"], d["state"]) for d in documents] == [
        ("note.txt", "ready"),
        ("empty.txt", "failed"),
        ("empty.txt", "failed"),
    ]


def test_a_document_that_is_named_twice_is_removed_once(home: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("The ferry left at 07:40.")
    as_json("ingest", tmp_path / "note.txt")
    assert len(as_json("rm", "note.txt", "note.txt")["removed"]) == 1
