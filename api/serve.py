"""Owns the service as one command: the HTTP server, and beside it a worker process that is started again if it dies.

The worker is a process of its own: a document that brings it down takes no request with it. Several processes may
answer at one address, as the threads of one take turns in Python.
"""

import gc
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from api.access import is_loopback
from api.errors import PortTaken, RefusedBind, ServiceEnded
from store import catalog
from store.database import reading
from workers.exposition import sharing
from workers.logs import configure
from workers.resources import Resources
from workers.service import stop_on_signals
from workers.settings import PREFIX, Settings, load_settings
from workers.tend import start_thread
from workers.tracing import start_tracing

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
SILENT_SECONDS = 120  # a process that is silent for so long is replaced; loading a model may take most of it
STOP_SECONDS = 30.0  # a worker that has not stopped by then is killed; its jobs are due again
COLLECTED_AFTER = 50_000, 20, 20  # objects, and collections of the generation before (`gc.set_threshold`)


def check_bind(settings: Settings) -> int:
    """Migrates the store. The port to listen on, which the system chooses for port 0.

    Raises PortTaken, and RefusedBind where others could reach it without a key.
    """
    with Resources(settings) as resources, reading(resources.engine) as session:
        if not is_loopback(settings.host) and not catalog.has_keys(session):
            raise RefusedBind(settings.host)
    try:  # uvicorn's own refusal is a log line and an exit code that here means something else
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        with socket.create_server((settings.host, settings.port), family=found[0][0]) as listening:
            port: int = listening.getsockname()[1]
            return port
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise PortTaken(settings.host, settings.port, why or str(error)) from error


def serve(settings: Settings, *, worker: bool, tell: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; then what runs comes to its end, and the rest is due at the next start.

    `tell` is given the URL once it is sure that it can be listened on. Raises PortTaken, RefusedBind, ServiceEnded.
    """
    settings = settings.model_copy(update={"port": check_bind(settings)})
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    tell(f"http://{host}:{settings.port}")
    start_tracing()
    for name in ("home", "host", "port", "api_processes"):  # read there by the others: an option may have said so
        os.environ[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    stop = threading.Event()
    stop_on_signals(stop)  # uvicorn raises a signal again when it is through: without this, nothing after it would run
    with sharing():  # with the worker process; before anything imports prometheus_client
        if settings.api_processes > 1:  # what cannot be made here would be tried in other processes without end
            from api.app import create_app

            create_app(settings)
        beside = start_thread("worker", keep_worker, stop) if worker else None
        try:
            _answer(settings)
        finally:
            stop.set()
            if beside is not None:
                beside.join(STOP_SECONDS + 5)


def _answer(settings: Settings) -> None:
    """Answers requests until a signal comes. Raises ServiceEnded."""
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    class Processes(Multiprocess):
        """Uvicorn's, which asks each whether it lives; one that dies before it answers ends the wait for it here."""

        def keep_subprocess_alive(self) -> None:
            for process in self.processes:
                process.child_conn.close()  # it has its own: with this one open, its death would not be heard of
            super().keep_subprocess_alive()

    config = uvicorn.Config(
        "api.serve:served_app",
        factory=True,
        workers=settings.api_processes,
        host=settings.host,
        port=settings.port,
        log_config=None,  # `workers.logs` configures it
        timeout_graceful_shutdown=int(STOP_SECONDS),
        timeout_worker_healthcheck=SILENT_SECONDS,
    )
    if settings.api_processes == 1:
        server = uvicorn.Server(config)
        server.run()
        ended = not server.started
    else:  # `uvicorn.run` would not say that they ended by themselves
        processes = Processes(config, sockets=[config.bind_socket()])
        processes.run()
        ended = any(process.exitcode == STARTUP_FAILURE for process in processes.processes)
    if ended:
        raise ServiceEnded


def served_app() -> "FastAPI":
    """The application in this process, which may be one of several that answer; those end with the one they serve."""
    from api.app import create_app

    settings = load_settings()
    parent = multiprocessing.parent_process()
    if parent is not None:
        configure(settings, service=True)
        start_tracing()
        threading.Thread(target=_end_with, args=(parent.sentinel,), name="parent", daemon=True).start()
    app = create_app(settings)
    # 300,000 objects that stay, to look through which again and again keeps everybody waiting for 0.1 s; and of what
    # requests make nearly all goes without the collector, whose looks at it take a twentieth of a busy server's time.
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)
    return app


def _end_with(parent: int) -> None:
    """Stops this process in good order once another one is gone, which did not say so: it was killed."""
    from multiprocessing.connection import wait

    wait([parent])
    os.kill(os.getpid(), signal.SIGTERM)


def keep_worker(stop: threading.Event) -> None:
    """Runs the worker process, and another one when it ends; it ends with this process, however this one ends.

    Its settings are those of the environment.
    """
    environment = {**os.environ, "PERCEL_BROKER_URL": ""}
    command = [sys.executable, "-c", "from api.cli import main; main()", "worker", "--with-parent"]
    while not stop.is_set():
        # Its standard input is the bond: it closes when this process is gone.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
            while process.poll() is None and not stop.wait(0.2):
                pass
            if stop.is_set():
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            else:
                log.warning("worker ended and is started again", extra={"code": process.returncode})
                stop.wait(RESTART_SECONDS)
