"""Counting in memory: no thread a count, and what has expired is gone."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import uuid4

import pytest
from limits import RateLimitItem

from api import quotas
from api.errors import QuotaExceeded
from api.quotas import Quotas, _Counts


def test_counting_starts_no_thread() -> None:
    counts = _Counts()
    counts.timer.join()
    for _ in range(3):
        counts.incr("key", 60)
        assert not counts.timer.is_alive()  # the library's own starts one with each count, unless one runs


def test_a_count_begins_anew_once_it_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, now = _Counts(), time.time()
    assert [counts.incr("key", 60) for _ in range(2)] == [1, 2]
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert counts.incr("key", 60, amount=5) == 7
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert counts.incr("key", 60) == 1
    monkeypatch.setattr(time, "time", lambda: now + 62)
    assert counts.incr("key", 60) == 2


def test_counts_of_keys_that_do_not_come_again_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, now = _Counts(), time.time()
    for number in range(20):
        counts.incr(f"key {number}", 60)
    counts.incr("of a day", 86400)
    monkeypatch.setattr(time, "time", lambda: now + 61)
    counts.incr("other", 60)
    assert len(counts.storage) == 22  # looked at once in a while only
    monkeypatch.setattr(quotas, "_DROP_SECONDS", 0.0)
    counts.incr("other", 60)
    assert set(counts.storage) == set(counts.expirations) == {"of a day", "other"}


def test_requests_and_bytes_over_a_limit_are_refused_and_the_rest_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    counting, now = Quotas("", requests_per_minute=2, bytes_per_day=100), 60.0 * 1000
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(2):
        counting.count_request("key", None)
    with pytest.raises(QuotaExceeded, match="This key has used up its 2 requests a minute; try again in"):
        counting.count_request("key", None)
    counting.count_request("another", None)
    counting.count_bytes("key", None, 60)
    with pytest.raises(QuotaExceeded, match="This key has used up its 100 bytes a day; try again in"):
        counting.count_bytes("key", None, 60)
    counting.count_bytes("key", None, 40)
    monkeypatch.setattr(time, "time", lambda: now + 121)
    counting.count_request("key", None)


def test_uploads_at_once_count_what_was_taken_in_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Quotas("", requests_per_minute=0, bytes_per_day=100)
    both, hit = threading.Barrier(2), counting._day.hit

    def held(item: RateLimitItem, *names: str, cost: int = 1) -> bool:
        with suppress(threading.BrokenBarrierError):  # the other one may have to wait for this one
            both.wait(0.2)
        return hit(item, *names, cost=cost)

    def is_taken(size: int) -> bool:
        try:
            counting.count_bytes("key", None, size)
        except QuotaExceeded:
            return False
        return True

    monkeypatch.setattr(counting._day, "hit", held)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(is_taken, [60, 60])) == [False, True]
    assert [is_taken(40), is_taken(1)] == [True, False]  # the refused one did not count


@pytest.mark.servers
def test_uploads_to_two_nodes_at_once_count_what_was_taken_in_alone(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (Quotas(redis_url, requests_per_minute=0, bytes_per_day=100) for _ in range(2))
    key, look = uuid4().hex, one._day.test

    def looked(item: RateLimitItem, *names: str, cost: int = 1) -> bool:
        found = look(item, *names, cost=cost)
        other.count_bytes(key, None, 60)  # between the look and the count
        return found

    with monkeypatch.context() as patched:
        patched.setattr(one._day, "test", looked)
        with pytest.raises(QuotaExceeded, match="This key has used up its 100 bytes a day; try again in"):
            one.count_bytes(key, None, 60)
    one.count_bytes(key, None, 40)  # the refused one did not count
    with pytest.raises(QuotaExceeded):
        other.count_bytes(key, None, 1)


def test_a_look_at_a_count_drops_nothing_that_comes_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Quotas("", requests_per_minute=0, bytes_per_day=100)
    real, first, counted = time.time, threading.Event(), threading.Event()

    def slowly() -> float:  # the first look has found nothing yet when it asks for the time
        if not first.is_set():
            first.set()
            counted.wait(0.3)
        return real()

    monkeypatch.setattr(time, "time", slowly)
    with ThreadPoolExecutor(2) as pool:
        look = pool.submit(counting.count_bytes, "key", None, 10)
        first.wait()
        pool.submit(counting.count_bytes, "key", None, 80).result()
        counted.set()
        look.result()
    monkeypatch.undo()
    with pytest.raises(QuotaExceeded, match="This key has used up its 100 bytes a day"):
        counting.count_bytes("key", None, 20)


def test_a_redis_that_hangs_is_waited_for_once_in_a_while_not_by_every_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        counting = Quotas(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", requests_per_minute=1, bytes_per_day=0)
        start = time.monotonic()
        for _ in range(10):
            counting.count_request("key", None)  # nobody is kept out
        assert time.monotonic() - start < 10
