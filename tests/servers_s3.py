"""Owns the S3 server of the tests: moto's, in this process, on a free loopback port; and a way through that fails."""

import logging
import re
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint's URL; the server holds its buckets in memory until the run ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of nobody, and no configuration of this machine's."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bucket(s3_server: str, aws: None) -> str:
    """A new, empty bucket's name."""
    name = f"percel-{uuid4().hex}"
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture
def s3_url(bucket: str, s3_server: str) -> str:
    """PERCEL_BLOB_URL of an empty place in a bucket."""
    return blob_url(bucket, s3_server)


def blob_url(bucket: str, endpoint: str) -> str:
    return f"s3://{bucket}/some/prefix?endpoint_url={quote(endpoint, safe='')}&region=us-east-1"


class Between(ThreadingHTTPServer):
    """Stands between client and server: counts, fails while `failures` last, breaks off half way while `cuts` do.

    `answers` says of the next GET requests whether they know ranges, and `after_cut` what happens when one was cut.
    """

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = endpoint.removeprefix("http://")
        self.failures = 0
        self.cuts = 0  # of GET requests only
        self.knows_ranges = True  # or answers with all of an object
        self.answers: list[bool] = []  # the same of the next GET requests, one each
        self.after_cut: Callable[[], object] | None = None  # once
        self.unended = 0  # answers to GET requests with all their bytes in chunks, but without the end of chunks
        self.moved = 0  # bytes from where a range was asked for to where the answer begins
        self.failing = {"GET", "HEAD", "PUT", "POST", "DELETE"}  # which requests
        self.status = 500  # of a failure
        self.code = "InternalError"
        self.answered: list[tuple[str, int, int]] = []  # method, status, bytes of the body
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def note(self, method: str, status: int, size: int) -> None:
        with self.lock:
            self.answered.append((method, status, size))


class _Passing(BaseHTTPRequestHandler):
    server: Between

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.server.lock:
            failing = self.server.failures > 0 and self.command in self.server.failing
            self.server.failures -= failing
            cut = not failing and self.server.cuts > 0 and self.command == "GET"
            self.server.cuts -= cut
        if failing:
            said = f"<Error><Code>{self.server.code}</Code><Message>not now</Message></Error>".encode()
            self.answer(self.server.status, [("Content-Type", "application/xml")], said)
            return
        connection = HTTPConnection(self.server.behind)
        connection.request(self.command, self.path, body, self.passed_on())
        response = connection.getresponse()
        kept = [(k, v) for k, v in response.getheaders() if k.lower() not in ("connection", "server", "date")]
        data = response.read()
        connection.close()
        if self.command == "GET" and self.server.unended:
            self.server.unended -= 1
            self.answer_without_end(response.status, kept, data)
        else:
            self.answer(response.status, kept, data[: len(data) // 2] if cut else data)
        if cut and self.server.after_cut is not None:
            after, self.server.after_cut = self.server.after_cut, None
            after()

    def passed_on(self) -> dict[str, str]:
        """The headers of the request to the server behind."""
        server, headers = self.server, dict(self.headers.items())
        knows_ranges = server.answers.pop(0) if self.command == "GET" and server.answers else server.knows_ranges
        wanted = headers.pop("Range", None)
        if knows_ranges and wanted is not None:
            headers["Range"] = re.sub(r"\d+", lambda begin: str(int(begin[0]) + server.moved), wanted, count=1)
        return headers

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815  (the names that http.server calls)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.server.note(self.command, status, len(body))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_without_end(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.server.note(self.command, status, len(body))
        self.send_response(status)
        for name, value in [(k, v) for k, v in headers if k.lower() != "content-length"]:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def between(s3_server: str) -> Iterator[Between]:
    """A way to the server that can fail."""
    with Between(s3_server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
