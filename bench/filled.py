"""Owns homes that are filled for benchmarks of search; ingesting 100,000 chunks would take hours.

Chunks are published by the catalog's own functions: with the text of real passages, vectors that are embeddings of real
passages, each moved by a little noise so that none is there twice, and rows that name real caches. The caches are those
of one document, which all documents share: reading them costs what it always costs, but the text that is read is not
the text that was found.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cachefile import seal_caches
from compressor.codec.corpus import load_texts, standard_library
from store import catalog
from store.database import transaction
from store.models import JobState
from store.types import EncodedChunk, NewCache, NewChunk, NewVector, Parsed
from workers.ingest import entry_name, new_cache
from workers.resources import Resources

COLLECTION = "scale"
PASSAGES = 7  # a chunk, as ingestion makes them
PASSAGE_CHARACTERS = 640
CHUNK_CHARACTERS = PASSAGES * PASSAGE_CHARACTERS
DOCUMENT_CHUNKS = 50
EMBEDDED = 2_000  # passages that are embedded for real


def passages_of(paths: list[Path]) -> Iterator[str]:
    """Passages of real text, over and over."""
    while True:
        for _, text in load_texts(paths) if paths else standard_library():
            for start in range(0, len(text) - PASSAGE_CHARACTERS, PASSAGE_CHARACTERS):
                yield text[start : start + PASSAGE_CHARACTERS]


def questions_of(texts: Iterator[str]) -> Iterator[str]:
    """Twelve words out of each passage that has them."""
    for text in texts:
        words = text.split()[5:17]
        if len(words) == 12:  # a ruled line is no question
            yield " ".join(words)


def fill(resources: Resources, chunks: int, texts: Iterator[str]) -> None:
    """Publishes so many chunks, in documents of 50 for a filter to choose from, and indexes their vectors."""
    rng = np.random.default_rng(0)
    embedded = resources.embedder.embed(list(islice(texts, EMBEDDED)))
    caches = _caches(resources, texts)
    for number in range(chunks // DOCUMENT_CHUNKS):
        with transaction(resources.engine) as session:
            home = catalog.ensure_collection(session, resources.settings.tenant, COLLECTION)
            accepted = catalog.accept_document(
                session,
                home,
                title=f"{number}.txt",
                sha256=f"{number:064x}",
                size=1,
                blob=caches[0].blob,
                metadata={"number": number},
            )
            found = Parsed("text/plain", None, 1, (), caches[0].blob, tuple(map(_chunk, range(DOCUMENT_CHUNKS))))
            catalog.record_parsed(session, accepted.document.id, found)
            encoded = []
            for chunk in catalog.pending_chunks(session, document_id=accepted.document.id):
                vectors = _moved(embedded, rng)
                passages = tuple(
                    NewVector(resources.embedder.fingerprint, start, end, vector.tobytes(), text, text)
                    for (start, end), vector, text in zip(chunk.passages, vectors, texts, strict=False)  # texts go on
                )
                encoded.append(EncodedChunk(chunk.id, (caches[chunk.ordinal],), passages))
            catalog.publish(session, encoded)
            if accepted.job is not None:
                accepted.job.state = JobState.DONE  # a worker on this home is not to parse it
    for index in resources.indexes(home.id).every:
        index.compact(force=True)


def _caches(resources: Resources, texts: Iterator[str]) -> list[NewCache]:
    """The rows of one document's caches, whose file is in the blob store."""
    bodies = ["".join(islice(texts, PASSAGES)) for _ in range(DOCUMENT_CHUNKS)]
    caches = resources.codecs[-1].encode(bodies)
    named = {entry_name(ordinal): cache for ordinal, cache in enumerate(caches)}
    file = seal_caches(named)
    blob = resources.blobs.put_bytes(file.data, tenant=resources.settings.tenant)
    return [new_cache(cache, blob.key, entry, stored_bytes=file.stored_bytes[entry]) for entry, cache in named.items()]


def _chunk(ordinal: int) -> NewChunk:
    passages = [[start, start + PASSAGE_CHARACTERS] for start in range(0, CHUNK_CHARACTERS, PASSAGE_CHARACTERS)]
    layout: list[list[float | None]] = [[0, CHUNK_CHARACTERS, 1, 0, 0, 1, 1, 1, 90]]
    return NewChunk(ordinal, "", CHUNK_CHARACTERS, 1000, "0" * 64, layout, passages)


def _moved(embedded: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float16]:
    vectors = embedded[rng.integers(len(embedded), size=PASSAGES)]
    vectors = vectors + rng.normal(0, 0.02, vectors.shape).astype(np.float32)
    moved: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    return moved
