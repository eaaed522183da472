"""Owns what is known of every HTTP request: an id on its log lines, a span, a count."""

import re
from contextlib import AbstractContextManager
from secrets import token_hex

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem_of
from workers.logs import bind
from workers.metrics import build_registry, count_requests
from workers.resources import Resources
from workers.tracing import span

HEADER = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Labels are made of these only: what a caller may choose freely must not become a label.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "other"


def observe(app: FastAPI, resources: Resources) -> None:
    """Gives the application its metrics; for its lifespan, once the resources are there."""
    app.state.registry = build_registry(resources)
    app.state.count_request = count_requests(app.state.registry)


class Observed:
    """Binds, traces and counts each request, and answers with its id: the caller's own where that is a plain one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get(HEADER, "")
        request_id = asked if _ID.fullmatch(asked) else token_hex(16)
        status = 500  # what a client sees of an application that raises

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER.encode(), request_id.encode())]
            await send(message)

        try:
            with bind(request_id=request_id), _span(scope, headers, request_id):
                await self._guarded(scope, receive, tell)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            scope["app"].state.count_request(_route(scope), method, status)

    async def _guarded(self, scope: Scope, receive: Receive, tell: Send) -> None:
        """An error that nothing else answers is answered here, where its log line and its answer have the id."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await tell(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if started:
                raise
            await problem_of(error)(scope, receive, tell)


def _span(scope: Scope, headers: Headers, request_id: str) -> AbstractContextManager[None]:
    return span(f"HTTP {scope['method']}", carrier=headers, request_id=request_id)


def _route(scope: Scope) -> str:
    """The template of the route that answered, such as /v1/documents/{document_id}."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else _OTHER
