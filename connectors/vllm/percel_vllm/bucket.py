"""Owns page files in an S3 bucket, of AWS or of any server that speaks its protocol. Needs boto3, of [s3]."""

import time
from contextlib import closing
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from percel_vllm.names import PageError, PlaceDownError

ATTEMPTS = 6  # of one request
CONNECT_SECONDS = 5
READ_SECONDS = 20  # without a byte
PAUSE_SECONDS = 0.1  # before what broke off is asked for again; then twice as long each time
KNOWN_SECONDS = 60.0
_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError)  # half an answer
_LATER = ("SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestLimitExceeded")


class S3Pages:
    """Objects below a prefix. Credentials come from where AWS programs look for them."""

    known_seconds = KNOWN_SECONDS

    def __init__(
        self, bucket: str, prefix: str, endpoint: str | None, region: str | None, *, attempts: int = ATTEMPTS
    ) -> None:
        """Connects to nothing yet. Raises ValueError for settings that AWS's library refuses."""
        import boto3

        self.bucket = bucket
        self.prefix = prefix
        self.attempts = attempts
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path" if endpoint else "auto"},
            response_checksum_validation="when_required",
        )
        try:
            session = boto3.session.Session(region_name=region)
            self.client: Any = session.client("s3", endpoint_url=endpoint, config=config)
        except (BotoCoreError, ValueError) as error:
            raise ValueError(f"S3 bucket {bucket} cannot be used: {error}") from error

    def open(self, key: str) -> "S3PageFile":
        return S3PageFile(self, key)

    def has_gone(self, key: str) -> bool:
        """Never: the answer would take a request, and checks are renewed after a while."""
        return False

    def close(self) -> None:
        self.client.close()


class S3PageFile:
    """One object; a request for each range."""

    def __init__(self, pages: S3Pages, key: str) -> None:
        self._pages = pages
        self._key = key
        self._size: int | None = None
        self.name = key.rpartition("/")[2]

    def size(self) -> int:
        if self._size is None:
            self.read(0, 1)
        assert self._size is not None, "a range says how long the whole is"
        return self._size

    def read(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        try:
            found, data = self._get(start, length)
        except ClientError as error:
            return self._refused(error, start)
        except (BotoCoreError, HTTPError) as error:
            kind = PlaceDownError if isinstance(error, (*_BROKEN, ConnectionError)) else PageError
            raise kind(f"page file {self.name} cannot be read from S3 bucket {self._pages.bucket}: {error}") from error
        if "ContentRange" not in found:  # a server that knows no ranges sends all of it
            self._size = len(data)
            return data[start : start + length]
        self._size = int(found["ContentRange"].rpartition("/")[2])
        return data

    def _get(self, start: int, length: int) -> tuple[dict[str, Any], bytes]:
        """S3's answer and its body, asked for again where the body breaks off: botocore sees only to the headers."""
        pages = self._pages
        name = f"{pages.prefix}/{self._key}" if pages.prefix else self._key
        wanted = {"Bucket": pages.bucket, "Key": name, "Range": f"bytes={start}-{start + length - 1}"}
        attempt = 1
        while True:
            found: dict[str, Any] = pages.client.get_object(**wanted)
            try:
                with closing(found["Body"]) as body:
                    return found, body.read()
            except _BROKEN:
                if attempt >= pages.attempts:
                    raise
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            attempt += 1

    def _refused(self, error: ClientError, start: int) -> bytes:
        """Nothing beyond the end of an object. Raises PageError for all else that S3 says no to."""
        said = error.response.get("Error", {})
        code, bucket = str(said.get("Code", "")), self._pages.bucket
        if code == "InvalidRange":
            if not start:
                self._size = 0
            return b""
        if code in ("NoSuchKey", "404"):
            raise PageError(
                f"there is no page file {self._key} in S3 bucket {bucket}: its document was deleted, or made anew"
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = PlaceDownError if status >= 500 or status in (408, 429) or code in _LATER else PageError
        raise kind(
            f"page file {self.name} cannot be read from S3 bucket {bucket}: {code} ({said.get('Message', '')})"
        ) from error
