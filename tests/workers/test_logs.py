"""Log lines are JSON for a service, text for people, and say which request and job they are about."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.errors import SettingsError
from workers.ingest import Offer, accept
from workers.logs import bind, configure
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings, load_settings

log = logging.getLogger("workers.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    names = ("", "api", "workers", "store", "compressor", "uvicorn", "uvicorn.access")
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_service_on_a_terminal_logs_lines_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure(Settings(), service=True)
    log.info("chunk published", extra={"document_id": "d1"})
    assert capsys.readouterr().err.endswith(" INFO workers.test: chunk published document_id=d1\n")


def test_a_service_logs_json_with_ids_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(), service=True)
    with bind(request_id="r1"), bind(job_id=7):
        log.info("chunk published", extra={"document_id": "d1", "ms": 12})
    log.info("at rest")
    first, second = lines(capsys)
    assert {name: value for name, value in first.items() if name != "ts"} == {
        "level": "INFO",
        "logger": "workers.test",
        "event": "chunk published",
        "request_id": "r1",
        "job_id": "7",
        "document_id": "d1",
        "ms": 12,
    }
    assert str(first["ts"]).endswith("+00:00")
    assert not {"request_id", "job_id"} & second.keys()


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(), service=True)
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("it failed")
    assert "ValueError: odd" in str(lines(capsys)[0]["exc_info"])


def test_a_command_logs_warnings_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings())
    log.info("nobody needs this")
    with bind(job_id=7):
        log.warning("lease not extended", extra={"reason": "busy"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING workers.test: lease not extended reason=busy job_id=7")


def test_form_and_level_can_be_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERCEL_LOG", "text")
    monkeypatch.setenv("PERCEL_LOG_LEVEL", "error")
    configure(load_settings(), service=True)
    log.warning("left out")
    log.error("kept")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("ERROR workers.test: kept")
    monkeypatch.setenv("PERCEL_LOG", "xml")
    with pytest.raises(SettingsError, match="PERCEL_LOG: input should be '', 'json' or 'text'"):
        load_settings()


def test_what_other_libraries_tell_is_left_out_below_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_level="debug"), service=True)
    logging.getLogger("alembic").info("running")
    logging.getLogger("alembic").warning("odd")
    assert [line["event"] for line in lines(capsys)] == ["odd"]


def test_a_job_binds_its_id(resources: Resources, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure(Settings(log_level="debug"), service=True)
    (tmp_path / "a.txt").write_text("The gauge stood at 2.417 m. " * 20)
    accepted = accept(resources, "default", "test", Offer(tmp_path / "a.txt", "a.txt"))
    resources.timings.observe(lambda step, seconds: log.debug("step ended", extra={"step": step}))
    run_due_jobs(resources)
    told = {str(line["step"]): line.get("job_id") for line in lines(capsys) if line["event"] == "step ended"}
    assert accepted.job is not None
    assert told["parse"] == str(accepted.job.id)
    assert told["publish"] not in (None, told["parse"])
