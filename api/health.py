"""Owns the question whether the service can do its work, and what is missing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from api.problems import INSTEAD
from compressor.errors import CompressorError
from store import catalog
from store.catalog import clock
from store.database import check_schema, reading
from store.errors import StoreError
from workers.resources import Resources

log = logging.getLogger(__name__)

IDLE_SECONDS = 60.0  # work that nobody took for this long: no worker runs


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the service needs."""

    name: str
    ok: bool
    detail: str


def check_all(resources: Resources) -> list[Check]:
    """Everything that answers need, each look on its own."""
    return [
        _attempt("database", lambda: _database(resources)),
        _attempt("blobs", lambda: _blobs(resources)),
        _attempt("codec", lambda: resources.codecs[-1].fingerprint),
        _attempt("embedder", lambda: resources.embedder.fingerprint),
        _attempt("broker", lambda: _broker(resources)),
        _attempt("workers", lambda: _workers(resources)),
    ]


def _attempt(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except tuple(kind for kind, _ in INSTEAD) as error:
        return _withheld(name, error)
    except (CompressorError, StoreError) as error:
        return Check(name, False, str(error))
    except Exception as error:
        return _withheld(name, error)


def _withheld(name: str, error: Exception) -> Check:
    """Whoever asks needs no key: where the stores are, and as whom they are used, is said in the log only."""
    log.warning("not ready: %s: %s: %s", name, type(error).__name__, error)  # at every probe: no traceback
    return Check(name, False, type(error).__name__)


def _database(resources: Resources) -> str:
    check_schema(resources.engine)
    return resources.engine.dialect.name


def _blobs(resources: Resources) -> str:
    resources.blobs.exists(f"{'0' * 2}/{'0' * 2}/{'0' * 64}")
    return "reachable"


def _broker(resources: Resources) -> str:
    if not resources.settings.broker_url:
        return "none needed"
    from redis import Redis

    with Redis.from_url(resources.settings.broker_url, socket_connect_timeout=2, socket_timeout=2) as client:
        client.ping()
    return "reachable"


def _workers(resources: Resources) -> str:
    with reading(resources.engine) as session:
        if not catalog.has_due(session):
            return "no job waits"
        now = clock.now(session)  # which the rows were written by
        progress = catalog.last_progress(session)
        if progress is not None and now - progress <= IDLE_SECONDS:
            return "at work"  # said without a look at all that waits, which may be a million jobs
        oldest = catalog.oldest_due(session)
    waited = 0.0 if oldest is None else now - max(oldest, progress or 0.0)
    if waited > IDLE_SECONDS:
        raise StoreError(f"jobs are due, and nothing was done for {waited:.0f} s: is a worker running?")
    return "at work"
