"""Owns where page files lie: in a directory or in an S3 bucket, each of them read in ranges, never written.

Addresses are those of Percel's PERCEL_BLOB_URL. Knows nothing of what the files hold, and nothing of vLLM.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from percel_vllm.names import PageError


class PageFile(Protocol):
    """One file's bytes in ranges. Safe for several threads."""

    @property
    def name(self) -> str:
        """What an error message calls it."""
        ...

    def size(self) -> int:
        """In bytes. Raises PageError."""
        ...

    def read(self, start: int, length: int) -> bytes | bytearray:
        """Bytes from start on; fewer where it ends before. Raises PageError."""
        ...


class Blobs(Protocol):
    """Page files by key; a key has the form that `names.py` lets through."""

    known_seconds: float  # so long it is taken for granted that a file which was there still is

    def open(self, key: str) -> PageFile:
        """Raises PageError where there is none; of a bucket that shows when it is read."""
        ...

    def has_gone(self, key: str) -> bool:
        """Whether a file that was there is no more, as far as that can be told at once: the scheduler waits for it."""
        ...

    def close(self) -> None:
        """Lets go of connections."""
        ...


def open_blobs(address: str, *, once: bool = False) -> Blobs:
    """The place behind a directory's path, `file:///path` or `s3://bucket/prefix?endpoint_url=...&region=...`.

    `once` is for who tries again himself: a request to a bucket is not. Raises ValueError, which says what the address
    lacks.
    """
    place = _read_address(address)
    if isinstance(place, Path):
        if not address or not place.is_dir():
            raise ValueError(f"{address!r} is neither an existing directory nor an s3:// address")
        return DirectoryPages(place)
    from percel_vllm.bucket import S3Pages

    return S3Pages(*place, attempts=1) if once else S3Pages(*place)


_Bucket = tuple[str, str, str | None, str | None]  # its name, prefix, endpoint and region


def _read_address(address: str) -> Path | _Bucket:
    """What it names. Refuses what Percel refuses (its store/blobs/address.py), but for a directory's plain path."""
    try:
        parts = urlsplit(address)
        if not parts.scheme:
            return Path(address)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise _invalid("cannot be read") from error
    if "@" in parts.netloc:
        raise _invalid("holds a user or password, which belong into AWS_* variables or the AWS configuration")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or parts.path in ("", "/") or options:
            raise _invalid("names no directory of this machine")
        return Path(unquote(parts.path))
    if parts.scheme != "s3":
        raise _invalid("begins with neither file:// nor s3://")
    return _read_bucket(parts.netloc, unquote(parts.path).strip("/"), options)


def _read_bucket(bucket: str, prefix: str, options: list[tuple[str, str]]) -> _Bucket:
    if not bucket or ":" in bucket:
        raise _invalid("names no bucket")
    unknown = sorted({name for name, _ in options} - {"endpoint_url", "region"})
    if unknown:
        raise _invalid(f"has the option {unknown[0]!r}, which is none")
    given = {name: value for name, value in options if value}
    endpoint = given.get("endpoint_url")
    if endpoint is not None and not re.fullmatch(r"https?://[^/@]+/?", endpoint):
        raise _invalid("has an endpoint_url that is more or less than http(s)://host:port")
    return bucket, prefix, endpoint, given.get("region")


def _invalid(fault: str) -> ValueError:
    """The address is not repeated: it may hold a password."""
    return ValueError(
        f"the address of blobs {fault}: give file:///path or s3://bucket/prefix?endpoint_url=...&region=..., "
        "or a directory's path"
    )


class DirectoryPages:
    """Files below a directory."""

    known_seconds = float("inf")  # it is looked at each time

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, key: str) -> "LocalPageFile":
        path = self.root / key
        if not path.is_file():
            raise PageError(f"there is no page file {key} in {self.root}: its document was deleted, or made anew")
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise PageError(f"page file {key} leads out of {self.root}")
        return LocalPageFile(path)

    def has_gone(self, key: str) -> bool:
        return not (self.root / key).is_file()

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LocalPageFile:
    """A file on this machine."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise PageError(f"page file {self.name} cannot be read: {error}") from error

    def read(self, start: int, length: int) -> bytearray:
        held = bytearray(max(0, min(length, self.size() - start)))
        view, done = memoryview(held), 0
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                while done < len(held) and (got := file.readinto(view[done:])):  # a read may give less than there is
                    done += got
        except OSError as error:
            raise PageError(f"page file {self.name} cannot be read: {error}") from error
        return held[:done] if done < len(held) else held
