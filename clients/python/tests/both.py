"""Owns one face for both clients, so that every test runs against each."""

import asyncio
import inspect
from collections.abc import Callable

import httpx
from stub import Stub

from percel_client import AsyncPercel, Percel, Retries

ADDRESS = "http://percel.test"
AT_ONCE = Retries(first=0.0)


class Blocking:
    """AsyncPercel with the methods of Percel; a stream is read to its end."""

    def __init__(self, client: AsyncPercel) -> None:
        self._client = client
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._client, name)

        def call(*args: object, **kwargs: object) -> object:
            made = method(*args, **kwargs)
            return self._runner.run(made if inspect.iscoroutine(made) else _all(made))

        return call

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


async def _all(items):
    return [item async for item in items]


def connect(kind: str, address: str) -> Percel | Blocking:
    """A client over real sockets."""
    if kind == "sync":
        return Percel(address, "pk_test", retries=AT_ONCE)
    return Blocking(AsyncPercel(address, "pk_test", retries=AT_ONCE))


def make(kind: str, stub: Stub, *, retries: Retries = AT_ONCE, timeout: float = 60.0) -> Percel | Blocking:
    """A client of the stub, without sockets."""
    transport = httpx.MockTransport(stub.handle)
    if kind == "sync":
        return Percel(ADDRESS, "pk_test", retries=retries, timeout=timeout, transport=transport)
    return Blocking(AsyncPercel(ADDRESS, "pk_test", retries=retries, timeout=timeout, transport=transport))
