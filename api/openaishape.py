"""Owns OpenAI's shape of errors, in which all that goes wrong on its routes is told, before they are reached too."""

import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import MEDIA_TYPE

PATHS = ("/v1/chat/", "/v1/models")
# For the OpenAPI document.
FAULT: dict[str, object] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What happened here, and what to do."},
                "type": {"type": "string", "enum": ["invalid_request_error", "server_error"]},
                "param": {"type": ["string", "null"], "description": "The field of the request that is meant."},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def fault(message: str, status: int, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """An error in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class OpenAIShape:
    """ASGI middleware: problem details become OpenAI's shape, out of which its clients read what they show."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATHS):
            await self._app(scope, receive, send)
            return
        held: Message | None = None  # the start of a problem, until its body is there

        async def shaped(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _is_problem(message):
                held = message
            elif held is None:
                await send(message)
            else:
                body = _shaped(message["body"])
                headers = MutableHeaders(scope=held)
                headers["content-type"], headers["content-length"] = "application/json", str(len(body))
                await send(held)
                held = None
                await send({**message, "body": body})

        await self._app(scope, receive, shaped)


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type") == MEDIA_TYPE


def _shaped(problem: bytes) -> bytes:
    told = json.loads(problem)
    return json.dumps(fault(told["detail"], told["status"]), ensure_ascii=False, separators=(",", ":")).encode()
