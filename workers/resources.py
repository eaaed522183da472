"""Owns the composition root: everything a command or worker needs, opened on first use, closed once."""

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from compressor.limits import Limits
from store.blobs import BlobStore, open_blobs
from store.database import migrate, open_database
from store.models import JobKind
from store.sums import CollectionSums
from workers.aside import Aside, at_once
from workers.settings import Settings
from workers.timing import Timings
from workers.wake import Wake, rely_on_polling

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from compressor.codec.native import NativeCodec
    from compressor.embed import Embedder
    from compressor.parse.child import ParserProcess
    from compressor.vlm.codec import PageCodec
    from compressor.vlm.encode import PageEncoder
    from compressor.vlm.reader import PageReader
    from compressor.vlm.recipe import Recipe
    from store.generated import KeptIndex
    from store.vectors import VectorIndex
    from store.words import WordIndex


@dataclass(frozen=True, slots=True)
class Indexes:
    """What a collection is searched in."""

    vectors: "VectorIndex"
    words: "WordIndex | None"  # None: the database's full text is asked itself

    @property
    def every(self) -> "list[KeptIndex]":
        return [self.vectors] if self.words is None else [self.vectors, self.words]


class Resources:
    """Shared by the threads of one process. Models load when they are first asked for, never at start."""

    def __init__(self, settings: Settings, *, brief: bool = False) -> None:
        self.settings = settings
        self.brief = brief  # the process ends after a question or two: what is made ready for many does not pay
        self.aside: Aside = at_once  # what computes for long goes there
        self.timings = Timings()
        self._lock = threading.Lock()
        self._opened = ExitStack()
        self._codecs: dict[str, NativeCodec] = {}
        self._page_codecs: dict[str, PageCodec] = {}
        self._page_encoders: dict[str, PageEncoder] = {}
        self._page_reader: PageReader | None = None
        self._indexes: dict[str, Indexes] = {}  # the one that was asked last is the last

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @cached_property
    def engine(self) -> "Engine":
        """The database, migrated."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        engine = open_database(self.settings.database)
        self._opened.callback(engine.dispose)
        migrate(engine)
        if self.settings.vectors == "pgvector":
            from store import embeddings

            embeddings.prepare(engine)
        return engine

    @cached_property
    def blobs(self) -> BlobStore:
        """Source bytes, chunk texts and cache files."""
        home = self.settings.home
        blobs = open_blobs(
            self.settings.blob_url,
            directory=home / "blobs",
            copies=home / "blob-cache",
            copies_bytes=self.settings.blob_cache_bytes,
        )
        self._opened.callback(blobs.close)
        return blobs

    @cached_property
    def sums(self) -> CollectionSums:
        """Figures of collections, added up where something changed."""
        return CollectionSums()

    def wake(self, kind: JobKind) -> bool:
        """Tells workers that work of a kind may be due; False where they cannot be told, which the tender makes up."""
        return self._wake(kind)

    @cached_property
    def _wake(self) -> Wake:
        if not self.settings.broker_url:
            return rely_on_polling
        from workers.app import Waker

        return Waker()

    @cached_property
    def batch_chunks(self) -> int:
        """Chunks in one pass of the networks: what keeps the device busy and fits its memory."""
        from compressor.device import choose_device

        return 16 if choose_device(self.settings.device) == "cpu" else 256

    @cached_property
    def workers_directory(self) -> Path:
        """Where workers of this machine announce themselves."""
        return self.settings.home / "workers"

    @cached_property
    def index_directory(self) -> Path:
        """Files of the vector and word indexes of this node."""
        return self.settings.home / "vectors"

    @cached_property
    def limits(self) -> Limits:
        """What a file may cost."""
        return Limits(
            bytes=self.settings.max_file_bytes,
            pages=self.settings.max_source_pages,
            memory_bytes=self.settings.parse_memory_bytes,
            seconds=self.settings.parse_seconds,
        )

    @cached_property
    def parser(self) -> "ParserProcess":
        """The child process that parses."""
        from compressor.parse.child import ParserProcess

        return self._opened.enter_context(ParserProcess())

    @cached_property
    def count_tokens(self) -> Callable[[Sequence[str]], list[int]]:
        """The reference text-token counter."""
        from compressor.embed import reference_counter

        return reference_counter()

    @cached_property
    def embedder(self) -> "Embedder":
        """Text to retrieval vectors."""
        from compressor.embed import load_embedder

        return load_embedder(self.settings.embedder, device=self.settings.device)

    def codec(self, name: str) -> "NativeCodec":
        """A codec by name or fingerprint, loaded once."""
        from compressor.codec.native import load_codec

        with self._lock:
            if name not in self._codecs:
                codec = load_codec(name, device=self.settings.device)
                self._codecs[codec.name] = self._codecs[codec.fingerprint] = codec
            return self._codecs[name]

    @cached_property
    def codecs(self) -> "list[NativeCodec]":
        """The rates that new caches may have, the lowest first. Raises ModelError where the one in force is missing."""
        from compressor.codec.weights import available_rates, promising_rates

        if self.settings.codec == "auto":
            rates = promising_rates(self.settings.least_accuracy)
        else:
            self.codec(self.settings.codec)
            rates = [rate for rate in available_rates() if rate <= self.codec(self.settings.codec).rate]
        return [self.codec(f"native-{rate}") for rate in rates]

    @cached_property
    def page_recipe(self) -> "Recipe":
        """How text is set as pages. Raises ModelError."""
        from compressor.vlm.codec import RECIPE
        from compressor.vlm.recipefile import read_recipe

        path = self.settings.page_recipe
        return read_recipe(Path(path)) if path else RECIPE

    def page_codec(self, name: str) -> "PageCodec":
        """A vision-language model by the name of the settings, "hf:<model>"; nothing of it is loaded."""
        from compressor.vlm.codec import open_codec

        with self._lock:
            if name not in self._page_codecs:
                self._page_codecs[name] = open_codec(name, self.page_recipe)
            return self._page_codecs[name]

    def page_sizes(self, name: str) -> "tuple[PageCodec, ...]":
        """A model's pages in each size that is kept, the full one first."""
        full = self.page_codec(name)
        return full, *(replace(full, scale=scale) for scale in self.settings.page_scales)

    def page_encoder(self, codec: "PageCodec") -> "PageEncoder":
        """The vision half of a codec's model, loaded once; for one caller at a time."""
        from compressor.vlm.load import load_encoder

        with self._lock:
            if codec.model not in self._page_encoders:
                self._page_encoders[codec.model] = load_encoder(codec.directory, device=self.settings.device)
            return self._page_encoders[codec.model]

    def page_reader(self, codec: "PageCodec") -> "PageReader":
        """The language half of a codec's model; of one model at a time, the one before is let go."""
        from compressor.vlm.reader import PageReader

        with self._lock:
            if self._page_reader is None or self._page_reader.codec != codec:
                self._page_reader = PageReader(
                    codec,
                    device=self.settings.device,
                    kept_bytes=self.settings.kept_kv_bytes,
                    attention=self.settings.attention,
                )
            return self._page_reader

    def open_reader(self) -> "PageReader | None":
        """The language half that was asked last; None where none was."""
        return self._page_reader

    def open_indexes(self) -> "list[KeptIndex]":
        """The indexes of the collections that were asked for so far."""
        with self._lock:
            return [index for its in self._indexes.values() for index in its.every]

    def index(self, collection_id: str) -> "VectorIndex":
        """The vector index of a collection under the embedder in force."""
        return self.indexes(collection_id).vectors

    def indexes(self, collection_id: str) -> Indexes:
        """The indexes of a collection under the embedder in force."""
        with self._lock:
            found = self._indexes.pop(collection_id, None)
            indexes = self._indexes[collection_id] = found or self._open_indexes(collection_id)
            if found is None:  # the others have grown to what they are
                self._close_unused()
            return indexes

    def _open_indexes(self, collection_id: str) -> Indexes:
        vectors = INDEXES[self.settings.vectors](self, collection_id)
        if self.engine.dialect.name != "sqlite":
            return Indexes(vectors, None)
        from store.words import WordIndex

        words = WordIndex(self.engine, self.index_directory, collection_id, self.embedder.fingerprint)
        return Indexes(vectors, words)

    def close_index(self, collection_id: str) -> None:
        """Lets go of the indexes of a collection that is gone."""
        with self._lock:
            self._indexes.pop(collection_id, None)

    def close_gone(self, kept: Iterable[str]) -> None:
        """Lets go of the indexes of all collections but these."""
        with self._lock:
            for key in self._indexes.keys() - set(kept):
                del self._indexes[key]

    def _close_unused(self) -> None:
        """Lets go of the indexes that were asked for longest ago, until the rest fits; they open again from files."""
        held = {key: sum(index.held_bytes() for index in its.every) for key, its in self._indexes.items()}
        for key in list(held)[:-1]:
            if sum(held.values()) <= self.settings.index_bytes:
                break
            del self._indexes[key], held[key]


def _open_faiss(resources: Resources, collection_id: str) -> "VectorIndex":
    from store.vectors import FaissIndex

    return FaissIndex(resources.engine, resources.index_directory, collection_id, resources.embedder.fingerprint)


def _open_pgvector(resources: Resources, collection_id: str) -> "VectorIndex":
    from store.pgvector import PgvectorIndex

    return PgvectorIndex(resources.engine, collection_id, resources.embedder.fingerprint)


INDEXES: dict[str, Callable[[Resources, str], "VectorIndex"]] = {"faiss": _open_faiss, "pgvector": _open_pgvector}
