"""Owns how errors leave over HTTP: one table from error to status, and problem details (RFC 9457)."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.errors import (
    AccessDenied,
    AmbiguousName,
    BadCursor,
    BodyTooLarge,
    BudgetTooSmall,
    ContextTooLarge,
    KeyReused,
    NoBudget,
    NoPageCaches,
    NotAuthenticated,
    NothingToRead,
    QuotaExceeded,
    RequestTooLarge,
    TooBusy,
    UnknownDecoder,
    UrlUploadsOff,
)
from compressor.errors import (
    CacheError,
    ContextTooLong,
    DeviceError,
    DocumentError,
    DocumentTooLarge,
    ModelError,
    RemoteError,
    RemoteSlow,
)
from store.errors import (
    NO_SPACE,
    BadFilter,
    BlobError,
    BlobStoreUnusable,
    BlobTooLarge,
    DatabaseUnusable,
    NotFound,
    SchemaError,
    StoreFull,
)
from workers.errors import AddressRefused, FetchFailed

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
# The shape of every error, for the OpenAPI document.
PROBLEM: dict[str, object] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "What kind of error it is, in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened here, and what to do."},
        "errors": {
            "type": "array",
            "description": "Of a request that is not valid: each fault and where it is.",
            "items": {"type": "object", "properties": {"at": {"type": "string"}, "message": {"type": "string"}}},
        },
    },
}
RESPONSES: dict[int | str, dict[str, object]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
    for status, description in ((422, "The request is not valid"), ("default", "Any other error"))
}
RETRY_SECONDS = 5  # what a client is told to wait for something that should be back soon

# The first class that fits counts.
STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotAuthenticated, 401, "A valid API key is needed"),
    (AccessDenied, 403, "This key may not do that"),
    (UrlUploadsOff, 403, "Uploads by URL are off"),
    (AddressRefused, 422, "The URL is refused"),
    (FetchFailed, 422, "The URL could not be fetched"),
    (KeyReused, 409, "The Idempotency-Key was used for another request"),
    (AmbiguousName, 409, "The name is ambiguous"),
    (BodyTooLarge, 413, "The upload is too large"),
    (RequestTooLarge, 413, "The request is too large"),
    (BlobTooLarge, 413, "The upload is too large"),
    (DocumentTooLarge, 413, "The upload is too large"),
    (QuotaExceeded, 429, "Too many requests"),
    (TooBusy, 503, "The service is too busy"),
    (NotFound, 404, "Not found"),
    (BadCursor, 422, "The cursor is not valid"),
    (BadFilter, 422, "The filter is not valid"),
    (UnknownDecoder, 422, "The decoder is not known"),
    (NoBudget, 422, "The decoder takes no budget"),
    (NoPageCaches, 409, "Page caches are missing"),
    (NothingToRead, 409, "The document failed"),
    (ContextTooLarge, 422, "The collection is too large"),
    (BudgetTooSmall, 422, "The budget is too small"),
    (ContextTooLong, 422, "The context is too long"),
    (DocumentError, 422, "The document cannot be ingested"),
    (StoreFull, 507, "No space left"),
    (SchemaError, 503, "The database does not fit this version"),
    (DatabaseUnusable, 503, "The database is not available"),
    (DataError, 422, "The request is not valid"),
    (OperationalError, 503, "The database is not available"),
    (InterfaceError, 503, "The database is not available"),
    (PoolTimeout, 503, "The service is too busy"),
    (BlobStoreUnusable, 503, "The store of blobs is not available"),
    (BlobError, 500, "A stored blob cannot be used"),
    (CacheError, 500, "A stored cache cannot be used"),
    (ModelError, 503, "A model is not available"),
    (RemoteSlow, 504, "The remote decoder is too slow"),
    (RemoteError, 502, "The remote decoder does not answer"),
    (DeviceError, 503, "The memory or device is not available"),
)

# What a driver says may hold statements and addresses: it goes to the log only.
INSTEAD: tuple[tuple[type[Exception], str], ...] = (
    (DataError, "It holds a value that the database cannot take."),
    (OperationalError, "Try again in a moment."),
    (InterfaceError, "Try again in a moment."),
    (PoolTimeout, "Try again in a moment."),
    (DatabaseUnusable, "Try again in a moment."),
    (BlobStoreUnusable, "Try again in a moment."),
)


class Told(JSONResponse):
    """An error as JSON, also where it repeats what no UTF-8 can write: half of a surrogate pair, in a field's name."""

    def render(self, content: object) -> bytes:
        """The bytes of the body."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def problem(
    status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: object
) -> JSONResponse:
    """A problem-details answer; `more` are its extension members."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
    sent = dict(headers or {})
    if status in (429, 503):
        sent.setdefault("Retry-After", str(RETRY_SECONDS))
    return Told(body, status, headers=sent, media_type=MEDIA_TYPE)


