"""Owns the routes that put documents in, show them and take them away."""

import io
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AfterValidator, WithJsonSchema
from starlette.concurrency import run_in_threadpool

from api.access import FoundDocument, Ingester, Opened, Reader, find_document, find_home
from api.callers import Caller
from api.cursors import Order, cursor_of, place_of
from api.errors import NothingToRead
from api.events import document_events
from api.images import chunk_image, page_image
from api.library import TextFormat, delete_documents, read_document, read_styled
from api.plain import plain
from api.problems import STATUS, problem_of
from api.quotas import Quotas
from api.schemas import (
    BatchItem,
    BatchOut,
    ChunkText,
    Deleted,
    DocumentOut,
    DocumentPage,
    DocumentText,
    Name,
    TextIn,
    UrlIn,
)
from api.uploads import (
    IdempotencyKey,
    Reply,
    Upload,
    digest_of,
    fetched,
    parse_metadata,
    replayed,
    take_in,
    title_of,
)
from api.views import document_out, documents_out
from store import catalog
from store.database import reading
from store.models import Document, DocumentState

router = APIRouter(prefix="/v1/documents", tags=["documents"])

Metadata = Annotated[
    str | None, Form(description='A JSON object: `{"year": 2024}`. Left out, a new version keeps what the old one has.')
]
ExternalId = Annotated[
    str | None,
    Form(max_length=1000, description="Names the document: new bytes replace the old."),
    AfterValidator(plain),
]
# `format` is what generators of clients know a file by, `contentMediaType` alone they take for text.
_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
UploadedFile = Annotated[UploadFile, WithJsonSchema(_FILE)]
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(description="`next` of the page before")]
MANY = "files"  # the one form field that may come more than once
IMAGE_HEADERS = {"Cache-Control": "private, max-age=600", "Vary": "Authorization"}
_LOCATION = {"Location": {"description": "Where the document is.", "schema": {"type": "string"}}}
_REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` where the Idempotency-Key was known: this is the answer of then.",
        "schema": {"type": "string"},
    }
}
TAKEN: dict[int | str, dict[str, object]] = {
    200: {
        "model": DocumentOut,
        "description": "These bytes are there already: their document",
        "headers": {**_LOCATION, **_REPLAYED},
    },
    202: {"description": "Queued", "headers": {**_LOCATION, **_REPLAYED}},
}
EVENTS: dict[int | str, dict[str, object]] = {
    200: {
        "description": "`document` with the document as JSON at each change; `deleted` where it is deleted meanwhile",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
PNG: dict[int | str, dict[str, object]] = {
    200: {"description": "The image", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}
MOST_CHUNKS = 2**31 - 1  # what a chunk's number is kept in
FORMATS = (
    "`text`: exactly the characters that were parsed. `markdown`: with marks for headings, bold, italic, code and "
    "links (`[text]`, without targets); characters that would be marks are escaped."
)


def only(*names: str) -> Callable[[Request], Awaitable[None]]:
    """The dependency of a route that takes these form fields: a misspelt one is refused, as `Shape` does.

    So is one that comes twice: all but the last of two files would be lost without a word.
    """

    async def check(request: Request) -> None:
        given = Counter(name for name, _ in (await request.form()).multi_items())
        for name, times in given.items():
            said = None
            if name not in names:
                said = f"is no field; there are {', '.join(names)}"
            elif times > 1 and name != MANY:
                said = "comes more than once: which one is meant?"
            if said is not None:
                raise RequestValidationError([{"loc": ("body", name), "msg": said, "type": "extra"}])

    return check


def quotas_of(request: Request) -> Quotas:
    """What counts the use of keys."""
    quotas = request.app.state.quotas
    assert isinstance(quotas, Quotas)
    return quotas


def _name_of(file: UploadFile) -> str:
    """A file's name. In a form's header a quotation mark would end it, so browsers and libraries send %22 for one.

    Some encodings that a form may name have halves of surrogate pairs, which no answer could show.
    """
    return (file.filename or "unnamed").replace("%22", '"').encode("utf-8", "replace").decode()


def _answer(reply: Reply) -> JSONResponse:
    headers = {"Location": f"/v1/documents/{reply.body['id']}"}
    if reply.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(reply.body, reply.status, headers=headers)


@router.post("", status_code=202, response_model=DocumentOut, responses=TAKEN, summary="Upload a file")
def upload(
    request: Request,
    resources: Opened,
    caller: Ingester,
    fields: Annotated[None, Depends(only("file", "collection", "external_id", "metadata"))],
    file: UploadedFile,
    collection: Annotated[Name, Form()],
    external_id: ExternalId = None,
    metadata: Metadata = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Accepts a file: 202 when it is queued, 200 when these bytes are there already."""
    given = Upload(file.file, _name_of(file), collection, external_id, parse_metadata(metadata))
    return _answer(take_in(resources, quotas_of(request), caller, given, key=idempotency_key))


@router.post("/text", status_code=202, response_model=DocumentOut, responses=TAKEN, summary="Upload a text")
def upload_text(
    request: Request, resources: Opened, caller: Ingester, body: TextIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Accepts a text as a document."""
    with io.BytesIO(body.text.encode()) as stream:
        given = Upload(stream, body.title, body.collection, body.external_id, body.metadata)
        return _answer(take_in(resources, quotas_of(request), caller, given, key=idempotency_key))


@router.post("/url", status_code=202, response_model=DocumentOut, responses=TAKEN, summary="Upload what is at a URL")
async def upload_url(
    request: Request, resources: Opened, caller: Ingester, body: UrlIn, idempotency_key: IdempotencyKey = None
) -> Response:
    """Fetches a URL and accepts what is there. Off unless the operator enables it; private networks are refused."""
    caller.require(body.collection)
    take = partial(_take_url, resources, quotas_of(request), caller, body, idempotency_key)
    return _answer(await to_thread.run_sync(take, limiter=request.app.state.fetching))


def _take_url(resources: Opened, quotas: Quotas, caller: Caller, body: UrlIn, key: str | None) -> Reply:
    digest = digest_of(body.model_dump())  # not of what is there, which may be another thing the next time
    before = replayed(resources, caller, key, digest)
    if before is not None:
        return before
    with fetched(resources, body.url) as stream:
        title = body.title or title_of(body.url)
        given = Upload(stream, title, body.collection, body.external_id, body.metadata)
        return take_in(resources, quotas, caller, given, key=key, digest=digest)


@router.post("/batch", status_code=207, response_model=BatchOut, summary="Upload many files")
def upload_batch(
    request: Request,
    resources: Opened,
    caller: Ingester,
    fields: Annotated[None, Depends(only("files", "collection", "metadata"))],
    files: list[UploadedFile],
    collection: Annotated[Name, Form()],
    metadata: Metadata = None,
) -> BatchOut:
    """Accepts files one by one; a bad one does not stop the others, and every one gets its id or its problem.

    Safe to repeat without a key: of files that are there already nothing runs.
    """
    caller.require(collection)
    about = parse_metadata(metadata)
    items = []
    for file in files:
        title = _name_of(file)
        try:
            reply = take_in(resources, quotas_of(request), caller, Upload(file.file, title, collection, None, about))
            items.append(BatchItem(title=title, status=reply.status, document=DocumentOut.model_validate(reply.body)))
        except tuple(kind for kind, _, _ in STATUS) as error:
            answer = problem_of(error)
            items.append(BatchItem(title=title, status=answer.status_code, problem=json.loads(bytes(answer.body))))
    return BatchOut(items=items)


@router.get("", summary="List documents")
def list_documents(
    resources: Opened,
    caller: Reader,
    collection: Name,
    state: DocumentState | None = None,
    order: Annotated[Order, Query(description="Which come first; the same for every page of a list.")] = "oldest",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DocumentPage:
    """A collection's documents in the order of their arrival, the oldest first or the newest."""
    home = find_home(resources, caller, collection)
    with reading(resources.engine) as session:
        found = catalog.list_documents(
            session,
            home.id,
            state=state,
            newest_first=order == "newest",
            after=place_of(cursor, order),
            limit=limit + 1,
        )
        items = documents_out(session, found[:limit], collection=collection)
    return DocumentPage(items=items, next=cursor_of(found[limit - 1], order) if len(found) > limit else None)


@router.delete("", summary="Delete documents by their metadata")
def delete_where(
    resources: Opened,
    caller: Ingester,
    collection: Name,
    filter: Annotated[str, Query(description='A filter as JSON: `{"year": {"lt": 2020}}`.')],
) -> Deleted:
    """Deletes every document of a collection that fits a filter, whatever its state."""
    home = find_home(resources, caller, collection)
    where = parse_metadata(filter, at=("query", "filter"))
    if not where:
        fault = {"loc": ("query", "filter"), "msg": "is empty: delete the collection instead", "type": "value"}
        raise RequestValidationError([fault])
    with reading(resources.engine) as session:
        wanted = catalog.documents_where(session, home.id, where, ready=False)
    delete_documents(resources, sorted(wanted))
    return Deleted(deleted=len(wanted))


def _shown(resources: Opened, found: FoundDocument) -> DocumentOut:
    with reading(resources.engine) as session:
        return document_out(session, found.document, collection=found.collection)


@router.get("/{document_id}", summary="Show a document")
def show(resources: Opened, caller: Reader, document_id: str) -> DocumentOut:
    """A document, its state, its progress and its figures."""
    return _shown(resources, find_document(resources, caller, document_id))


@router.delete("/{document_id}", status_code=204, summary="Delete a document")
def delete(resources: Opened, caller: Ingester, document_id: str) -> None:
    """Takes a document away in any state: gone for readers at once, then its caches, vectors and words."""
    find_document(resources, caller, document_id)
    delete_documents(resources, [document_id])


@router.get("/{document_id}/events", summary="Follow a document", response_class=StreamingResponse, responses=EVENTS)
async def events(request: Request, resources: Opened, caller: Reader, document_id: str) -> Response:
    """Server-sent events: `document` with the document at each change, until it is ready or failed."""
    return await document_events(lambda: _current(resources, caller, document_id), request)


def _current(resources: Opened, caller: Caller, document_id: str) -> DocumentOut:
    return _shown(resources, find_document(resources, caller, document_id))


@router.get("/{document_id}/text", summary="Read a document")
def text(
    resources: Opened,
    caller: Reader,
    document_id: str,
    chunk: Annotated[int | None, Query(ge=0, le=MOST_CHUNKS)] = None,
    format: Annotated[TextFormat, Query(description=FORMATS)] = TextFormat.TEXT,
) -> DocumentText:
    """A document's text, read out of its caches: exactly what was parsed, or the same as Markdown."""
    found = find_document(resources, caller, document_id)
    _refuse_failed(found.document)
    texts = read_document(resources, found.document, chunk, format=format)
    first = chunk or 0
    return DocumentText(id=document_id, chunks=[ChunkText(chunk=first + n, text=each) for n, each in enumerate(texts)])


def _refuse_failed(document: Document) -> None:
    """Raises NothingToRead for a document that failed."""
    if document.state is DocumentState.FAILED:
        raise NothingToRead(document.title, document.error)


@router.get("/{document_id}/chunks/{chunk}/image", summary="See a chunk", response_class=Response, responses=PNG)
def image(
    resources: Opened, caller: Reader, document_id: str, chunk: Annotated[int, Path(ge=0, le=MOST_CHUNKS)]
) -> Response:
    """A chunk's image as the encoder saw it, PNG."""
    found = find_document(resources, caller, document_id)
    _refuse_failed(found.document)
    (content,) = read_styled(resources, found.document, chunk)
    return Response(chunk_image(content.text, content.styles), media_type="image/png", headers=IMAGE_HEADERS)


@router.get("/{document_id}/pages/{page}/image", summary="See a source page", response_class=Response, responses=PNG)
async def source_page(request: Request, resources: Opened, caller: Reader, document_id: str, page: int) -> Response:
    """A page of a PDF as its readers see it, PNG: where the boxes of hits and citations lie. Pages count from 1."""
    found = await run_in_threadpool(find_document, resources, caller, document_id)
    # Whoever waits for a turn waits without a thread: all the other requests need those.
    drawing = request.app.state.drawing
    content = await to_thread.run_sync(page_image, resources, found.document, page, limiter=drawing)
    return Response(content, media_type="image/png", headers=IMAGE_HEADERS)
