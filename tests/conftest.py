"""Resources on a fresh home for every test; models load once a run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers_s3 import aws, between, bucket, s3_server, s3_url
from workers.resources import Resources
from workers.settings import Settings

__all__ = ["aws", "between", "bucket", "s3_server", "s3_url"]  # fixtures of every test
pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PERCEL_HOME, also for commands that read the environment."""
    for name in list(os.environ):
        if name.startswith("PERCEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PERCEL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def resources(home: Path) -> Iterator[Resources]:
    with Resources(Settings(home=home)) as opened:
        yield opened
