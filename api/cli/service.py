"""Owns the commands that run: serve and worker."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import Exit, usage

if TYPE_CHECKING:
    from workers.settings import Settings


BESIDE_REQUESTS = 10  # niceness of the worker beside the server: on the same cores, requests come first


class Queue(StrEnum):
    """What a worker works on."""

    CPU = "cpu"
    GPU = "gpu"


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: PERCEL_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: PERCEL_PORT or 8080.", min=0, max=65535)] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that answer; default: PERCEL_API_PROCESSES or 1.", min=1)
    ] = None,
    worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Run a worker beside it; default: yes, unless a broker is set.")
    ] = True,
) -> None:
    """Serves HTTP with a worker beside it, on one machine with nothing else to start. Ctrl-C stops it in good order."""
    from api.serve import serve as run
    from workers.logs import configure
    from workers.settings import load_settings

    given = {"host": host, "port": port, "api_processes": processes}
    settings = load_settings({name: str(value) for name, value in given.items() if value is not None})
    configure(settings, service=True)
    run(
        settings,
        worker=worker and not settings.broker_url,
        tell=lambda url: typer.echo(f"Percel on {url}  (API: /docs, stop: Ctrl-C)", err=True),
    )


def worker(
    queue: Annotated[
        list[Queue] | None,
        typer.Option(help="What to work on, with a broker: cpu parses and finishes, gpu encodes; default: both."),
    ] = None,
    processes: Annotated[int, typer.Option(help="Child processes, with a broker; 0: one a GPU or core.", min=0)] = 0,
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Serve Prometheus metrics at this port of PERCEL_HOST; default: none.", min=1, max=65535),
    ] = None,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Works on due jobs until it is stopped: through PERCEL_BROKER_URL, or without one on this machine's store."""
    import os
    from contextlib import nullcontext

    from workers.exposition import serve_metrics
    from workers.logs import configure
    from workers.process import visible_gpus
    from workers.resources import Resources
    from workers.service import run_celery
    from workers.settings import load_settings

    settings = load_settings()
    configure(settings, service=True)
    exposed = nullcontext() if metrics_port is None else serve_metrics(metrics_port, host=settings.host)
    if settings.broker_url:
        queues = queue or list(Queue)
        children = processes or (visible_gpus() if queues == [Queue.GPU] else 0) or os.cpu_count() or 1
        with exposed:
            if not run_celery(Resources(settings), queues=tuple(queues), processes=children):
                raise typer.Exit(Exit.FAILED)  # its log says why
        return
    if queue or processes:
        raise usage("--queue and --processes need a broker: set PERCEL_BROKER_URL")
    with exposed:
        _work_here(settings, with_parent=with_parent)


def _work_here(settings: "Settings", *, with_parent: bool) -> None:
    import os
    import threading

    from workers.aside import when_idle
    from workers.exposition import share_timings
    from workers.resources import Resources
    from workers.service import run_embedded, stop_on_signals, stop_with_parent
    from workers.tracing import start_tracing

    stop = threading.Event()
    stop_on_signals(stop)
    if with_parent:
        stop_with_parent(stop)
        os.nice(BESIDE_REQUESTS)
    start_tracing()
    with Resources(settings) as resources:
        if with_parent:
            resources.aside = when_idle()
        share_timings(resources.timings)
        if not run_embedded(resources, stop):
            resources.parser.close()  # it would go on with a file for nobody
            os._exit(0)  # Python's own way out tears threads from under the lane, and the process aborts
