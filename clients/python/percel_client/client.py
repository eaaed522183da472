"""Owns the client that blocks. What is sent and how it is read is in `requests`; its twin is `async_client`."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Self

import httpx

from percel_client import requests
from percel_client.connection import Connection
from percel_client.errors import ApiError, ConnectionFailed, StreamEnded, UnexpectedAnswer
from percel_client.events import answer_part_of, document_of
from percel_client.models import (
    Answer,
    AnswerDelta,
    ApiKey,
    BatchItem,
    Collection,
    DeadJob,
    Document,
    DocumentText,
    Hit,
    Jobs,
    Webhook,
)
from percel_client.requests import Filter, Metadata, Order
from percel_client.retries import Retries
from percel_client.sources import Source, opened
from percel_client.watch import SILENCE, Progress, Watch


class Percel:
    """A Percel server. Threads may share one; close it, or use it in a `with`.

    Uploads, reads and deletes are sent again when the connection breaks or the server is busy (429, 503).
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._connection = Connection(base_url, api_key, timeout=timeout, retries=retries, transport=transport)

    def close(self) -> None:
        """Closes the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Documents

    def upload(
        self,
        source: Source,
        *,
        collection: str,
        name: str | None = None,
        external_id: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Sends a file: a path, an open file, or bytes with a name. Its text is there once it is ready."""
        with opened([source], name=name) as (file,):
            return self._connection.run(
                requests.upload(
                    file,
                    collection=collection,
                    external_id=external_id,
                    metadata=metadata,
                    idempotency_key=idempotency_key,
                )
            )

    def upload_text(
        self,
        text: str,
        *,
        collection: str,
        title: str,
        external_id: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Sends text."""
        return self._connection.run(
            requests.upload_text(
                text,
                collection=collection,
                title=title,
                external_id=external_id,
                metadata=metadata,
                idempotency_key=idempotency_key,
            )
        )

    def upload_url(
        self,
        url: str,
        *,
        collection: str,
        title: str | None = None,
        external_id: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Has the server fetch a file; Forbidden where it is not set up to."""
        return self._connection.run(
            requests.upload_url(
                url,
                collection=collection,
                title=title,
                external_id=external_id,
                metadata=metadata,
                idempotency_key=idempotency_key,
            )
        )

    def upload_many(
        self,
        sources: Sequence[Source],
        *,
        collection: str,
        metadata: Metadata | None = None,
    ) -> list[BatchItem]:
        """Sends files in one request; -> a document or a problem for each, in order."""
        with opened(sources) as files:
            call = requests.upload_many(files, collection=collection, metadata=metadata)
            return self._connection.run(call)

    def upload_and_wait(
        self,
        source: Source,
        *,
        collection: str,
        name: str | None = None,
        external_id: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        on_progress: Progress | None = None,
    ) -> Document:
        """`upload` and `wait` in one."""
        document = self.upload(
            source,
            collection=collection,
            name=name,
            external_id=external_id,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        return self.wait(document, timeout=timeout, on_progress=on_progress)

    def wait(
        self, document: Document | str, *, timeout: float | None = None, on_progress: Progress | None = None
    ) -> Document:
        """Returns when the document (or its id) is ready; tells each change. Raises DocumentFailed, WaitTimeout."""
        document_id = document if isinstance(document, str) else document.id
        watch = Watch(document_id, timeout=timeout, on_progress=on_progress)
        if isinstance(document, str) or not watch.saw(document):
            for seen in self._changes(document_id, watch):
                if watch.saw(seen):
                    break
        return watch.document

    def _changes(self, document_id: str, watch: Watch) -> Iterator[Document | None]:
        with suppress(ConnectionFailed, ApiError, UnexpectedAnswer):  # where events do not come through, looking does
            silence = watch.silence()
            for event in self._connection.events(requests.events(document_id), silence=silence):
                yield document_of(event)
                if watch.outlasts(silence):
                    break
        while True:
            with watch.looking() as patience:
                document = self._connection.run(requests.document(document_id), at_most=patience)
            yield document
            time.sleep(watch.pause())

    def events(self, document_id: str) -> Iterator[Document]:
        """The document at each change, until it is ready or failed. Raises NotFound (deleted), StreamEnded."""
        ended = False
        for event in self._connection.events(requests.events(document_id), silence=SILENCE):
            document = document_of(event)
            if document:
                ended = document.ended
                yield document
        if not ended:
            raise StreamEnded("document")

    def document(self, document_id: str) -> Document:
        """A document as it is now."""
        return self._connection.run(requests.document(document_id))

    def documents(
        self,
        collection: str,
        *,
        state: str | None = None,
        order: Order | None = None,
        page_size: int | None = None,
    ) -> Iterator[Document]:
        """The documents of a collection, or those in a state, the oldest first unless asked for "newest".

        Pages are fetched as they are needed.
        """
        return self._connection.pages(requests.documents(collection, state=state, order=order, page_size=page_size))

    def document_text(self, document_id: str, *, chunk: int | None = None, markdown: bool = False) -> DocumentText:
        """The text, read out of the caches; of one chunk where it is named; with `markdown` its styles as marks."""
        return self._connection.run(requests.document_text(document_id, chunk=chunk, markdown=markdown))

    def chunk_image(self, document_id: str, chunk: int) -> bytes:
        """The image that was encoded for a chunk, a PNG."""
        return self._connection.run(requests.chunk_image(document_id, chunk))

    def page_image(self, document_id: str, page: int) -> bytes:
        """A source page of a PDF, from 1, as a PNG."""
        return self._connection.run(requests.page_image(document_id, page))

    def delete(self, document_id: str) -> None:
        """Deletes a document; no answer cites it from now on."""
        self._connection.run(requests.delete(document_id))

    def delete_where(self, collection: str, filter: Filter) -> int:
        """Deletes the documents of a collection whose metadata meet a filter; -> how many."""
        return self._connection.run(requests.delete_where(collection, filter))

    # Collections

    def create_collection(self, name: str) -> Collection:
        """Makes a collection, or shows the one of that name; an upload makes its collection by itself."""
        return self._connection.run(requests.create_collection(name))

    def collections(self) -> Iterator[Collection]:
        """All collections."""
        return self._connection.pages(requests.collections())

    def collection(self, name: str) -> Collection:
        """A collection and its figures."""
        return self._connection.run(requests.collection(name))

    def delete_collection(self, name: str) -> None:
        """Deletes a collection and all that is in it."""
        self._connection.run(requests.delete_collection(name))

    # Questions

    def search(self, query: str, *, collection: str, k: int = 8, filter: Filter | None = None) -> list[Hit]:
        """The chunks that fit best, by meaning and words together."""
        return self._connection.run(requests.search(query, collection=collection, k=k, filter=filter))

    def ask(
        self,
        question: str,
        *,
        collection: str,
        decoder: str | None = None,
        k: int | None = None,
        whole: bool = False,
        budget: int | None = None,
        filter: Filter | None = None,
    ) -> Answer:
        """An answer with citations; `whole` loads the whole collection instead of the k best chunks (8).

        `budget` is the most vision tokens of pages that a decoder which reads pages may load.
        """
        return self._connection.run(
            requests.ask(
                question, collection=collection, decoder=decoder, k=k, whole=whole, budget=budget, filter=filter
            )
        )

    def ask_stream(
        self,
        question: str,
        *,
        collection: str,
        decoder: str | None = None,
        k: int | None = None,
        whole: bool = False,
        budget: int | None = None,
        filter: Filter | None = None,
    ) -> Iterator[AnswerDelta | Answer]:
        """The answer's pieces as they come, and the whole Answer as the last. Raises StreamEnded for half of one."""
        call = requests.ask(
            question,
            collection=collection,
            decoder=decoder,
            k=k,
            whole=whole,
            budget=budget,
            filter=filter,
            stream=True,
        )
        for event in self._connection.events(call):
            part = answer_part_of(event)
            if part:
                yield part
            if isinstance(part, Answer):
                return
        raise StreamEnded("answer")

    def context(
        self,
        question: str,
        *,
        collection: str,
        k: int | None = None,
        whole: bool = False,
        budget: int | None = None,
        filter: Filter | None = None,
    ) -> bytes:
        """The vision tokens of the k chunks (8) that fit, or of the whole collection: a safetensors file, 1 kB a token.

        Under a `budget` of vision tokens the least relevant chunks are merged to higher rates until all of them fit.
        """
        return self._connection.run(
            requests.context(question, collection=collection, k=k, whole=whole, budget=budget, filter=filter)
        )

    # Operation

    def jobs(self) -> Jobs:
        """How much work is due."""
        return self._connection.run(requests.jobs())

    def dead_jobs(self, *, page_size: int | None = None) -> Iterator[DeadJob]:
        """Jobs whose attempts are used up."""
        return self._connection.pages(requests.dead_jobs(page_size=page_size))

    def requeue_dead_job(self, job_id: int) -> None:
        """Starts a dead job's document again."""
        self._connection.run(requests.requeue_dead_job(job_id))

    def delete_dead_job(self, job_id: int) -> None:
        """Forgets a dead job; its document stays as it is."""
        self._connection.run(requests.delete_dead_job(job_id))

    def create_webhook(self, url: str, *, collection: str | None = None) -> Webhook:
        """Has an address told when documents end; keep the `secret` of the answer for `verify_webhook`."""
        return self._connection.run(requests.create_webhook(url, collection=collection))

    def webhooks(self) -> Iterator[Webhook]:
        """All webhooks."""
        return self._connection.pages(requests.webhooks())

    def delete_webhook(self, webhook_id: str) -> None:
        """Ends a webhook."""
        self._connection.run(requests.delete_webhook(webhook_id))

    def create_api_key(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        collections: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        bytes_per_day: int | None = None,
    ) -> ApiKey:
        """Makes a key; only this answer holds it, in `key`."""
        return self._connection.run(
            requests.create_api_key(
                name,
                scopes=scopes,
                collections=collections,
                expires_at=expires_at,
                requests_per_minute=requests_per_minute,
                bytes_per_day=bytes_per_day,
            )
        )

    def api_keys(self) -> Iterator[ApiKey]:
        """All keys, without what is secret of them."""
        return self._connection.pages(requests.api_keys())

    def delete_api_key(self, key_id: str) -> None:
        """Revokes a key."""
        self._connection.run(requests.delete_api_key(key_id))
