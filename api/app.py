"""Owns the HTTP application: a composition root. `create_app` is a factory; nothing is opened before its lifespan."""

import logging
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.metadata import version

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from api.access import KeyFirst
from api.answering import Answering
from api.callers import KnownKeys
from api.library import forget_gone
from api.observe import Observed, observe
from api.openaishape import OpenAIShape
from api.problems import RESPONSES, install_problems
from api.quotas import Quotas
from api.routes import chat, collections, documents, health, jobs, keys, metrics, page, questions, webhooks
from api.searches import Searches
from api.uploads import BodyLimit
from workers.resources import Resources
from workers.settings import Settings, load_settings
from workers.tend import WIPE_SECONDS, clean_node, keep_log_short, start_thread

log = logging.getLogger(__name__)

# What is asked most comes first: a request is compared with every route before its own.
ROUTES = (questions, documents, collections, jobs, keys, webhooks, chat, health, metrics, page)
# Worked on at once; the others wait. Each takes one of the pool's 40 connections at a time, and so does each batch of
# searches, which has threads of its own.
REQUESTS = 32
FETCHES = 16  # of uploads by URL at once, beside those: each waits for another's server, for minutes if that is slow
KEEP_SECONDS = 10.0  # between looks whether an index that this node searches has a new generation due
DESCRIPTION = (
    "Documents become vision-token caches; questions are answered out of them, with quotes, pages and boxes. "
    "Send an API key as a bearer token. Errors are problem details (RFC 9457)."
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application over the given settings, or those of the environment."""
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        to_thread.current_default_thread_limiter().total_tokens = REQUESTS
        app.state.drawing = CapacityLimiter(os.cpu_count() or 1)  # pages, each by a process with a parser's memory
        app.state.fetching = CapacityLimiter(FETCHES)
        app.state.answering = Answering()
        with Resources(settings) as resources:
            app.state.resources = resources
            await run_in_threadpool(lambda: resources.engine)  # migrated before the first request
            observe(app, resources)
            start_thread("index keeper", lambda stop: keep_indexes(resources, stop), stop)
            start_thread("log", lambda stop: keep_log_short(resources, stop), stop)
            with closing(KnownKeys(resources)) as keys, closing(Searches(resources)) as searches:
                app.state.keys, app.state.searches = keys, searches
                yield
            stop.set()

    app = FastAPIOffline(
        title="Percel",
        version=version("percel"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # `Observed` has its own
    )
    app.state.quotas = Quotas(
        settings.broker_url, requests_per_minute=settings.requests_per_minute, bytes_per_day=settings.bytes_per_day
    )
    app.add_middleware(BodyLimit, limit=settings.max_file_bytes)
    app.add_middleware(KeyFirst)
    app.add_middleware(Observed)
    app.add_middleware(OpenAIShape)
    install_problems(app, {chat.PATH: chat.refuse_invalid})
    for module in ROUTES:
        app.include_router(module.router, responses=chat.RESPONSES if module is chat else RESPONSES)
    return app


def keep_indexes(resources: Resources, stop: threading.Event) -> None:
    """Gives the indexes that this node searches new generations when they are due; their files are per node.

    What a decoder keeps of deleted documents' pages goes with the same step, and now and then what else is of no use.
    """
    purged_at = time.monotonic()
    while not stop.wait(KEEP_SECONDS):
        purging = time.monotonic() - purged_at > WIPE_SECONDS
        for index in resources.open_indexes():
            try:
                index.compact()
                if purging:
                    index.purge()
            except Exception:
                log.warning("index not compacted", exc_info=True)
        purged_at = time.monotonic() if purging else purged_at
        try:
            forget_gone(resources)
        except Exception:
            log.warning("kept pages not looked at", exc_info=True)
        try:
            if purging:
                clean_node(resources)
        except Exception:
            log.warning("node not cleaned", exc_info=True)
