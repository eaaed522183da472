"""Requests to addresses that callers name: into the internet only, whatever names and redirects say."""

import errno
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpcore
import pytest

from store.errors import StoreFull
from workers import outbound
from workers.errors import AddressRefused, FetchFailed
from workers.outbound import download, is_public, request

PUBLIC = "93.184.215.14"


class Site(ThreadingHTTPServer):
    """A web site on loopback: a page, one that is too long, the name it is asked under, redirects and a fault."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path, _, target = self.path.partition("?")
        status = {"/go": 302, "/wait": 302, "/missing": 404}.get(path, 200)
        body = {"/long": b"x" * 5_000, "/host": self.headers["Host"].encode()}.get(path, b"a page")
        if path == "/wait":
            time.sleep(0.3)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", target or self.path)
        if path == "/drip":
            self.drip()
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        """A header line that goes on until the client has left: every read is short, and there is no more to say."""
        self.flush_headers()
        with suppress(OSError):
            for _ in range(100):
                self.wfile.write(b"X")
                time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass
class Internet:
    """Names with addresses, and every connection led to the site."""

    names: dict[str, list[str]] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)


@pytest.fixture
def internet(site: Site, monkeypatch: pytest.MonkeyPatch) -> Internet:
    known = Internet(
        {
            "page.example": [PUBLIC],
            "both.example": [PUBLIC, "10.0.0.7"],
            "inside.example": ["10.0.0.7"],
            "nowhere.example": [],
        }
    )
    connect = httpcore.SyncBackend.connect_tcp

    really = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: object, **more: object) -> object:
        if host not in known.names:
            return really(host, port, *rest, **more)
        if not known.names[host]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known.names[host]]

    def lead(self: httpcore.SyncBackend, host: str, port: int, *rest: object) -> httpcore.NetworkStream:
        known.connected.append(host)
        return connect(self, "127.0.0.1", site.port)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", lead)
    return known


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep credentials
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("ff02::1", False),
        ("192.0.0.192", False),  # where Oracle's cloud keeps credentials
        ("168.63.129.16", False),  # where Azure's does
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("fec0::1", False),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_public_page_is_fetched_from_the_address_that_was_checked(internet: Internet) -> None:
    file = io.BytesIO()
    assert download("http://page.example/", file, limit=100) == "http://page.example/"
    assert (file.getvalue(), internet.connected) == (b"a page", [PUBLIC])


@pytest.mark.parametrize("host", ["inside.example", "both.example", "127.0.0.1", "10.0.0.7"])
def test_a_name_with_any_private_address_is_refused_and_never_connected(internet: Internet, host: str) -> None:
    with pytest.raises(
        AddressRefused, match=f"^{host} is not a public address: requests into private networks are refused$"
    ):
        download(f"http://{host}/", io.BytesIO(), limit=100)
    assert internet.connected == []


def test_a_redirect_is_checked_like_the_first_request(internet: Internet) -> None:
    with pytest.raises(AddressRefused, match=r"^inside.example is not a public address"):
        download("http://page.example/go?http://inside.example/", io.BytesIO(), limit=100)
    with pytest.raises(AddressRefused, match=r"^'file:///etc/passwd' is not an http or https URL$"):
        download("http://page.example/go?file:///etc/passwd", io.BytesIO(), limit=100)
    assert internet.connected == [PUBLIC, PUBLIC]
    assert download("http://page.example/go?/page", io.BytesIO(), limit=100) == "http://page.example/page"


@pytest.mark.parametrize(
    "url", ["ftp://page.example/", "page.example", "http://", "file:///etc/passwd", "http://bücher/"]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused, match=r"^'.*' is not (an http or https URL|a URL)$"):
        download(url, io.BytesIO(), limit=100)


def test_what_cannot_be_had_says_why(site: Site, internet: Internet) -> None:
    for path, said in {
        "/missing": "http://page.example/missing answers with status 404",
        "/long": "http://page.example/long is over the size limit of 100 bytes",
        "/go": "http://page.example/go redirects more than 3 times",
    }.items():
        with pytest.raises(FetchFailed) as failed:
            download(f"http://page.example{path}", io.BytesIO(), limit=100)
        assert str(failed.value) == said
    with pytest.raises(FetchFailed, match=r"^nowhere.example cannot be resolved: .*Name or service not known$"):
        download("http://nowhere.example/", io.BytesIO(), limit=100)


def test_a_page_that_drips_for_ever_is_given_up(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "DOWNLOAD_SECONDS", 0.5)
    with pytest.raises(FetchFailed, match=r"^page.example does not answer: (Read|Write)Timeout "):
        download("http://page.example/drip", io.BytesIO(), limit=10_000)


def test_redirects_take_no_longer_together_than_one_document_may(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "DOWNLOAD_SECONDS", 0.5)
    with pytest.raises(FetchFailed, match=r"^page.example does not answer: \w+Timeout "):
        download("http://page.example/wait", io.BytesIO(), limit=100)


@pytest.mark.parametrize("host", ["page.example", "page.example:81", "[2600::1]", "[2600::1]:81"])
def test_a_server_is_asked_under_the_name_that_the_url_gives_it(internet: Internet, host: str) -> None:
    file = io.BytesIO()
    download(f"http://{host}/host", file, limit=100)
    assert file.getvalue().decode() == host


def test_a_disk_that_is_full_is_not_the_servers_fault(internet: Internet) -> None:
    class Full(io.BytesIO):
        def write(self, piece: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreFull, match=r"^No space left at .*\. Free space there, then run the same again\.$"):
        download("http://page.example/", Full(), limit=100)


def test_an_operator_may_allow_private_networks(site: Site) -> None:
    with pytest.raises(AddressRefused, match=r"^127.0.0.1 is not a public address"), request("GET", site.url):
        pass
    with request("GET", site.url, allow_private=True) as response:
        assert (response.status, response.read()) == (200, b"a page")


def test_a_server_that_is_away_is_one_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with (
            pytest.raises(FetchFailed, match=r"^127.0.0.1 does not answer: ConnectError "),
            request("GET", url, allow_private=True),
        ):
            pass
