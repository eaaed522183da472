"""Owns the address of a blob store: a directory, or an S3 bucket. Credentials are never part of it."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from store.errors import InvalidBlobUrl


@dataclass(frozen=True, slots=True)
class S3Address:
    """A bucket, or what lies below a prefix in it."""

    bucket: str
    prefix: str = ""  # no slash at either end
    endpoint_url: str | None = None  # empty: AWS, or what its configuration names
    region: str | None = None


def parse_address(url: str) -> Path | S3Address:
    """The place behind `file:///path` or `s3://bucket/prefix?endpoint_url=...&region=...`. Raises InvalidBlobUrl."""
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise InvalidBlobUrl("cannot be read") from error
    if "@" in parts.netloc:
        raise InvalidBlobUrl("holds a user or password, which belong into AWS_* variables or the AWS configuration")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or parts.path in ("", "/") or options:
            raise InvalidBlobUrl("names no directory of this machine")
        return Path(unquote(parts.path))
    if parts.scheme != "s3":
        raise InvalidBlobUrl("begins with neither file:// nor s3://")
    return _bucket(parts.netloc, unquote(parts.path).strip("/"), options)


def _bucket(bucket: str, prefix: str, options: list[tuple[str, str]]) -> S3Address:
    if not bucket or ":" in bucket:
        raise InvalidBlobUrl("names no bucket")
    unknown = sorted({name for name, _ in options} - {"endpoint_url", "region"})
    if unknown:
        raise InvalidBlobUrl(f"has the option {unknown[0]!r}, which is none")
    given = {name: value for name, value in options if value}
    endpoint = given.get("endpoint_url")
    if endpoint is not None and not re.fullmatch(r"https?://[^/@]+/?", endpoint):
        raise InvalidBlobUrl("has an endpoint_url that is more or less than http(s)://host:port")
    return S3Address(bucket, prefix, endpoint, given.get("region"))
