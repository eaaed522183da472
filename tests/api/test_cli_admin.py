"""The commands about API keys and dead jobs, as a person and a script see them."""

import json
from pathlib import Path

import pytest
from sqlalchemy import update

from store import catalog
from store.database import reading, transaction
from store.models import Job, JobKind, JobState
from store.scopes import Scope
from tests.api.test_cli import as_json, percel, run_main
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.settings import Settings


def test_a_key_is_shown_once_listed_by_its_prefix_and_revoked(home: Path) -> None:
    made = as_json("keys", "create", "search page", "--scope", "read", "-c", "manuals", "--days", 30)
    assert made["key"].startswith("pk_")
    assert (made["scopes"], made["collections"]) == (["read"], ["manuals"])
    with Resources(Settings(home=home)) as resources, reading(resources.engine) as session:
        known = catalog.find_key(session, made["key"])
        assert known is not None
        assert known.scopes == [Scope.READ]
    listed = percel("keys", "ls")
    assert made["key"] not in listed.stdout
    assert made["key"][:6] in listed.stdout
    (row,) = as_json("keys", "ls")["keys"]
    assert (row["name"], row["collections"], row["revoked_at"]) == ("search page", ["manuals"], None)
    assert row["expires_at"] - row["created_at"] == pytest.approx(30 * 86_400, abs=60)
    assert percel("keys", "revoke", "search page").stdout == f"revoked search page ({made['id'][:8]})\n"
    with Resources(Settings(home=home)) as resources, reading(resources.engine) as session:
        assert catalog.find_key(session, made["key"]) is None
    assert "revoked" in percel("keys", "ls").stdout


def test_a_key_without_a_scope_reads_and_the_help_says_so(home: Path) -> None:
    assert as_json("keys", "create", "reader")["scopes"] == ["read"]
    assert "default: read." in percel("keys", "create", "--help").stdout


def test_a_key_that_is_not_there_cannot_be_revoked(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run_main(monkeypatch, capsys, "keys", "revoke", "nobody")
    assert (code, said) == (3, "error: There is no key 'nobody'. List the keys to see their ids.")


def test_a_scope_that_is_none_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run_main(monkeypatch, capsys, "keys", "create", "x", "--scope", "write")
    assert code == 2
    assert "'write' is not one of 'read', 'ingest', 'admin'" in said


@pytest.fixture
def dead(home: Path, tmp_path: Path) -> int:
    """A job whose attempts are used up, and whose document has failed with it."""
    (tmp_path / "a.txt").write_text("The key hangs behind the door.\n")
    with Resources(Settings(home=home)) as resources:
        accepted = accept(resources, "default", "default", Offer(tmp_path / "a.txt", "a.txt", external_id="a"))
        with transaction(resources.engine) as session:
            session.execute(update(Job).values(state=JobState.DEAD, attempts=3, last_error="its worker fell silent"))
            catalog.fail_document(session, accepted.document.id, "its worker died 3 times")
        assert accepted.job is not None
        return accepted.job.id


def test_a_dead_job_is_listed_and_tried_again(home: Path, dead: int) -> None:
    (row,) = as_json("jobs", "ls")["dead"]
    assert (row["id"], row["kind"], row["title"], row["attempts"]) == (dead, JobKind.PARSE, "a.txt", 3)
    assert row["last_error"] == "its worker fell silent"
    said = percel("jobs", "requeue", dead).stdout
    assert said == f"job {dead} is due again; `percel worker` (or the service) does it\n"
    assert percel("jobs", "ls").stdout.endswith("No job is dead.\n")
    with Resources(Settings(home=home)) as resources, reading(resources.engine) as session:
        assert catalog.count_due(session) == {JobKind.PARSE: 1}


def test_a_dead_job_is_forgotten_and_its_document_stays_failed(home: Path, dead: int) -> None:
    assert json.loads(percel("jobs", "delete", dead, "--json").stdout) == {"deleted": dead}
    assert as_json("jobs", "ls") == {"dead": []}
    assert [document["state"] for document in as_json("ls")["documents"]] == ["failed"]


def test_a_job_that_is_not_dead_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("requeue", "delete"):
        code, said = run_main(monkeypatch, capsys, "jobs", command, 4711)
        assert (code, said) == (3, "error: There is no dead job '4711'. List the dead jobs to see their ids.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", " "), "the key's name is empty"),
        (("keys", "create", "x", "-c", "a/b"), "'a/b' is no name for a collection"),
        (("keys", "create", "x", "--days", "99999999"), "--days"),
        (("keys", "create", "x", "--requests-per-minute", str(2**31)), "--requests-per-minute"),
        (("ingest", __file__, "-c", "a/b"), "'a/b' is no name for a collection"),
        (("ingest", __file__, "-c", ".."), "must not be . or .."),
        (("jobs", "requeue", str(10**20)), "less than or equal to"),
    ],
)
def test_what_no_row_and_no_address_can_hold_is_wrong_usage(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    code, heard = run_main(monkeypatch, capsys, *arguments)
    assert (code, said in heard) == (2, True)
    assert as_json("keys", "ls")["keys"] == []
