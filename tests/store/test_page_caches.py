"""Page caches of one model in several sizes: each a codec of its own, kept or dropped by name."""

from sqlalchemy import Engine

from store import catalog
from store.database import reading, transaction
from store.models import DEFAULT_TENANT, Document
from store.sweep import sweep_blobs
from store.types import EncodedChunk, NewCache
from tests.store.conftest import Library

MODEL, OTHER = "hf:qwen3_vl@0123456789ab", "hf:qwen3Xvl@0123456789ab"  # a _ stands for itself, not for any letter
FULL, HALF = f"{MODEL}+aaaaaaaa", f"{MODEL}+bbbbbbbb"


def publish(library: Library, document_id: str, *codecs: str) -> list[str]:
    """Page caches of a document's chunks under some codecs, a file each; the keys of the files."""
    keys = [library.blobs.put_bytes(f"{document_id} {codec}".encode(), tenant=DEFAULT_TENANT).key for codec in codecs]
    with reading(library.engine) as session:
        chunks = catalog.list_chunks(session, document_id)
    stored = list(zip(codecs, keys, strict=True))
    library.publish(
        [
            EncodedChunk(chunk.id, tuple(NewCache(codec, key, "0", 9, 0.0, 0, 90) for codec, key in stored), ())
            for chunk in chunks
        ]
    )
    return keys


def codecs_of(engine: Engine, document: Document) -> set[str]:
    with reading(engine) as session:
        return {item.codec for item in catalog.document_figures(session, [document.id])[document.id] if not item.exact}


def test_sizes_that_are_not_kept_go_with_their_files_and_other_models_stay(engine: Engine, library: Library) -> None:
    document = library.get(library.add("alpha text", "beta text"))
    assert document is not None
    full, half, other = publish(library, document.id, FULL, HALF, f"{OTHER}+aaaaaaaa")
    with transaction(engine) as session:
        catalog.drop_page_caches(session, document.id, MODEL, keep={FULL})
    sweep_blobs(engine, library.blobs)
    assert codecs_of(engine, document) == {FULL, f"{OTHER}+aaaaaaaa"}
    assert [library.blobs.exists(key) for key in (full, half, other)] == [True, False, True]
    with transaction(engine) as session:
        catalog.drop_page_caches(session, document.id, MODEL)
    assert codecs_of(engine, document) == {f"{OTHER}+aaaaaaaa"}


def test_documents_with_sizes_that_are_not_kept_are_found(engine: Engine, library: Library) -> None:
    both, one, strange = library.add("both sizes"), library.add("one size"), library.add("another model")
    publish(library, both, FULL, HALF)
    publish(library, one, FULL)
    publish(library, strange, f"{OTHER}+aaaaaaaa")

    def found(*keep: str, collection_id: str = library.collection_id) -> list[str]:
        with reading(engine) as session:
            return catalog.documents_with_others(session, MODEL, keep, collection_id=collection_id)

    assert found(FULL, HALF) == []
    assert found(FULL) == [both]
    assert sorted(found(HALF)) == sorted([both, one])
    assert found(FULL, collection_id="elsewhere") == []
