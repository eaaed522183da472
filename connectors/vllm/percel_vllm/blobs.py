"""Owns where page files lie: in a directory or in an S3 bucket, each of them read in ranges, never written.

Addresses are those of Percel's PERCEL_BLOB_URL. Knows nothing of what the files hold, and nothing of vLLM.
"""

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


def open_blobs(address: str) -> Blobs:
    """The place behind a directory's path, `file:///path` or `s3://bucket/prefix?endpoint_url=...&region=...`.

    Raises ValueError, which says what the address lacks.
    """
    parts = urlsplit(address)
    if parts.scheme == "s3":
        from percel_vllm.bucket import S3Pages

        return S3Pages(*_bucket(parts.netloc, parts.path, parts.query))
    root = Path(unquote(parts.path) if parts.scheme == "file" else address)
    if not address or not root.is_dir():
        raise ValueError(f"{address!r} is neither an existing directory nor an s3:// address")
    return DirectoryPages(root)


def _bucket(bucket: str, path: str, query: str) -> tuple[str, str, str | None, str | None]:
    """Bucket, prefix, endpoint and region."""
    if not bucket or ":" in bucket or "@" in bucket:
        raise ValueError("an s3:// address begins with the bucket's name; credentials come from AWS_* variables")
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(options.keys() - {"endpoint_url", "region"})
    if unknown:
        raise ValueError(f"an s3:// address has no option {unknown[0]!r}")
    return bucket, unquote(path).strip("/"), options.get("endpoint_url") or None, options.get("region") or None


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
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(start)
                got = file.readinto(held)
        except OSError as error:
            raise PageError(f"page file {self.name} cannot be read: {error}") from error
        return held[:got] if got < len(held) else held
