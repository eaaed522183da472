"""The private Redis answers, keeps nothing, and can be stopped and started."""

import socket

import pytest

from tests.servers.redis import Redis

pytestmark = pytest.mark.servers


def _say(server: Redis, command: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(command + b"\r\n")
        return connection.recv(100)


def test_a_redis_that_is_stopped_and_started_is_empty(redis_server: Redis, redis_url: str) -> None:
    assert redis_url == f"redis://127.0.0.1:{redis_server.port}/0"
    assert _say(redis_server, b"SET word here") == b"+OK\r\n"
    redis_server.stop()
    redis_server.start()
    assert _say(redis_server, b"GET word") == b"$-1\r\n"
