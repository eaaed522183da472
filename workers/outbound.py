"""Owns requests to addresses that callers name: uploads by URL and webhooks. One guarded client for all of them.

A name is resolved once and the connection goes to the address that was checked, so that a name cannot point
elsewhere between the look and the request. Redirects are not followed by the client: who wants them asks anew.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import urljoin

import httpcore

from workers.errors import AddressRefused, FetchFailed

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
DOWNLOAD_SECONDS = 300.0  # for all of it: a server that sends a byte now and then must not hold a thread for ever
REDIRECTS = 3
_SCHEMES = ("http", "https")
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not private, loopback, link-local, reserved or multicast."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only, or to any where the operator allows private ones."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise FetchFailed(f"{host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # One that is not public condemns the name: which one a client would take is not ours to guess.
        if not self._allow_private and not all(map(is_public, addresses)):
            raise AddressRefused(f"{host} is not a public address: requests into private networks are refused")
        return self._plain.connect_tcp(addresses[0], port, timeout, local_address, socket_options)


@contextmanager
def request(
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    allow_private: bool = False,
) -> Iterator[httpcore.Response]:
    """Sends one request; the response is a stream. Raises AddressRefused, FetchFailed."""
    try:
        target = httpcore.URL(url)
        scheme, host = target.scheme.decode("ascii"), target.host.decode("ascii")
    except (TypeError, UnicodeError, ValueError) as error:
        raise AddressRefused(f"{url!r} is not a URL") from error
    if scheme not in _SCHEMES or not host:
        raise AddressRefused(f"{url!r} is not an http or https URL")
    timeouts = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": CONNECT_SECONDS}
    sent: list[tuple[bytes | str, bytes | str]] = [("Host", _host_of(target)), ("User-Agent", "percel")]
    sent += (headers or {}).items()
    backend = GuardedBackend(allow_private=allow_private)
    try:
        with (
            httpcore.ConnectionPool(network_backend=backend, max_connections=1) as pool,
            pool.stream(
                method,
                target,
                headers=sent,
                content=body,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            yield response
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise FetchFailed(f"{host} does not answer: {type(error).__name__} {error}") from error


def download(url: str, file: IO[bytes], *, limit: int, allow_private: bool = False) -> str:
    """Streams what is at a URL into a file; -> the URL it came from in the end. Redirects are checked like the first.

    Raises AddressRefused, FetchFailed (also for more than `limit` bytes).
    """
    until = time.monotonic() + DOWNLOAD_SECONDS
    for _ in range(REDIRECTS + 1):
        with request("GET", url, allow_private=allow_private) as response:
            if response.status in (301, 302, 303, 307, 308):
                url = _redirected(url, response)
                continue
            if response.status != 200:
                raise FetchFailed(f"{url} answers with status {response.status}")
            size = 0
            for piece in response.iter_stream():
                size += len(piece)
                if size > limit:
                    raise FetchFailed(f"{url} is over the size limit of {limit:,} bytes")
                if time.monotonic() > until:
                    raise FetchFailed(f"{url} takes longer than {DOWNLOAD_SECONDS:.0f} s")
                file.write(piece)
            return url
    raise FetchFailed(f"{url} redirects more than {REDIRECTS} times")


def _redirected(url: str, response: httpcore.Response) -> str:
    place = next((value for name, value in response.headers if name.lower() == b"location"), None)
    if place is None:
        raise FetchFailed(f"{url} redirects to nowhere")
    return urljoin(url, place.decode("latin-1"))


def _host_of(url: httpcore.URL) -> str:
    default = {b"http": 80, b"https": 443}.get(url.scheme)
    host = url.host.decode("ascii")
    return host if url.port in (None, default) else f"{host}:{url.port}"
