"""Owns the making anew of what is a view of rows and caches: full text, vector and word indexes, after a restore."""

import shutil
from collections.abc import Callable, Sequence

from api.library import load_caches
from compressor.errors import CacheError
from store import catalog, lexical
from store.database import reading, transaction
from store.errors import BlobError
from store.types import ChunkCache
from workers.ingest import headed
from workers.resources import Resources

_CHUNKS = 64  # read back at a time, and committed together


def rebuild_views(resources: Resources, progress: Callable[[str, int, int], None]) -> list[str]:
    """Full text of every passage that has none, and this node's indexes of every collection; gives what went wrong."""
    faults = rebuild_full_text(resources, progress)
    with reading(resources.engine) as session:
        homes = catalog.all_collections(session)
    progress("indexes", 0, len(homes))
    for collection_id in homes:
        for index in resources.indexes(collection_id).every:
            index.refresh()
            index.compact(force=True)
        progress("indexes", 1, 0)
    return faults


def forget_index_files(resources: Resources) -> None:
    """Deletes this node's index files: they are about rows that were replaced."""
    shutil.rmtree(resources.index_directory, ignore_errors=True)


def rebuild_full_text(resources: Resources, progress: Callable[[str, int, int], None]) -> list[str]:
    """Reads passages that have a vector and no full text out of their caches. Safe to stop and to run again.

    Gives the faults of documents whose caches cannot be read; they do not hold up the others.
    """
    faults = []
    with reading(resources.engine) as session:
        due = catalog.count_unworded(session)
        documents = catalog.unworded_documents(session)
    progress("full text", 0, due)
    for document_id in documents:
        try:
            _rebuild_document(resources, document_id, progress)
        except (CacheError, BlobError) as error:
            faults.append(str(error))
    return faults


def _rebuild_document(resources: Resources, document_id: str, progress: Callable[[str, int, int], None]) -> None:
    with reading(resources.engine) as session:
        passages = catalog.unworded_passages(session, document_id)
        rows = {row.ordinal: row for row in catalog.document_caches(session, document_id)}
    ordinals = sorted({passage.ordinal for passage in passages} & rows.keys())
    for first in range(0, len(ordinals), _CHUNKS):
        part = ordinals[first : first + _CHUNKS]
        texts = _read(resources, [rows[ordinal] for ordinal in part])
        with transaction(resources.engine) as session:
            left = [p for p in catalog.unworded_passages(session, document_id) if p.ordinal in texts]
            for collection_id in {passage.collection_id for passage in left}:  # a document is in one
                found = {p.vector_id: texts[p.ordinal][p.start : p.end] for p in left}
                catalog.keep_texts(session, found)
                known_as = {p.vector_id: headed(p.heading, found[p.vector_id]) for p in left}
                lexical.index(session, collection_id, known_as)
        progress("full text", len(left), 0)


def _read(resources: Resources, rows: Sequence[ChunkCache]) -> dict[int, str]:
    """Ordinal -> text of chunks, those of one codec in one batch. Raises BlobMissing, CacheDamaged."""
    texts: dict[int, str] = {}
    for codec in dict.fromkeys(row.codec for row in rows):
        mine = [row for row in rows if row.codec == codec]
        read = resources.codec(codec).read(load_caches(resources, mine))
        texts |= {row.ordinal: text for row, text in zip(mine, read, strict=True)}
    return texts
