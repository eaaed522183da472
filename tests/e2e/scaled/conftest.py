"""A scaled deployment for every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.scaled.deployment import Deployment, deployed
from tests.servers import postgresql, redis
from tests.servers_s3 import Between, blob_url


@pytest.fixture
def deployment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgresql_url: str,
    postgresql_server: postgresql.Server,
    redis_server: redis.Redis,
    bucket: str,
    between: Between,
) -> Iterator[Deployment]:
    """A deployment of its own for every test; Redis begins empty."""
    monkeypatch.setenv("PERCEL_BROKER_URL", redis_server.url)  # as the Celery application of this process reads it
    redis_server.stop()
    redis_server.start()
    blobs = blob_url(bucket, between.endpoint)
    with deployed(tmp_path, postgresql_url, (postgresql_server, redis_server), blobs) as deployment:
        yield deployment
