"""Owns the files of an index: written once, checked when read, set aside when damaged. Knows no queries.

A file is mapped, never changed in place, and all of it is read once, for its checksum.
"""

import hashlib
import logging
import mmap
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from store.errors import NO_SPACE, StoreFull
from store.models import Generation

log = logging.getLogger(__name__)

_LOCK_SECONDS = 300  # how long a forced writer waits for another one


Buffer = bytes | bytearray | memoryview | mmap.mmap


class GenerationFiles:
    """The files of one index of a collection: `<directory>/<collection>/<hash of its name>/<number>.<kind>`."""

    def __init__(self, directory: Path, collection_id: str, name: str, *, kind: str = "faiss") -> None:
        self.node = node_of(directory)
        self.name = name  # an embedder's fingerprint, or begins with the kind: what the manifest calls the embedder
        self.kind = kind
        self._collection_id = collection_id
        # A fingerprint may hold any character; a hash of it may not.
        self._folder = directory / collection_id / hashlib.sha256(name.encode()).hexdigest()[:32]

    @contextmanager
    def writing(self, *, wait: bool) -> Iterator[bool]:
        """The right to write, for one process at a time; False where another one has it (and waiting is over)."""
        from filelock import FileLock, Timeout

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(self._folder / "write.lock", timeout=_LOCK_SECONDS if wait else 0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def write(self, data: Buffer, number: int, *, max_seq: int, count: int, version: str) -> Generation:
        """Puts the bytes in place and returns their manifest row. Raises: StoreFull; nothing is left then."""
        target = self._folder / f"{number:08d}.{self.kind}"
        partial = target.with_suffix(".partial")
        whole = memoryview(data).cast("B")
        try:
            with open(partial, "wb", buffering=0) as file:
                view = whole
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            os.replace(partial, target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            if error.errno in NO_SPACE:
                raise StoreFull(str(self._folder), len(whole), shutil.disk_usage(self._folder).free) from error
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Generation(
            collection_id=self._collection_id,
            embedder=self.name,
            node=self.node,
            number=number,
            max_seq=max_seq,
            vectors=count,
            sha256=hashlib.sha256(whole).hexdigest(),
            faiss_version=version,
            file=target.name,
            created_at=time.time(),
        )

    def load(self, generation: Generation) -> Buffer | None:
        """The file's bytes, mapped; None where it is missing or differs from the manifest (it is set aside)."""
        path = self._folder / generation.file
        try:
            with path.open("rb") as file:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            log.warning("index file missing", extra={"path": str(path)})
            return None
        except ValueError:  # an empty one cannot be mapped
            self.set_aside(generation)
            return None
        if hashlib.sha256(data).hexdigest() == generation.sha256:  # flipped bytes load in silence
            return data
        self.set_aside(generation)
        return None

    def set_aside(self, generation: Generation) -> None:
        """Renames a file that is not what it should be: it is kept to be looked at, and never opened again."""
        path = self._folder / generation.file
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        try:
            os.replace(path, aside)
        except FileNotFoundError:  # another reader was faster
            return
        log.warning("index file damaged and set aside", extra={"path": str(aside)})

    def remove(self, generation: Generation) -> None:
        """Deletes the file of a generation that no manifest row names any more."""
        (self._folder / generation.file).unlink(missing_ok=True)

    def remove_others(self, kept: Sequence[Generation]) -> None:
        """Deletes the files of all generations but these, those of a writer that was killed included.

        For who has the right to write. What was set aside stays.
        """
        names = {generation.file for generation in kept}
        for path in [*self._folder.glob(f"*.{self.kind}"), *self._folder.glob("*.partial")]:
            if path.name not in names:
                path.unlink(missing_ok=True)


def node_of(directory: Path) -> str:
    """The name of the node whose index files lie in the directory, made at the first look and kept beside them."""
    path = directory / "node"
    with suppress(FileNotFoundError):
        return path.read_text("ascii")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = directory / f".node-{uuid4().hex}"
    partial.write_text(uuid4().hex, "ascii")
    with suppress(FileExistsError):  # of processes that start together the first one names the node
        os.link(partial, path)
    partial.unlink()
    return path.read_text("ascii")


def remove_gone(directory: Path, collection_ids: Iterable[str]) -> None:
    """Deletes the index files of every collection but these: others may have been deleted by another node."""
    kept = set(collection_ids)
    for folder in directory.glob("*/"):
        if folder.name not in kept:
            remove_index_files(directory, folder.name)


def remove_index_files(directory: Path, collection_id: str) -> None:
    """Deletes every index file of a collection that was deleted."""
    shutil.rmtree(directory / collection_id, ignore_errors=True)
