"""Owns when a request is sent again, and after how long."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

Outcome = httpx.Response | httpx.RequestError

_STATUSES = (429, 503)
# Not the time-outs of an answer: the server is at work then, and would only have the same work twice.
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently; only what may be sent twice is sent again."""

    attempts: int = 4  # 1: never again
    first: float = 0.5  # seconds before the second attempt; doubled each time
    longest: float = 30.0  # seconds; a server that asks for more than this is not waited for

    def pause(self, attempt: int, outcome: Outcome) -> float | None:
        """Seconds until the next attempt after this one (from 1); None where there is none."""
        if attempt >= self.attempts:
            return None
        if isinstance(outcome, httpx.RequestError):
            return self._backoff(attempt) if isinstance(outcome, _BROKEN) else None
        if outcome.status_code not in _STATUSES:
            return None
        asked = retry_after(outcome)
        if asked is None:
            return self._backoff(attempt)
        return asked if asked <= self.longest else None

    def _backoff(self, attempt: int) -> float:
        # Half of it by chance, so that clients that failed together do not come back together.
        return float(min(self.longest, self.first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0))


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait; the header says seconds or a date."""
    said = response.headers.get("retry-after")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(said)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
