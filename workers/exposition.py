"""Owns metrics of several processes: a Celery worker's children, or the worker beside the embedded service.

They write to shared files, and one process serves the sums. prometheus_client decides at its import whether it shares,
by PROMETHEUS_MULTIPROC_DIR: so that is set before anything imports the library, and nothing on the way to
`percel serve` or `percel worker` imports it at module level.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.errors import SettingsError
from workers.timing import Timings

SHARED = "PROMETHEUS_MULTIPROC_DIR"


@contextmanager
def sharing() -> Iterator[Path]:
    """This process and those that it starts in the block share their metrics; gives the folder of their files."""
    with tempfile.TemporaryDirectory(prefix="percel-metrics-") as folder:
        before = os.environ.get(SHARED)
        os.environ[SHARED] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(SHARED)
            if before is not None:
                os.environ[SHARED] = before


@contextmanager
def serve_metrics(port: int, *, host: str = "127.0.0.1") -> Iterator[int]:
    """Serves the metrics of this process and the children it is yet to fork, while the block runs; gives the port.

    Raises SettingsError where the port is taken.
    """
    with sharing() as folder:
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))
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


def share_timings(timings: Timings) -> None:
    """Lets the process that shares with this one tell how long its stages take; nothing where none does."""
    if SHARED in os.environ:
        from workers.metrics import time_steps

        time_steps(timings, None)
