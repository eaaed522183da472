"""Owns the requests of Percel's HTTP API: pure functions that make a call out of arguments. Sends nothing."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from percel_client.address import is_plain
from percel_client.call import Call, File, body, nothing, png, safetensors
from percel_client.models import (
    Answer,
    ApiKey,
    BatchItem,
    Collection,
    DeadJob,
    Deleted,
    Document,
    DocumentText,
    Hit,
    Jobs,
    Page,
    Webhook,
)
from percel_client.reading import read, read_all, read_page
from percel_client.sources import is_repeatable

T = TypeVar("T")
Metadata = Mapping[str, object]
Filter = Mapping[str, object]
Order = Literal["oldest", "newest"]  # which documents come first


def upload(
    file: File,
    *,
    collection: str,
    external_id: str | None,
    metadata: Metadata | None,
    idempotency_key: str | None,
) -> Call[Document]:
    form = _given(collection=collection, external_id=external_id, metadata=_json(metadata))
    return Call(
        "POST",
        "/v1/documents",
        _one(Document),
        form=form,
        files=[("file", file)],
        headers=_once(idempotency_key),
        repeatable=is_repeatable([file]),
    )


def upload_text(
    text: str,
    *,
    collection: str,
    title: str,
    external_id: str | None,
    metadata: Metadata | None,
    idempotency_key: str | None,
) -> Call[Document]:
    entries = {"collection": collection, "title": title, "text": text}
    optional = _present(external_id=external_id, metadata=metadata)
    headers = _once(idempotency_key)
    return Call("POST", "/v1/documents/text", _one(Document), json={**entries, **optional}, headers=headers)


def upload_url(
    url: str,
    *,
    collection: str,
    title: str | None,
    external_id: str | None,
    metadata: Metadata | None,
    idempotency_key: str | None,
) -> Call[Document]:
    optional = _present(title=title, external_id=external_id, metadata=metadata)
    entries = {"collection": collection, "url": url, **optional}
    return Call("POST", "/v1/documents/url", _one(Document), json=entries, headers=_once(idempotency_key))


def upload_many(files: Sequence[File], *, collection: str, metadata: Metadata | None) -> Call[list[BatchItem]]:
    return Call(
        "POST",
        "/v1/documents/batch",
        lambda response: read_all(BatchItem, body(response), "items"),
        form=_given(collection=collection, metadata=_json(metadata)),
        files=[("files", file) for file in files],
        repeatable=is_repeatable(files),  # without a key: bytes that are there already are not taken twice
    )


def document(document_id: str) -> Call[Document]:
    return Call("GET", f"/v1/documents/{_part(document_id)}", _one(Document))


def documents(
    collection: str, *, state: str | None, order: Order | None, page_size: int | None
) -> Call[Page[Document]]:
    return _list("/v1/documents", Document, collection=collection, state=state, order=order, limit=page_size)


def events(document_id: str) -> Call[None]:
    path = f"/v1/documents/{_part(document_id)}/events"
    return Call("GET", path, nothing, headers={"Accept": "text/event-stream"})


def document_text(document_id: str, *, chunk: int | None, markdown: bool) -> Call[DocumentText]:
    path = f"/v1/documents/{_part(document_id)}/text"
    return Call("GET", path, _one(DocumentText), params=_given(chunk=chunk, format="markdown" if markdown else None))


def chunk_image(document_id: str, chunk: int) -> Call[bytes]:
    path = f"/v1/documents/{_part(document_id)}/chunks/{chunk}/image"
    return Call("GET", path, png)


def page_image(document_id: str, page: int) -> Call[bytes]:
    path = f"/v1/documents/{_part(document_id)}/pages/{page}/image"
    return Call("GET", path, png)


def delete(document_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/documents/{_part(document_id)}", nothing)


def delete_where(collection: str, filter: Filter) -> Call[int]:
    params = {"collection": collection, "filter": json.dumps(filter)}
    return Call("DELETE", "/v1/documents", lambda response: read(Deleted, body(response)).deleted, params=params)


def create_collection(name: str) -> Call[Collection]:
    return Call("POST", "/v1/collections", _one(Collection), json={"name": name})


def collections() -> Call[Page[Collection]]:
    return _list("/v1/collections", Collection)


def collection(name: str) -> Call[Collection]:
    return Call("GET", f"/v1/collections/{_part(name)}", _one(Collection))


def delete_collection(name: str) -> Call[None]:
    return Call("DELETE", f"/v1/collections/{_part(name)}", nothing)


def search(query: str, *, collection: str, k: int, filter: Filter | None) -> Call[list[Hit]]:
    entries = {"query": query, "collection": collection, "k": k, **_present(filter=filter)}
    return Call("POST", "/v1/search", lambda response: read_all(Hit, body(response), "hits"), json=entries)


def ask(
    question: str,
    *,
    collection: str,
    decoder: str | None,
    k: int | None,
    whole: bool,
    budget: int | None,
    filter: Filter | None,
    stream: bool = False,
) -> Call[Answer]:
    entries = {"question": question, "collection": collection, "whole": whole, "stream": stream}
    headers = {"Accept": "text/event-stream"} if stream else {}
    optional = _present(decoder=decoder, k=k, budget=budget, filter=filter)
    return Call("POST", "/v1/ask", _one(Answer), json={**entries, **optional}, headers=headers)


def context(
    question: str, *, collection: str, k: int | None, whole: bool, budget: int | None, filter: Filter | None
) -> Call[bytes]:
    entries = {"question": question, "collection": collection, "whole": whole}
    optional = _present(k=k, budget=budget, filter=filter)
    return Call("POST", "/v1/context", safetensors, json={**entries, **optional})


def jobs() -> Call[Jobs]:
    return Call("GET", "/v1/jobs", _one(Jobs))


def dead_jobs(*, page_size: int | None) -> Call[Page[DeadJob]]:
    return _list("/v1/jobs/dead", DeadJob, limit=page_size)


def requeue_dead_job(job_id: int) -> Call[None]:
    return Call("POST", f"/v1/jobs/dead/{job_id}/requeue", nothing, repeatable=False)


def delete_dead_job(job_id: int) -> Call[None]:
    return Call("DELETE", f"/v1/jobs/dead/{job_id}", nothing)


def create_webhook(url: str, *, collection: str | None) -> Call[Webhook]:
    entries = {"url": url, **_present(collection=collection)}
    return Call("POST", "/v1/webhooks", _one(Webhook), json=entries, repeatable=False)


def webhooks() -> Call[Page[Webhook]]:
    return _list("/v1/webhooks", Webhook)


def delete_webhook(webhook_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/webhooks/{_part(webhook_id)}", nothing)


def create_api_key(
    name: str,
    *,
    scopes: Sequence[str],
    collections: Sequence[str] | None,
    expires_at: datetime | None,
    requests_per_minute: int | None,
    bytes_per_day: int | None,
) -> Call[ApiKey]:
    optional = _present(
        collections=None if collections is None else list(collections),
        expires_at=None if expires_at is None else _zoned(expires_at).isoformat(),
        requests_per_minute=requests_per_minute,
        bytes_per_day=bytes_per_day,
    )
    entries = {"name": name, "scopes": list(scopes), **optional}
    return Call("POST", "/v1/keys", _one(ApiKey), json=entries, repeatable=False)


def api_keys() -> Call[Page[ApiKey]]:
    return _list("/v1/keys", ApiKey)


def delete_api_key(key_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/keys/{_part(key_id)}", nothing)


def _one(model: type[T]) -> Callable[[httpx.Response], T]:
    return lambda response: read(model, body(response))


def _list(path: str, model: type[T], **params: str | int | None) -> Call[Page[T]]:
    return Call("GET", path, lambda response: read_page(model, body(response)), params=_given(**params))


def _given(**entries: str | int | None) -> dict[str, str]:
    return {name: str(value) for name, value in entries.items() if value is not None}


def _present(**entries: object) -> dict[str, object]:
    return {name: value for name, value in entries.items() if value is not None}


def _zoned(moment: datetime) -> datetime:
    """One without a zone is this machine's, as everywhere in Python; the server may be elsewhere."""
    return moment if moment.tzinfo else moment.astimezone()


def _json(value: Metadata | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _once(idempotency_key: str | None) -> dict[str, str]:
    """Names an upload, so that sending it again makes no second document."""
    if idempotency_key and not is_plain(idempotency_key):
        raise ValueError(
            f"{idempotency_key!r} is no Idempotency-Key: it takes printable ASCII, without blanks around it."
        )
    return {"Idempotency-Key": idempotency_key or uuid4().hex}


def _part(name: str) -> str:
    """A piece of a path: whatever is in a name, it stays one piece."""
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} names nothing here: it would make another address.")
    return quote(name, safe="")
