"""Owns the files of a vector index: written once, checked when read, set aside when damaged. Knows no queries.

A reader loads the whole file into memory. FAISS could map it (IO_FLAG_MMAP_IFC), but a mapped index is checked only
by the header: its bytes would have to be read for the checksum anyway.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from store.errors import NO_SPACE, StoreFull
from store.models import Generation

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)

_LOCK_SECONDS = 300  # how long a forced writer waits for another one
_TRAINING_POINTS = 64  # per list of an inverted file; FAISS asks for 39 at least


class GenerationFiles:
    """The files of one collection and embedder: `<directory>/<collection>/<hash of embedder>/<number>.faiss`."""

    def __init__(self, directory: Path, collection_id: str, embedder: str) -> None:
        self.node = node_of(directory)
        self._collection_id = collection_id
        self._embedder = embedder
        # A fingerprint may hold any character; a hash of it may not.
        self._folder = directory / collection_id / hashlib.sha256(embedder.encode()).hexdigest()[:32]

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

    def write(self, index: "faiss.Index", number: int, *, max_seq: int) -> Generation:
        """Puts the index in place and returns its manifest row. Raises: StoreFull; nothing is left then."""
        import faiss

        target = self._folder / f"{number:08d}.faiss"
        partial = target.with_suffix(".partial")
        data = faiss.serialize_index(index).data  # through memory, as FAISS hides why a write to a file failed
        try:
            with open(partial, "wb", buffering=0) as file:
                view = data
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            os.replace(partial, target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            if error.errno in NO_SPACE:
                raise StoreFull(str(self._folder), len(data), shutil.disk_usage(self._folder).free) from error
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return Generation(
            collection_id=self._collection_id,
            embedder=self._embedder,
            node=self.node,
            number=number,
            max_seq=max_seq,
            vectors=index.ntotal,
            sha256=hashlib.sha256(data).hexdigest(),
            faiss_version=faiss.__version__,
            file=target.name,
            created_at=time.time(),
        )

    def load(self, generation: Generation) -> "faiss.Index | None":
        """The index, or None where its file is missing, differs from the manifest (it is set aside) or is no index."""
        import faiss

        path = self._folder / generation.file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            log.warning("vector index file missing", extra={"path": str(path)})
            return None
        if hashlib.sha256(data).hexdigest() == generation.sha256:  # FAISS itself loads flipped bytes in silence
            try:
                return faiss.deserialize_index(np.frombuffer(data, np.uint8))
            except RuntimeError:  # written by a FAISS that this one does not understand
                log.warning("vector index file not readable", extra={"path": str(path)}, exc_info=True)
        self._set_aside(path)
        return None

    def _set_aside(self, path: Path) -> None:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        try:
            os.replace(path, aside)
        except FileNotFoundError:  # another reader was faster
            return
        log.warning("vector index file damaged and set aside", extra={"path": str(aside)})

    def remove(self, generation: Generation) -> None:
        """Deletes the file of a generation that no manifest row names any more."""
        (self._folder / generation.file).unlink(missing_ok=True)


def build_index(ids: NDArray[np.int64], vectors: NDArray[np.float32], *, exact: bool) -> "faiss.Index":
    """An inner-product index over (n, d) unit vectors under their ids."""
    import faiss

    use_threads(os.cpu_count() or 1)
    count, width = vectors.shape
    if exact:
        # 16 bits are what the rows hold, so nothing is lost against 32, at half the memory.
        index = faiss.index_factory(width, "IDMap2,SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[:1])
        index.add_with_ids(vectors, ids)
        return index
    # An inverted file keeps ids itself: IDMap2 around one gives wrong neighbours after a removal.
    lists = max(1, min(int(4 * count**0.5), count // 39))
    index = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, lists * _TRAINING_POINTS), replace=False)
    index.train(vectors[np.sort(sample)])
    index.add_with_ids(vectors, ids)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", max(1, lists // 16))
    return index


def use_threads(count: int) -> None:
    """How many threads FAISS uses for what this thread asks of it."""
    import faiss

    faiss.omp_set_num_threads(count)


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