@dataclass(frozen=True, slots=True)
class Fault:
    """What a caller is told of an error."""

    status: int
    title: str
    detail: str


def fault_of(error: Exception) -> Fault:
    """What an error is answered with, and logged; what the table does not know is a fault of the program."""
    for kind, status, title in STATUS:
        if isinstance(error, kind):
            detail = next((said for kind, said in INSTEAD if isinstance(error, kind)), None) or str(error)
            if status >= 500 and not isinstance(error, TooBusy):  # that comes by the hundred, and metrics count it
                log.warning("request failed", exc_info=error)
            return Fault(status, title, detail)
    log.error("request failed unexpectedly", exc_info=error)
    return Fault(500, "Internal error", "Something went wrong here; the log of the service says what.")


def problem_of(error: Exception) -> JSONResponse:
    """An error as an answer."""
    fault = fault_of(error)
    return problem(fault.status, fault.title, fault.detail, headers=_headers(error))


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, QuotaExceeded | TooBusy):
        return {"Retry-After": str(error.retry_after)}
    return {}


Refusal = Callable[[Sequence[Mapping[str, str]]], JSONResponse]  # of faults: `at` a place, and the `message`


def _told(fault: Mapping[str, Any], request: Request) -> dict[str, str]:
    """One fault of a request: where it is, and what a caller can do about it."""
    at, said = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "json_invalid":  # where it is is the number of a character
        at, said = "body", f"is not JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}"
    elif fault["type"] == "missing" and at == "body":
        said = "is missing"
    elif fault["type"] == "model_attributes_type" and at == "body":
        said = "is not a JSON object"
        if "json" not in request.headers.get("content-type", ""):  # as curl -d sends it
            said = "is no JSON to this service without `Content-Type: application/json`"
    elif said.startswith("Expected UploadFile"):  # curl -F without an @
        said = "is text where a file is meant; curl sends a file with an @ before its name: `-F file=@report.pdf`"
    return {"at": at, "message": said}


def install_problems(app: FastAPI, own: Mapping[str, Refusal]) -> None:
    """Every error of the application leaves as problem details; `own`: path -> how it refuses what is not valid."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        return problem_of(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = [_told(fault, request) for fault in error.errors()]
        if request.url.path in own:
            return own[request.url.path](faults)
        detail = "; ".join(f"{fault['at']}: {fault['message']}" for fault in faults)
        return problem(422, "The request is not valid", detail, errors=faults)

    async def by_status(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:  # a body that could not be spooled to disk
            return problem_of(StoreFull(tempfile.gettempdir(), None))
        if isinstance(cause, UnicodeDecodeError | RecursionError):
            why = "UTF-8" if isinstance(cause, UnicodeDecodeError) else "JSON that can be read: it is nested too deep"
            return problem(400, "The request is not valid", f"The body is not {why}.")
        return problem(error.status_code, str(error.detail), str(error.detail), headers=error.headers)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, by_status)
    for kind, _, _ in STATUS:
        app.add_exception_handler(kind, known)
