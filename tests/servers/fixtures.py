"""Owns the fixtures of real servers, one of each a run. Mark what needs them `servers`."""

from collections.abc import Iterator

import pytest

from tests.servers import postgresql, redis


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """The distribution's PostgreSQL. Who stops it starts it again."""
    with postgresql.started(postgresql.distribution_programs()) as server:
        yield server


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[postgresql.Server]:
    """A PostgreSQL whose extensions include pgvector."""
    with postgresql.started(postgresql.pgvector_programs()) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: postgresql.Server) -> Iterator[str]:
    """A new, migrated database."""
    with postgresql_server.database() as url:
        yield url


@pytest.fixture
def pgvector_url(pgvector_server: postgresql.Server) -> Iterator[str]:
    """A new, migrated database on a server that has pgvector."""
    with pgvector_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.Redis]:
    """A Redis for the run. Who stops it starts it again."""
    with redis.started() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: redis.Redis) -> str:
    """Its address; empty it first where that matters."""
    return redis_server.url
