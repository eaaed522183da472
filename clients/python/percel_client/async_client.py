"""Owns the client for asyncio. What is sent and how it is read is in `requests`; its twin is `client`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from types import TracebackType
from typing import Self

import httpx

from percel_client import requests
from percel_client.connection import AsyncConnection
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


class AsyncPercel:
    """A Percel server. For one event loop; close it, or use it in an `async with`.

    Uploads, reads and deletes are sent again when the connection breaks or the server is busy (429, 503).
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = 60.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = AsyncConnection(base_url, api_key, timeout=timeout, retries=retries, transport=transport)

    async def close(self) -> None:
        """Closes the connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Documents

    async def upload(
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
            return await self._connection.run(
                requests.upload(
                    file,
                    collection=collection,
                    external_id=external_id,
                    metadata=metadata,
                    idempotency_key=idempotency_key,
                )
            )

    async def upload_text(
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
        return await self._connection.run(
            requests.upload_text(
                text,
                collection=collection,
                title=title,
                external_id=external_id,
                metadata=metadata,
                idempotency_key=idempotency_key,
            )
        )

    async def upload_url(
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
        return await self._connection.run(
            requests.upload_url(
                url,
                collection=collection,
                title=title,
                external_id=external_id,
                metadata=metadata,
                idempotency_key=idempotency_key,
            )
        )

    async def upload_many(
        self,
        sources: Sequence[Source],
        *,
        collection: str,
        metadata: Metadata | None = None,
    ) -> list[BatchItem]:
        """Sends files in one request; -> a document or a problem for each, in order."""
        with opened(sources) as files:
            call = requests.upload_many(files, collection=collection, metadata=metadata)
            return await self._connection.run(call)

    async def upload_and_wait(
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
        document = await self.upload(
            source,
            collection=collection,
            name=name,
            external_id=external_id,
            metadata=metadata,
            idempotency_key=idempotency_key,
        )
        return await self.wait(document, timeout=timeout, on_progress=on_progress)

    async def wait(
        self, document: Document | str, *, timeout: float | None = None, on_progress: Progress | None = None
    ) -> Document:
        """Returns when the document (or its id) is ready; tells each change. Raises DocumentFailed, WaitTimeout."""
        document_id = document if isinstance(document, str) else document.id
        watch = Watch(document_id, timeout=timeout, on_progress=on_progress)
        if isinstance(document, str) or not watch.saw(document):
            async with aclosing(self._changes(document_id, watch)) as changes:
                async for seen in changes:
                    if watch.saw(seen):
                        break
        return watch.document

    async def _changes(self, document_id: str, watch: Watch) -> AsyncGenerator[Document | None, None]:
        call = requests.events(document_id)
        with suppress(ConnectionFailed, ApiError, UnexpectedAnswer):  # where events do not come through, looking does
            silence = watch.silence()
            async with aclosing(self._connection.events(call, silence=silence)) as events:
                async for event in events:
                    yield document_of(event)
                    if watch.outlasts(silence):
                        break
        while True:
            with watch.looking() as patience:
                document = await self._connection.run(requests.document(document_id), at_most=patience)
            yield document
            await asyncio.sleep(watch.pause())

    async def events(self, document_id: str) -> AsyncGenerator[Document, None]:
        """The document at each change, until it is ready or failed. Raises NotFound (deleted), StreamEnded."""
        ended = False
        async with aclosing(self._connection.events(requests.events(document_id), silence=SILENCE)) as events:
            async for event in events:
                document = document_of(event)
                if document:
                    ended = document.ended
                    yield document
        if not ended:
            raise StreamEnded("document")

    async def document(self, document_id: str) -> Document:
        """A document as it is now."""
        return await self._connection.run(requests.document(document_id))

    def documents(
        self,
        collection: str,
        *,
        state: str | None = None,
        order: Order | None = None,
        page_size: int | None = None,
    ) -> AsyncIterator[Document]:
        """The documents of a collection, or those in a state, the oldest first unless asked for "newest".

        Pages are fetched as they are needed.
        """
        return self._connection.pages(requests.documents(collection, state=state, order=order, page_size=page_size))

    async def document_text(
        self, document_id: str, *, chunk: int | None = None, markdown: bool = False
    ) -> DocumentText:
        """The text, read out of the caches; of one chunk where it is named; with `markdown` its styles as marks."""
        return await self._connection.run(requests.document_text(document_id, chunk=chunk, markdown=markdown))

    async def chunk_image(self, document_id: str, chunk: int) -> bytes:
        """The image that was encoded for a chunk, a PNG."""
        return await self._connection.run(requests.chunk_image(document_id, chunk))

    async def page_image(self, document_id: str, page: int) -> bytes:
        """A source page of a PDF, from 1, as a PNG."""
        return await self._connection.run(requests.page_image(document_id, page))

    async def delete(self, document_id: str) -> None:
        """Deletes a document; no answer cites it from now on."""
        await self._connection.run(requests.delete(document_id))

    async def delete_where(self, collection: str, filter: Filter) -> int:
        """Deletes the documents of a collection whose metadata meet a filter; -> how many."""
        return await self._connection.run(requests.delete_where(collection, filter))

    # Collections

    async def create_collection(self, name: str) -> Collection:
        """Makes a collection, or shows the one of that name; an upload makes its collection by itself."""
        return await self._connection.run(requests.create_collection(name))

    def collections(self) -> AsyncIterator[Collection]:
        """All collections."""
        return self._connection.pages(requests.collections())

    async def collection(self, name: str) -> Collection:
        """A collection and its figures."""
        return await self._connection.run(requests.collection(name))

    async def delete_collection(self, name: str) -> None:
        """Deletes a collection and all that is in it."""
        await self._connection.run(requests.delete_collection(name))

    # Questions

    async def search(self, query: str, *, collection: str, k: int = 8, filter: Filter | None = None) -> list[Hit]:
        """The chunks that fit best, by meaning and words together."""
        return await self._connection.run(requests.search(query, collection=collection, k=k, filter=filter))

    async def ask(
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
        return await self._connection.run(
            requests.ask(
                question, collection=collection, decoder=decoder, k=k, whole=whole, budget=budget, filter=filter
            )
        )

    async def ask_stream(
        self,
        question: str,
        *,
        collection: str,
        decoder: str | None = None,
        k: int | None = None,
        whole: bool = False,
        budget: int | None = None,
        filter: Filter | None = None,
    ) -> AsyncGenerator[AnswerDelta | Answer, None]:
        """The answer's pieces as they come, and the whole Answer as the last. Leave it early only under `aclosing`."""
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
        async with aclosing(self._connection.events(call)) as events:
            async for event in events:
                part = answer_part_of(event)
                if part:
                    yield part
                if isinstance(part, Answer):
                    return
        raise StreamEnded("answer")

    async def context(
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
        return await self._connection.run(
            requests.context(question, collection=collection, k=k, whole=whole, budget=budget, filter=filter)
        )

    # Operation

    async def jobs(self) -> Jobs:
        """How much work is due."""
        return await self._connection.run(requests.jobs())

    def dead_jobs(self, *, page_size: int | None = None) -> AsyncIterator[DeadJob]:
        """Jobs whose attempts are used up."""
        return self._connection.pages(requests.dead_jobs(page_size=page_size))

    async def requeue_dead_job(self, job_id: int) -> None:
        """Starts a dead job's document again."""
        await self._connection.run(requests.requeue_dead_job(job_id))

    async def delete_dead_job(self, job_id: int) -> None:
        """Forgets a dead job; its document stays as it is."""
        await self._connection.run(requests.delete_dead_job(job_id))

    async def create_webhook(self, url: str, *, collection: str | None = None) -> Webhook:
        """Has an address told when documents end; keep the `secret` of the answer for `verify_webhook`."""
        return await self._connection.run(requests.create_webhook(url, collection=collection))

    def webhooks(self) -> AsyncIterator[Webhook]:
        """All webhooks."""
        return self._connection.pages(requests.webhooks())

    async def delete_webhook(self, webhook_id: str) -> None:
        """Ends a webhook."""
        await self._connection.run(requests.delete_webhook(webhook_id))

    async def create_api_key(
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
        return await self._connection.run(
            requests.create_api_key(
                name,
                scopes=scopes,
                collections=collections,
                expires_at=expires_at,
                requests_per_minute=requests_per_minute,
                bytes_per_day=bytes_per_day,
            )
        )

    def api_keys(self) -> AsyncIterator[ApiKey]:
        """All keys, without what is secret of them."""
        return self._connection.pages(requests.api_keys())

    async def delete_api_key(self, key_id: str) -> None:
        """Revokes a key."""
        await self._connection.run(requests.delete_api_key(key_id))
