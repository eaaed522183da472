"""A missing server skips its tests, and fails them where the machine is said to have it."""

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
