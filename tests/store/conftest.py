"""Owns what the store's tests start from: real databases, a real directory of blobs, documents to play with."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from store import catalog, embeddings
from store.blobs import DirectoryBlobs
from store.database import migrate, open_database, reading, transaction
from store.holds import hold
from store.models import DEFAULT_TENANT, Collection, Document, JobKind
from store.types import EncodedChunk, LivePassage, NewCache, NewChunk, NewVector, Parsed, Published

CODEC = "native-20@1"
EMBEDDER = "minilm@1"
WIDTH = 8


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "percel.db"
    engine = open_database(f"sqlite:///{path}")
    migrate(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty database of each kind. A test about one of them only asks for that one by name."""
    engine: Engine = request.getfixturevalue(f"{request.param}_engine")
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path, migrated: Path) -> Iterator[Engine]:
    path = tmp_path / "percel.db"
    path.write_bytes(migrated.read_bytes())
    engine = open_database(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql_engine(postgresql_url: str) -> Iterator[Engine]:
    engine = open_database(postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def pgvector_engine(pgvector_url: str) -> Iterator[Engine]:
    engine = open_database(pgvector_url)
    embeddings.prepare(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


@pytest.fixture
def collection(engine: Engine) -> Collection:
    with transaction(engine) as session:
        return catalog.ensure_collection(session, "default", "main")


@dataclass(frozen=True, slots=True)
class Library:
    """Takes documents of given chunk texts through their journey; one passage and one vector per chunk."""

    engine: Engine
    blobs: DirectoryBlobs
    collection_id: str

    def accept(
        self, texts: Sequence[str], *, external_id: str | None = None, metadata: dict[str, object] | None = None
    ) -> catalog.Accepted:
        stored = self.blobs.put_bytes("\n".join(texts).encode(), tenant=DEFAULT_TENANT)
        with hold(self.engine, [stored.key]) as held, transaction(self.engine, held.connection) as session:
            if not self.blobs.exists(stored.key):  # as a worker does: another test thread's sweep may have been there
                self.blobs.put_bytes("\n".join(texts).encode(), tenant=DEFAULT_TENANT)
            return catalog.accept_document(
                session,
                session.get_one(Collection, self.collection_id),
                title=f"{texts[0]}.txt",
                sha256=stored.sha256,
                size=stored.size,
                blob=stored.key,
                external_id=external_id,
                metadata=metadata,
            )

    def parse(self, document_id: str, texts: Sequence[str]) -> bool:
        pending = self.blobs.put_bytes(f"pending {texts}".encode(), tenant=DEFAULT_TENANT)
        chunks = tuple(
            NewChunk(
                ordinal=ordinal,
                heading="",
                characters=len(text),
                text_tokens=len(text.split()),
                text_sha256=hashlib.sha256(text.encode()).hexdigest(),
                layout=[[0, len(text), 1, 0.0, 0.0, 1.0, 1.0, None, None]],
                passages=[[0, len(text)]],
            )
            for ordinal, text in enumerate(texts)
        )
        with transaction(self.engine) as session:
            catalog.start_parsing(session, document_id)
        with hold(self.engine, [pending.key]) as held, transaction(self.engine, held.connection) as session:
            if not self.blobs.exists(pending.key):
                self.blobs.put_bytes(f"pending {texts}".encode(), tenant=DEFAULT_TENANT)
            parsed = Parsed("text/plain", None, 1, ("no text layer",), pending.key, chunks)
            if catalog.record_parsed(session, document_id, parsed):
                return True
            catalog.discard_blobs(session, [pending.key])
            return False

    def encode(self, document_id: str, texts: Sequence[str], *, limit: int = 100) -> list[EncodedChunk]:
        with reading(self.engine) as session:
            chunks = catalog.pending_chunks(session, document_id=document_id, limit=limit)
        if not chunks:
            return []
        file = self.blobs.put_bytes(
            f"caches of {document_id}: {[chunk.id for chunk in chunks]}".encode(), tenant=DEFAULT_TENANT
        )
        return [
            EncodedChunk(
                chunk.id,
                (NewCache(CODEC, file.key, str(chunk.ordinal), 10, 0.5 if chunk.ordinal else 1.0, 2, 100),),
                (NewVector(EMBEDDER, 0, chunk.characters, embed(text), text, text),),
            )
            for chunk, text in ((chunk, texts[chunk.ordinal]) for chunk in chunks)
        ]

    def publish(self, encoded: Sequence[EncodedChunk]) -> Published:
        with transaction(self.engine) as session:
            return catalog.publish(session, encoded)

    def add(self, *texts: str, external_id: str | None = None) -> str:
        """The id of a document that went all the way."""
        document = self.accept(texts, external_id=external_id).document
        self.parse(document.id, texts)
        assert self.publish(self.encode(document.id, texts)).ready == (document.id,)
        return document.id

    def get(self, document_id: str) -> Document | None:
        with reading(self.engine) as session:
            return catalog.load_document(session, document_id)

    def delete(self, document_id: str) -> None:
        with transaction(self.engine) as session:
            catalog.delete_document(session, document_id)

    def claim(self, owner: str, *, kind: JobKind = JobKind.PARSE, now: float | None = None) -> list[int]:
        with transaction(self.engine) as session:
            jobs = catalog.claim_jobs(session, [kind], owner=owner, lease_seconds=60, now=now)
            return [job.id for job in jobs]


def ordinals_of(engine: Engine, passages: Iterable[LivePassage]) -> list[int]:
    """Of each passage the ordinal of its chunk."""
    chunk_ids = [passage.chunk_id for passage in passages]
    with reading(engine) as session:
        chunks = catalog.live_chunks(session, chunk_ids)
    return [chunks[chunk_id].ordinal for chunk_id in chunk_ids]


@pytest.fixture
def library(engine: Engine, blobs: DirectoryBlobs, collection: Collection) -> Library:
    return Library(engine, blobs, collection.id)


def embed(text: str) -> bytes:
    """A unit vector that the text alone decides."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=WIDTH)
    return (vector / np.linalg.norm(vector)).astype("<f2").tobytes()
