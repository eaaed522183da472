"""Owns the backup file: a zip of named members, with a list of their checksums and a manifest. Knows no rows, no blobs.

The manifest is written last, so a file without one was not finished. Members are checked against their sha256 before
anything else is done with them; nothing in the file is ever executed or unpacked to disk under a name of its own.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from store.errors import BackupDamaged, BackupExists, BackupTooNew
from store.space import on_disk

FORMAT = 1
PIECE = 1 << 20  # bytes copied at a time
_MANIFEST = "manifest.json"
_MEMBERS = "members.jsonl"


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the archive."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of."""

    program: str  # the version that wrote it
    revision: str  # of the database's schema
    created_at: float
    rows: dict[str, int]  # by table
    highest_ids: dict[str, int]  # that a table ever gave out: ids are never used again
    blobs: int
    blob_bytes: int
    lost_blobs: tuple[str, ...] = ()  # rows name them, the store had them no more, or not as they were


class ArchiveWriter:
    """Adds members, one after the other."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self._members: list[Member] = []

    def add(self, name: str, pieces: Iterable[bytes], *, compress: bool) -> Member:
        """Streams a member in. What `pieces` raises passes through; what was written of it is then no member."""
        entry = zipfile.ZipInfo(name)
        entry.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        digest, size = hashlib.sha256(), 0
        with self._file.open(entry, "w", force_zip64=True) as target:
            for piece in pieces:
                target.write(piece)
                digest.update(piece)
                size += len(piece)
        self._members.append(Member(name, digest.hexdigest(), size))
        return self._members[-1]

    def seal(self, manifest: Manifest) -> None:
        """Writes the list of members and the manifest; nothing comes after."""
        lines = b"".join(json.dumps(asdict(member)).encode() + b"\n" for member in self._members)
        self._file.writestr(_MEMBERS, lines, zipfile.ZIP_DEFLATED)
        head = {"format": FORMAT, **asdict(manifest), "members_sha256": hashlib.sha256(lines).hexdigest()}
        self._file.writestr(_MANIFEST, json.dumps(head, indent=2))


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    """A new archive, only there under its name when the block is through. Readable by its owner alone.

    Raises BackupExists, StoreFull.
    """
    if path.exists():
        raise BackupExists(str(path))
    # Not of a process's id: in containers all have the same one, that of a killed one included.
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        with on_disk(path.parent):
            with open(partial, "xb", opener=_private) as file:
                with zipfile.ZipFile(file, "w") as archive:
                    yield ArchiveWriter(archive)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Archive:
    """An archive that is read."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        head = _parse(path, self._whole(_MANIFEST))
        if head.get("format") != FORMAT:
            raise BackupTooNew(str(path), str(head.get("format")), str(head.get("program")))
        lines = self._whole(_MEMBERS)
        if hashlib.sha256(lines).hexdigest() != head.get("members_sha256"):
            raise BackupDamaged(str(path), f"{_MEMBERS} is not what was written")
        self.manifest = _manifest(path, head)
        self.members = {member.name: member for member in (_member(path, line) for line in lines.splitlines())}

    def verify(self, read: Callable[[int], None]) -> None:
        """Reads every member; `read` is told how many bytes were. Raises BackupDamaged for the first that differs."""
        for member in self.members.values():
            digest = hashlib.sha256()
            with self.open(member.name) as source:
                for piece in self.pieces(source, member.name):
                    digest.update(piece)
                    read(len(piece))
            if digest.hexdigest() != member.sha256:
                raise BackupDamaged(str(self.path), f"{member.name} is not what was written")

    def open(self, name: str) -> BinaryIO:
        """A member's bytes. Raises BackupDamaged where it is not there."""
        try:
            return cast("BinaryIO", self._file.open(name))
        except (KeyError, zipfile.BadZipFile, OSError, RuntimeError) as error:  # the last: encrypted, or packed oddly
            raise BackupDamaged(str(self.path), f"{name} cannot be read: {error}") from error

    def pieces(self, source: BinaryIO, name: str) -> Iterator[bytes]:
        """What an opened member still holds. Raises BackupDamaged."""
        while True:
            try:
                piece = source.read(PIECE)
            except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
                raise BackupDamaged(str(self.path), f"{name} is not what was written") from error
            if not piece:
                return
            yield piece

    def lines(self, name: str) -> Iterator[bytes]:
        """A member, line by line."""
        with self.open(name) as source:
            yield from source

    def _whole(self, name: str) -> bytes:
        with self.open(name) as source:
            return b"".join(self.pieces(source, name))


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BackupDamaged(str(path), f"its manifest is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BackupDamaged(str(path), "its manifest is no JSON object")
    return value


def _member(path: Path, line: bytes) -> Member:
    fields = _parse(path, line)
    try:
        return Member(str(fields["name"]), str(fields["sha256"]), int(fields["size"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BackupDamaged(str(path), f"{_MEMBERS} is not what was written: {error}") from error


def _manifest(path: Path, head: dict[str, Any]) -> Manifest:
    try:
        fields = {field.name: head[field.name] for field in dataclasses.fields(Manifest)}
        fields |= {name: _counts(fields[name]) for name in ("rows", "highest_ids")}
        return Manifest(**fields | {"lost_blobs": tuple(fields["lost_blobs"])})
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise BackupDamaged(str(path), f"its manifest lacks something: {error}") from error


def _counts(found: dict[str, Any]) -> dict[str, int]:
    """Of tables. Raises ValueError for a number that no database can hold."""
    counts = {str(name): int(count) for name, count in found.items()}
    if any(count < 0 or count >> 63 for count in counts.values()):
        raise ValueError("a number of rows or an id that cannot be")
    return counts


@contextmanager
def opening(path: Path) -> Iterator[Archive]:
    """An archive for reading; its manifest is checked, its members are by `verify`.

    Raises BackupDamaged, BackupTooNew, FileNotFoundError.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        file = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise BackupDamaged(str(path), f"it is no backup, or its end is missing ({error})") from error
    with file:
        yield Archive(path, file)
