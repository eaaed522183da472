"""Owns sending: attempts, pages and streams of events; once for threads, once for asyncio, line for line the same."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import httpx

from percel_client.address import checked, headers
from percel_client.call import Call, answered, at_cursor, build, event_stream, no_answer
from percel_client.events import Event, EventDecoder
from percel_client.models import Page
from percel_client.retries import Outcome, Retries

T = TypeVar("T")


class Connection:
    """Threads may share one."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout: float,
        retries: Retries,
        transport: httpx.BaseTransport | None,
    ) -> None:
        self._timeout = timeout
        self._retries = retries
        self._http = httpx.Client(
            base_url=checked(base_url), headers=headers(api_key), timeout=timeout, transport=transport
        )

    def close(self) -> None:
        """Closes what is open."""
        self._http.close()

    def run(self, call: Call[T], *, at_most: float | None = None) -> T:
        """What the call answers; `at_most` seconds are waited for that where they are fewer than usual."""
        request = build(call, self._http, timeout=None if at_most is None else min(self._timeout, at_most))
        return call.read(answered(self._outcome(call, request)))

    def pages(self, call: Call[Page[T]]) -> Iterator[T]:
        """The items of all pages."""
        while True:
            page = self.run(call)
            yield from page.items
            if page.next is None:
                return
            call = at_cursor(call, page.next)

    def events(self, call: Call[T], *, silence: float | None = None) -> Iterator[Event | None]:
        """Events as they come, and None for bytes that complete none; `silence` is how long nothing may come."""
        decoder = EventDecoder()
        with self._open(call, timeout=silence) as response:
            for chunk in response.iter_bytes():
                yield from decoder.feed(chunk)

    @contextmanager
    def _open(self, call: Call[T], *, timeout: float | None) -> Iterator[httpx.Response]:
        outcome = self._outcome(call, build(call, self._http, timeout=timeout), stream=True)
        try:
            if isinstance(outcome, httpx.Response) and not outcome.is_success:
                outcome.read()
            response = answered(outcome)
            event_stream(response)
            yield response
        except httpx.RequestError as error:
            raise no_answer(error) from error
        finally:
            if isinstance(outcome, httpx.Response):
                outcome.close()

    def _outcome(self, call: Call[T], request: httpx.Request, *, stream: bool = False) -> Outcome:
        attempt = 1
        while True:
            outcome: Outcome
            try:
                outcome = self._http.send(request, stream=stream)
            except httpx.RequestError as error:
                outcome = error
            pause = self._retries.pause(attempt, outcome) if call.repeatable else None
            if pause is None:
                return outcome
            if isinstance(outcome, httpx.Response):
                outcome.close()
            time.sleep(pause)
            attempt += 1


class AsyncConnection:
    """For one event loop."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        timeout: float,
        retries: Retries,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._timeout = timeout
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=checked(base_url), headers=headers(api_key), timeout=timeout, transport=transport
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._http.aclose()

    async def run(self, call: Call[T], *, at_most: float | None = None) -> T:
        """What the call answers; `at_most` seconds are waited for that where they are fewer than usual."""
        request = build(call, self._http, timeout=None if at_most is None else min(self._timeout, at_most))
        return call.read(answered(await self._outcome(call, request)))

    async def pages(self, call: Call[Page[T]]) -> AsyncIterator[T]:
        """The items of all pages."""
        while True:
            page = await self.run(call)
            for item in page.items:
                yield item
            if page.next is None:
                return
            call = at_cursor(call, page.next)

    async def events(self, call: Call[T], *, silence: float | None = None) -> AsyncGenerator[Event | None, None]:
        """Events as they come, and None for bytes that complete none; `silence` is how long nothing may come."""
        decoder = EventDecoder()
        async with self._open(call, timeout=silence) as response:
            async for chunk in response.aiter_bytes():
                for event in decoder.feed(chunk):
                    yield event

    @asynccontextmanager
    async def _open(self, call: Call[T], *, timeout: float | None) -> AsyncIterator[httpx.Response]:
        outcome = await self._outcome(call, build(call, self._http, timeout=timeout), stream=True)
        try:
            if isinstance(outcome, httpx.Response) and not outcome.is_success:
                await outcome.aread()
            response = answered(outcome)
            event_stream(response)
            yield response
        except httpx.RequestError as error:
            raise no_answer(error) from error
        finally:
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()

    async def _outcome(self, call: Call[T], request: httpx.Request, *, stream: bool = False) -> Outcome:
        attempt = 1
        while True:
            outcome: Outcome
            try:
                outcome = await self._http.send(request, stream=stream)
            except httpx.RequestError as error:
                outcome = error
            pause = self._retries.pause(attempt, outcome) if call.repeatable else None
            if pause is None:
                return outcome
            if isinstance(outcome, httpx.Response):
                await outcome.aclose()
            await asyncio.sleep(pause)
            attempt += 1
