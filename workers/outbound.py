"""Owns requests to addresses that callers name: uploads by URL and webhooks. One guarded client for all of them.

A name is resolved once and the connection goes to the address that was checked, so that a name cannot point
elsewhere between the look and the request. Redirects are not followed by the client: who wants them asks anew.
"""

import ipaddress
import socket
import ssl
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO
from urllib.parse import urljoin, urlsplit

import httpcore

from store.errors import NO_SPACE, StoreFull
from workers.errors import AddressRefused, FetchFailed

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
REQUEST_SECONDS = 20.0  # for all of a request: a server that sends a byte now and then must not hold a thread for ever
DOWNLOAD_SECONDS = 300.0  # the same of a document
REDIRECTS = 3
_SCHEMES = ("http", "https")
_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that was ever given to the internet
# What Python's table calls global, in some of its versions, and is a network's or a cloud's own.
_OWN = (
    ipaddress.ip_network("192.0.0.0/24"),  # of protocols; Oracle's cloud keeps credentials at .192
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's to its machines, the same in every network
)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's: not private, loopback, link-local, reserved or multicast."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in network for network in _OWN)
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
    if inner is not None:
        return is_public(str(inner))
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip.is_global and ip in _UNICAST


class _Bounded(httpcore.NetworkStream):
    """A connection that ends at a point in time: the timeouts of single reads never end one that drips."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._left(timeout, httpcore.ConnectTimeout)
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, left), self._until)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None, error: type[httpcore.TimeoutException]) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise error("it takes too long")
        return left if timeout is None else min(timeout, left)


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to public addresses only, or to any where the operator allows private ones; all of it by `until`."""

    def __init__(self, *, allow_private: bool, until: float) -> None:
        self._allow_private = allow_private
        self._until = until
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
        except (OSError, UnicodeError) as error:
            raise FetchFailed(f"{host} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # One that is not public condemns the name: which one a client would take is not ours to guess.
        if not self._allow_private and not all(map(is_public, addresses)):
            raise AddressRefused(f"{host} is not a public address: requests into private networks are refused")
        stream = self._plain.connect_tcp(addresses[0], port, timeout, local_address, socket_options)
        return _Bounded(stream, self._until)


def check_url(url: str) -> None:
    """Raises AddressRefused for what could be asked by no request, or only without what a caller thinks is sent."""
    target_of(url)
    if any(sign.isspace() or not sign.isprintable() for sign in url):
        raise AddressRefused(f"{url!r} is not a URL: blanks and control characters are escaped in one")
    if urlsplit(url).username is not None:
        raise AddressRefused("A user's name and password in a URL are not sent: leave them out")


def target_of(url: str) -> httpcore.URL:
    """A URL in its parts. Raises AddressRefused."""
    try:
        target = httpcore.URL(url)
        scheme, host = target.scheme.decode("ascii"), target.host.decode("ascii")
    except (TypeError, UnicodeError, ValueError) as error:
        raise AddressRefused(f"{url!r} is not a URL") from error
    if scheme not in _SCHEMES or not host:
        raise AddressRefused(f"{url!r} is not an http or https URL")
    return target


@contextmanager
def request(
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    allow_private: bool = False,
    seconds: float = REQUEST_SECONDS,
) -> Iterator[httpcore.Response]:
    """Sends one request, which ends within `seconds`; the response is a stream. Raises AddressRefused, FetchFailed."""
    target = target_of(url)
    timeouts = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": CONNECT_SECONDS}
    sent: list[tuple[bytes | str, bytes | str]] = [("Host", _host_of(target)), ("User-Agent", "percel")]
    sent += (headers or {}).items()
    backend = GuardedBackend(allow_private=allow_private, until=time.monotonic() + seconds)
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
        raise FetchFailed(f"{target.host.decode()} does not answer: {type(error).__name__} {error}") from error


def download(url: str, file: IO[bytes], *, limit: int, allow_private: bool = False) -> str:
    """Streams what is at a URL into a file; -> the URL it came from in the end. Redirects are checked like the first.

    All of it ends within `DOWNLOAD_SECONDS`.
    Raises AddressRefused, FetchFailed (also for more than `limit` bytes), StoreFull.
    """
    check_url(url)
    until = time.monotonic() + DOWNLOAD_SECONDS
    for _ in range(REDIRECTS + 1):
        with request("GET", url, allow_private=allow_private, seconds=until - time.monotonic()) as response:
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
                _write(file, piece)
            return url
    raise FetchFailed(f"{url} redirects more than {REDIRECTS} times")


def _write(file: IO[bytes], piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:
        if error.errno in NO_SPACE:  # of this machine, not of the server's doing
            raise StoreFull(tempfile.gettempdir(), None) from error
        raise


def _redirected(url: str, response: httpcore.Response) -> str:
    place = next((value for name, value in response.headers if name.lower() == b"location"), None)
    if place is None:
        raise FetchFailed(f"{url} redirects to nowhere")
    return urljoin(url, place.decode("latin-1"))


def _host_of(url: httpcore.URL) -> str:
    default = {b"http": 80, b"https": 443}.get(url.scheme)
    host = url.host.decode("ascii")
    host = f"[{host}]" if ":" in host else host
    return host if url.port in (None, default) else f"{host}:{url.port}"
