"""Owns what a Celery worker's processes tell Prometheus: children write to shared files, the parent serves the sums.

prometheus_client decides at its import whether it shares, by PROMETHEUS_MULTIPROC_DIR: so the parent sets it before
anything imports the library, and it is imported nowhere at module level on the way to `percel worker`.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from workers.errors import SettingsError
from workers.timing import Timings

SHARED = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def serve_metrics(port: int, *, host: str = "127.0.0.1") -> Iterator[int]:
    """Serves the metrics of this process and the children it is yet to fork, while the block runs; gives the port.

    Raises SettingsError where the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="percel-metrics-") as folder:
        os.environ[SHARED] = folder
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)
        try:
            server, thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise SettingsError(f"metrics cannot be served at {host}:{port}: {error.strerror}") from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            del os.environ[SHARED]


def share_timings(timings: Timings) -> None:
    """Lets the parent serve how long this child's stages take, if it serves at all."""
    if SHARED in os.environ:
        from workers.metrics import time_steps

        time_steps(timings, None)
