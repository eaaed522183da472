"""Owns the way of an upload into the store: the cap while it streams in, metadata, Idempotency-Key, the quota."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Annotated, BinaryIO
from urllib.parse import unquote, urlsplit

from fastapi import Header
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.callers import Caller
from api.errors import BodyTooLarge, KeyReused, RequestTooLarge, UrlUploadsOff
from api.plain import DEEPEST, plain
from api.problems import problem_of
from api.quotas import Quotas
from api.views import document_out
from compressor.errors import DocumentError
from store import catalog
from store.catalog import Accepted
from store.database import reading
from workers.ingest import Offer, accept
from workers.outbound import download
from workers.resources import Resources

_PIECE = 1 << 20  # bytes read at a time
UPLOADS = "/v1/documents"
REQUEST_BYTES = 1_000_000  # of a body that is no upload
OVERHEAD = 1_000_000  # bytes of an upload's body that are not the file: multipart boundaries, fields
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="The same key again gets the same answer, for 24 hours; nothing runs twice.",
    ),
]


@dataclass(frozen=True, slots=True)
class Upload:
    """A document on its way in."""

    stream: BinaryIO
    title: str
    collection: str
    external_id: str | None = None
    metadata: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What an upload is answered with."""

    status: int  # 202 accepted, 200 already there
    body: dict[str, object]
    replayed: bool = False  # the Idempotency-Key was known


class BodyLimit:
    """ASGI middleware: a body over the cap is refused while it comes in, whatever its headers said."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen, started, over = 0, False, False
        told = dict(scope["headers"]).get(b"content-length", b"0")
        too_large, limit, most = self._cap(scope["path"])
        if told.isdigit() and int(told) > most:
            await problem_of(too_large(limit))(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal seen, over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                over = True
                raise too_large(limit)
            return message

        async def unless_over(message: Message) -> None:
            nonlocal started
            if over and not started:
                return  # what the application makes of a body that was cut off is not the answer
            started = True
            await send(message)

        try:
            await self._app(scope, counted, unless_over)
        except too_large:
            if started:
                raise
        if over and not started:
            await problem_of(too_large(limit))(scope, receive, send)

    def _cap(self, path: str) -> tuple[type[BodyTooLarge | RequestTooLarge], int, int]:
        """The error for a body that is too large, the limit that it names, and how many bytes it may have."""
        if path.startswith(UPLOADS):
            return BodyTooLarge, self._limit, self._limit + OVERHEAD
        return RequestTooLarge, REQUEST_BYTES, REQUEST_BYTES


def parse_metadata(text: str | None, *, at: tuple[str, str] = ("body", "metadata")) -> dict[str, object] | None:
    """The form field `metadata`, or what is `at` another place: a JSON object. Raises RequestValidationError."""
    if text is None:
        return None
    value, said = None, 'must be a JSON object, such as {"year": 2024}'
    try:
        value = plain(json.loads(text))
    except JSONDecodeError:
        pass
    except RecursionError:  # the decoder goes as deep as it can
        said = f"is nested more than {DEEPEST} deep"
    except ValueError as error:
        said = str(error)
    if not isinstance(value, dict):
        raise RequestValidationError([{"loc": at, "msg": said, "type": "json"}])
    return value


def replayed(resources: Resources, caller: Caller, key: str | None, digest: str) -> Reply | None:
    """What a request under this Idempotency-Key was answered with before. Raises KeyReused for another request."""
    if key is None:
        return None
    with reading(resources.engine) as session:
        known = catalog.find_reply(session, caller.tenant, key)
    if known is None:
        return None
    if known.request_sha256 != digest:
        raise KeyReused
    return Reply(known.status, known.body, replayed=True)


def take_in(
    resources: Resources,
    quotas: Quotas,
    caller: Caller,
    upload: Upload,
    *,
    key: str | None = None,
    digest: str | None = None,
) -> Reply:
    """Stores an upload and its job; safe to repeat under an Idempotency-Key.

    `digest` is over what the request says, where that is not the document's bytes.
    Raises AccessDenied, DocumentError, KeyReused, QuotaExceeded, BodyTooLarge, and what `accept` raises; nothing is
    stored then.
    """
    caller.require(upload.collection)
    _check_title(upload.title)
    digest = (digest or _digest(upload)) if key is not None else ""
    before = replayed(resources, caller, key, digest)
    if before is not None:
        return before
    quotas.count_bytes(caller.key_id, caller.bytes_per_day, upload.stream.seek(0, os.SEEK_END))
    reply: list[Reply] = []

    def answer(session: Session, accepted: Accepted) -> None:
        body = document_out(session, accepted.document, collection=upload.collection).model_dump(mode="json")
        reply.append(Reply(202 if accepted.job is not None else 200, body))
        if key is not None:
            catalog.keep_reply(
                session, caller.tenant, key, request_sha256=digest, status=reply[0].status, body=reply[0].body
            )

    offer = Offer(upload.stream, upload.title, external_id=upload.external_id, metadata=upload.metadata)
    try:
        accept(resources, caller.tenant, upload.collection, offer, also=answer)
    except IntegrityError:  # the same key came twice at once, and the other one was first
        before = replayed(resources, caller, key, digest)
        if before is None:
            raise
        return before
    return reply[0]


def _check_title(title: str) -> None:
    """Raises DocumentError for a name that not every database takes: a backup of it could not be restored in another.

    Fields of forms and of JSON are looked at before; the name of a file, or of what is at a URL, is none.
    """
    try:
        plain(title)
    except ValueError as error:
        raise DocumentError(f"The file's name {title!r} cannot be kept: {error}.") from error


def _digest(upload: Upload) -> str:
    """sha256 over all that the request says."""
    upload.stream.seek(0)
    content = hashlib.sha256()
    while piece := upload.stream.read(_PIECE):
        content.update(piece)
    return digest_of([upload.collection, upload.title, upload.external_id, upload.metadata, content.hexdigest()])


def digest_of(said: object) -> str:
    """sha256 over what a request says."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@contextmanager
def fetched(resources: Resources, url: str) -> Iterator[BinaryIO]:
    """What is at a URL, in a temporary file. Raises UrlUploadsOff, AddressRefused, FetchFailed."""
    settings = resources.settings
    if not settings.url_uploads:
        raise UrlUploadsOff
    with tempfile.TemporaryFile() as file:
        download(url, file, limit=settings.max_file_bytes, allow_private=settings.allow_private_urls)
        yield file


def title_of(url: str) -> str:
    """What a document from a URL is called: the last part of its path, or its host."""
    parts = urlsplit(url)
    return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc
