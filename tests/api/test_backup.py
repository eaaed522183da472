"""migrate, backup and restore as a person and a script see them, with documents in place."""

import json
import sys
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from api.cli import app, main
from api.cli.documents import open_resources
from store import catalog, lexical
from store.database import build_schema, open_database, reading, transaction
from store.models import Document
from tests.api.test_cli import NOTES

QUESTION = "When did the ferry Linnea leave?"


def percel(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_json(*arguments: object) -> dict:
    return json.loads(percel(*arguments, "--json").stdout)


def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["percel", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, " ".join(capsys.readouterr().err.split())


@pytest.fixture
def backed_up(tmp_path: Path, home: Path) -> Path:
    """The backup of a store of two documents."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "log.md").write_text(NOTES)
    (folder / "prices.csv").write_text("item,price\nrope,12.50\nanchor,480.00\n")
    assert percel("ingest", folder).exit_code == 0
    made = as_json("backup", tmp_path / "a.backup")
    assert made["rows"]["document"] == 2
    assert made["lost_blobs"] == []
    return tmp_path / "a.backup"


def without_times(answer: dict) -> dict:
    return {name: value for name, value in answer.items() if name != "timings"}


def found_by_words(query: str) -> list[lexical.LexicalHit]:
    with open_resources() as resources, reading(resources.engine) as session:
        home = catalog.find_collection(session, "default", "default")
        return lexical.search(session, home.id, query, 10)


def test_a_restored_store_gives_the_same_answers(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, worded = as_json("ask", QUESTION), found_by_words("QX-5521-b")
    monkeypatch.setenv("PERCEL_HOME", str(tmp_path / "new"))
    assert as_json("restore", backed_up)["rows"]["document"] == 2
    assert not answer["abstained"]
    assert without_times(as_json("ask", QUESTION)) == without_times(answer)
    assert found_by_words("QX-5521-b") == worded != []
    assert percel("doctor", "--deep").exit_code == 0


def test_a_blob_that_refuses_to_go_keeps_no_restored_document_from_being_found(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later = tmp_path / "later.txt"
    later.write_text("The weir was repaired.\n")
    assert percel("ingest", later).exit_code == 0
    with open_resources() as resources, reading(resources.engine) as session:
        (key,) = session.scalars(select(Document.blob).where(Document.title == "later.txt"))
        path = resources.blobs.local_path(key)
    path.unlink()
    (path / "below").mkdir(parents=True)  # unlink does not take a folder, nor does anybody else
    code, said = ended(monkeypatch, capsys, "restore", backed_up, "--replace")
    assert code != 0
    assert key in said
    assert len(found_by_words("QX-5521-b")) == 1


def test_what_a_restore_had_no_time_for_is_made_by_doctor(backed_up: Path) -> None:
    with open_resources() as resources, transaction(resources.engine) as session:
        session.connection().exec_driver_sql("DELETE FROM passage_text")
    wrong = percel("doctor")
    assert wrong.exit_code == 1
    assert "passages are not in it" in wrong.stdout
    assert percel("doctor", "--repair").exit_code == 0
    assert percel("doctor").exit_code == 0


def test_a_store_with_documents_is_not_overwritten(
    backed_up: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ended(monkeypatch, capsys, "restore", backed_up)
    assert code == 1
    assert "error: The store is not empty: there are rows in collection" in said
    assert percel("rm", "log.md").exit_code == 0
    assert percel("restore", backed_up, "--replace").exit_code == 0
    assert {document["title"] for document in as_json("ls")["documents"]} == {"log.md", "prices.csv"}


def test_errors_of_backups_are_one_line(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, capsys, "restore", tmp_path / "nowhere")[0] == 3
    code, said = ended(monkeypatch, capsys, "backup", backed_up)
    assert code == 1
    assert "already: name another one, or take that one away" in said
    spoiled = bytearray(backed_up.read_bytes())
    spoiled[spoiled.index(b"ferry Linnea")] ^= 1  # in the source file's blob
    backed_up.write_bytes(spoiled)
    monkeypatch.setenv("PERCEL_HOME", str(tmp_path / "new"))
    code, said = ended(monkeypatch, capsys, "restore", backed_up)
    assert code == 1
    assert "a.backup is damaged: blobs/" in said
    assert as_json("status")["documents"] == {}


def test_migrate_says_from_where_to_where(home: Path) -> None:
    engine = open_database(f"sqlite:///{home / 'percel.db'}")
    build_schema(engine, "0001")
    engine.dispose()
    assert percel("backup", home / "x").exit_code == 1
    told = as_json("migrate")
    assert (told["from"], told["changed"]) == ("0001", True)
    assert as_json("migrate") == {"from": told["to"], "to": told["to"], "changed": False}
