"""A missing server skips its tests, and fails them where the machine is said to have it; a free port is one."""

import socket

import pytest

from tests.servers import process


@pytest.mark.parametrize(
    ("required", "outcome", "said"),
    [
        (False, pytest.skip.Exception, r"^redis-server is not installed \(bin/setup installs it where it may\)$"),
        (True, pytest.fail.Exception, "^PERCEL_TEST_SERVERS=1, but redis-server is not installed"),
    ],
)
def test_what_is_missing_is_said(
    monkeypatch: pytest.MonkeyPatch, required: bool, outcome: type[BaseException], said: str
) -> None:
    monkeypatch.setattr(process, "REQUIRED", required)
    with pytest.raises(outcome, match=said):
        process.missing("redis-server is not installed")


def test_a_free_port_is_none_that_is_listened_on_or_given_to_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = process.free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", taken))
        free = process.free_port()
        draws = iter([taken, free])
        monkeypatch.setattr(process._PORTS, "choice", lambda _: next(draws))
        assert process.free_port() == free
    assert {taken, free} <= set(range(20_000, 32_768))
