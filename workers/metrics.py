"""Owns the metrics: numbers of the store, read from its rows when somebody asks, and of this process.

Nothing is registered at import: every registry is made for one app, or one worker process. No metric has a label per
document, collection, user or address, so their number does not grow with the data; tenants are the one label that does.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from store import catalog
from store.database import reading
from store.errors import StoreError
from store.types import CacheTotals, DocumentTotals, DueWork
from workers.exposition import SHARED
from workers.resources import Resources
from workers.timing import Timings

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEEP_SECONDS = 30.0  # sums over all documents and caches read every row of theirs: so often at most
_STAGE_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_QUESTION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CountRequest = Callable[[str, str, int], None]  # route, method, status


def build_registry(resources: Resources) -> CollectorRegistry:
    """The metrics of one app: its store's, and how long this process, and those that share with it, take."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(resources))
    if folder := os.environ.get(SHARED):
        MultiProcessCollector(registry, path=folder)
    time_steps(resources.timings, _own(registry))
    return registry


def _own(registry: CollectorRegistry) -> CollectorRegistry | None:
    """Where this process' own numbers go: where processes share, the registry reads them from the shared files."""
    return None if SHARED in os.environ else registry


def time_steps(timings: Timings, registry: CollectorRegistry | None) -> None:
    """Histograms of the steps that end in this process; without a registry they are shared (`workers.exposition`)."""
    stages = Histogram(
        "percel_stage_seconds",
        "Time a stage of ingestion took.",
        ["stage"],
        buckets=_STAGE_BUCKETS,
        registry=registry,
    )
    search = Histogram("percel_search_seconds", "Time a search took.", buckets=_QUESTION_BUCKETS, registry=registry)
    answer = Histogram(
        "percel_answer_seconds",
        "Time an answer took, its search included.",
        buckets=_QUESTION_BUCKETS,
        registry=registry,
    )
    questions = {"search": search, "answer": answer}

    def observe(step: str, seconds: float) -> None:
        (questions.get(step) or stages.labels(step)).observe(seconds)

    timings.observe(observe)


def count_requests(registry: CollectorRegistry) -> CountRequest:
    """A function that counts HTTP requests in the registry. `route` is the template, never the path that was asked."""
    requests = Counter(
        "percel_http_requests", "HTTP requests answered.", ["route", "method", "status"], registry=_own(registry)
    )

    def count(route: str, method: str, status: int) -> None:
        requests.labels(route, method, str(status)).inc()

    return count


def render(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text format; its type is CONTENT_TYPE."""
    return generate_latest(registry)


class StoreCollector(Collector):
    """Reads the rows when it is asked. A database that is away makes percel_store_up 0, and the rest is still told."""

    def __init__(self, resources: Resources, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._resources = resources
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._documents: list[DocumentTotals] = []
        self._caches: list[CacheTotals] = []
        self._read_at: float | None = None

    def describe(self) -> list[Metric]:
        """Nothing: without this the registry would read all rows when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures of the store."""
        up = GaugeMetricFamily("percel_store_up", "Whether the database answers.")
        try:
            with self._lock, reading(self._resources.engine) as session:
                work = catalog.due_work(session)
                if self._read_at is None or time.monotonic() - self._read_at >= self._keep_seconds:
                    self._documents = catalog.document_totals(session)
                    self._caches = catalog.cache_totals(session)
                    self._read_at = time.monotonic()
                documents, caches = self._documents, self._caches
        except (SQLAlchemyError, StoreError):
            log.warning("metrics without the store", exc_info=True)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _of_work(work)
        yield from _of_documents(documents)
        yield from _of_caches(caches)


def _of_work(work: DueWork) -> Iterator[Metric]:
    jobs = GaugeMetricFamily(
        "percel_jobs", "Jobs by kind and state; dead ones wait for a person.", labels=["kind", "state"]
    )
    for (kind, state), count in work.jobs.items():
        jobs.add_metric([kind, state], count)
    yield jobs
    oldest = GaugeMetricFamily("percel_oldest_due_job_seconds", "How long the oldest job that could run has waited.")
    oldest.add_metric([], work.oldest_seconds)
    yield oldest
    stalled = GaugeMetricFamily(
        "percel_queue_stalled_seconds", "How long jobs that could run have waited with no worker at work on any job."
    )
    stalled.add_metric([], work.stalled_seconds)
    yield stalled
    deliveries = GaugeMetricFamily(
        "percel_deliveries", "Webhook messages by state; queued ones are due.", labels=["state"]
    )
    for delivery_state, count in work.deliveries.items():
        deliveries.add_metric([delivery_state], count)
    yield deliveries


def _of_documents(totals: list[DocumentTotals]) -> Iterator[Metric]:
    documents = GaugeMetricFamily("percel_documents", "Documents by tenant and state.", labels=["tenant", "state"])
    chunks = GaugeMetricFamily(
        "percel_chunks", "Chunks of documents by tenant and the document's state.", labels=["tenant", "state"]
    )
    tokens = GaugeMetricFamily(
        "percel_text_tokens", "Text tokens of documents by tenant and the document's state.", labels=["tenant", "state"]
    )
    for total in totals:
        labels = [total.tenant, total.state.value]
        documents.add_metric(labels, total.documents)
        chunks.add_metric(labels, total.chunks)
        tokens.add_metric(labels, total.text_tokens)
    yield from (documents, chunks, tokens)


def _of_caches(totals: list[CacheTotals]) -> Iterator[Metric]:
    labels = ["tenant", "codec"]
    tokens = GaugeMetricFamily("percel_vision_tokens", "Vision tokens of ready documents.", labels=labels)
    stored = GaugeMetricFamily("percel_cache_bytes", "Bytes of the caches of ready documents.", labels=labels)
    ratio = GaugeMetricFamily("percel_compression_ratio", "Text tokens for one vision token.", labels=labels)
    for total in totals:
        tokens.add_metric([total.tenant, total.codec], total.vision_tokens)
        stored.add_metric([total.tenant, total.codec], total.cache_bytes)
        ratio.add_metric([total.tenant, total.codec], total.text_tokens / max(1, total.vision_tokens))
    yield from (tokens, stored, ratio)
