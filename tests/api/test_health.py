"""Whether the service says what is missing."""

import time
from pathlib import Path

import pytest

from api.health import check_all
from tests.workers.test_ingest import offer
from workers.ingest import accept
from workers.resources import Resources
from workers.settings import Settings


@pytest.mark.servers
@pytest.mark.parametrize("skew", [-600, 600])
def test_a_node_whose_clock_is_wrong_does_not_miss_the_workers(
    home: Path, tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, skew: int
) -> None:
    with Resources(Settings(home=home, database_url=postgresql_url)) as resources:
        accept(resources, "default", "test", offer(tmp_path, "a.txt", "Some words.\n"))
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + skew)
        (workers,) = [check for check in check_all(resources) if check.name == "workers"]
    assert workers.ok, workers.detail


def test_a_stranger_is_not_told_where_the_stores_are(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Resources(Settings(home=home)) as resources:
        resources.engine.dispose()
        for beside in home.glob("percel.db-*"):
            beside.unlink()
        (home / "percel.db").write_bytes(b"no database " * 1000)
        checks = {check.name: check for check in check_all(resources)}
    assert (checks["database"].ok, checks["database"].detail) == (False, "DatabaseUnusable")
    assert not [check for check in checks.values() if str(home) in check.detail]
    told = next(record for record in caplog.records if record.name == "api.health")
    assert told.getMessage().startswith("not ready: database: DatabaseUnusable: ")
    assert str(home) in told.getMessage()
    assert not told.exc_info
