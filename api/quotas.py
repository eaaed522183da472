"""Owns rate limits and quotas of keys: requests a minute, uploaded bytes a day.

Counted in Redis where a broker is configured, so that all API nodes count together; else in this process alone, and
anew after a restart.
"""

import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from limits import RateLimitItemPerDay, RateLimitItemPerMinute
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from api.errors import BodyTooLarge, QuotaExceeded
from workers.errors import SettingsError

log = logging.getLogger(__name__)

_REDIS = {"socket_connect_timeout": 2, "socket_timeout": 2}
_AWAY_SECONDS = 5.0  # in which nothing is counted after a Redis did not answer: each request would wait for it
_DROP_SECONDS = 60.0  # between looks for counts that have expired: a key's of a minute, or of a day


class _Counts(MemoryStorage):
    """The library's counts in memory. What has expired is dropped by the count that comes first in a while.

    The library starts a thread for that, up to a hundred times a second: most of what a request with a key would cost.
    For one thread at a time.
    """

    def __init__(self) -> None:
        super().__init__(wrap_exceptions=True)
        self._dropped_at = time.monotonic()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Adds to a count, which begins anew once it has expired."""
        if time.monotonic() - self._dropped_at > _DROP_SECONDS:
            self._dropped_at = time.monotonic()
            for each in list(self.expirations):
                self.get(each)  # drops one that has expired
        if not self.get(key):
            self.expirations[key] = time.time() + expiry
        self.storage[key] += amount
        return self.storage[key]


class Quotas:
    """Counts what keys use. A caller without a key is on this machine and is not limited."""

    def __init__(self, broker_url: str, *, requests_per_minute: int, bytes_per_day: int) -> None:
        """Raises SettingsError."""
        try:
            storage = storage_from_string(broker_url, wrap_exceptions=True, **_REDIS) if broker_url else _Counts()
        except ConfigurationError:  # its words would show a password
            raise SettingsError(
                "PERCEL_BROKER_URL is not the address of a Redis server, such as redis://localhost:6379/0"
            ) from None
        self._away_until = 0.0
        self.shared = bool(broker_url)  # with other nodes: counting waits for a server
        # In memory a look and the count after it are one: else two that come at once could both be counted, and both be
        # refused, or the one that finds nothing yet could drop what the other has just counted. A server takes turns.
        self._turn: AbstractContextManager[object] = nullcontext() if self.shared else threading.Lock()
        self._minute = SlidingWindowCounterRateLimiter(storage)
        self._day = FixedWindowRateLimiter(storage)
        self._requests_per_minute = requests_per_minute
        self._bytes_per_day = bytes_per_day

    def count_request(self, key_id: str | None, limit: int | None) -> None:
        """Counts one request. Raises QuotaExceeded."""
        allowed = self._requests_per_minute if limit is None else limit
        if key_id is not None and allowed:
            self._count(self._minute, RateLimitItemPerMinute(allowed), key_id, 1, f"{allowed:,} requests a minute")

    def count_bytes(self, key_id: str | None, limit: int | None, size: int) -> None:
        """Counts an upload. Raises QuotaExceeded, and BodyTooLarge for one that no day would have room for.

        What is refused does not count.
        """
        allowed = self._bytes_per_day if limit is None else limit
        if key_id is not None and allowed:
            if size > allowed:  # to come back later would not help
                raise BodyTooLarge(allowed)
            self._count(self._day, RateLimitItemPerDay(allowed), key_id, size, f"{allowed:,} bytes a day")

    def _count(
        self,
        limiter: RateLimiter,
        item: RateLimitItemPerMinute | RateLimitItemPerDay,
        key_id: str,
        cost: int,
        what: str,
    ) -> None:
        if time.monotonic() < self._away_until:
            return
        try:
            # Asked first: what is refused must not count, and `hit` counts before it looks.
            with self._turn:
                if limiter.test(item, key_id, cost=cost):
                    if limiter.hit(item, key_id, cost=cost):
                        return
                    if limiter is self._day:  # another node has counted since the look: what it left stays for others
                        limiter.storage.incr(item.key_for(key_id), item.get_expiry(), -cost)
                reset = limiter.get_window_stats(item, key_id).reset_time
        except StorageError as error:  # a Redis that is away must not keep everybody out
            self._away_until = time.monotonic() + _AWAY_SECONDS
            log.warning("quotas not counted for a while", extra={"reason": str(error)})
            return
        raise QuotaExceeded(what, max(1, round(reset - time.time())))
