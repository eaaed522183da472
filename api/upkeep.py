"""Owns the check of everything that is stored, and its repair from what is left."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.orm import Session

from api.rebuild import rebuild_full_text
from compressor.cachefile import CacheFile
from compressor.errors import CacheError, CompressorError, ModelError
from compressor.vlm.pagefile import PageFile
from store import catalog
from store.database import reading, transaction
from store.errors import BlobError, StoreError
from store.models import Collection, Document, DocumentState, JobKind, JobState
from store.sweep import check_blobs, remove_orphans, sweep_blobs
from workers.events import Listener, silent
from workers.resources import Resources
from workers.runner import run_due_jobs

if TYPE_CHECKING:
    from compressor.vlm.codec import PageCodec

LACKING = "it lacks page caches"
LEFT_OVER = "it still has page caches of a size or recipe that the settings no longer name"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    repaired: bool = False


def examine(
    resources: Resources, *, deep: bool = False, repair: bool = False, listen: Listener = silent
) -> list[Finding]:
    """Looks at models, rows, blobs, caches and indexes; `deep` reads every cache back, `repair` mends what it can.

    Every tenant's. A document whose caches are damaged or missing is made anew from its source bytes; page caches that
    a document lacks, because their codec was named later or because they failed, are made.
    """
    findings = [check_codec(resources), check_embedder(resources), check_ocr(), check_rows(resources)]
    findings.append(check_caches(resources, deep=deep, repair=repair, listen=listen))
    findings += check_pages(resources, deep=deep, repair=repair, listen=listen)
    findings.append(check_jobs(resources, repair=repair, listen=listen))
    findings += check_files(resources, deep=deep, repair=repair)  # after the caches: making one anew heals its blob
    findings.append(check_full_text(resources, repair=repair))
    findings += check_indexes(resources, repair=repair)
    return findings


def _attempt(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check, True, look())
    except (CompressorError, BlobError) as error:
        return Finding(check, False, str(error))


def check_codec(resources: Resources) -> Finding:
    """Whether the codec in force loads."""
    return _attempt("codec", lambda: resources.codecs[-1].fingerprint)


def check_embedder(resources: Resources) -> Finding:
    """Whether the embedder's weights are the published ones."""

    def look() -> str:
        if not resources.embedder.embed_queries(["ready"]).any():
            raise ModelError("the embedder answers with nothing")
        return resources.embedder.fingerprint

    return _attempt("embedder", look)


def check_ocr() -> Finding:
    """Whether pages without a text layer can be read; their absence is a note, not a fault."""
    found = shutil.which("tesseract")
    detail = "tesseract is installed" if found else "tesseract is not installed: scanned pages are reported, not read"
    return Finding("ocr", True, detail)


def check_rows(resources: Resources) -> Finding:
    """The database's own check of itself."""
    with reading(resources.engine) as session:
        if resources.engine.dialect.name != "sqlite":
            return Finding("rows", True, resources.engine.dialect.name)
        answer = session.execute(text("PRAGMA integrity_check")).scalars().all()
    return Finding("rows", answer == ["ok"], "; ".join(map(str, answer)))


def check_files(resources: Resources, *, deep: bool, repair: bool) -> list[Finding]:
    """Rows against blobs, both ways."""
    resources.blobs.remove_partial()
    stays = ""
    try:
        sweep_blobs(resources.engine, resources.blobs)
    except (OSError, StoreError) as error:
        stays = f"; of deleted documents one stays: {error}"
    found = check_blobs(resources.engine, resources.blobs, read=deep)
    lost = {*found.missing, *found.damaged}
    detail = f"{len(found.missing)} missing, {len(found.damaged)} damaged"
    with reading(resources.engine) as session:
        for document in catalog.documents_from(session, lost):
            detail += f"; the source of {_named(resources, document)} is lost: ingest the file again"
    detail += "" if deep else " (--deep reads them all)"
    return [
        Finding("blobs", not lost and not stays, detail + stays),
        _check_orphans(resources, found.orphans, repair=repair),
    ]


def _check_orphans(resources: Resources, orphans: tuple[str, ...], *, repair: bool) -> Finding:
    """Blobs that no row names. Where the database is empty they all stay: it may be a new one in a lost one's place."""
    with reading(resources.engine) as session:
        homes = catalog.all_collections(session)
    detail = f"{len(orphans)} orphans"
    if orphans and not homes:
        detail += ", but the database is empty: none is deleted. If another one was lost, restore it from a backup"
        return Finding("orphans", False, detail)
    swept = 0
    if orphans and repair:
        try:
            swept = remove_orphans(resources.engine, resources.blobs, orphans)
        except (OSError, StoreError) as error:
            return Finding("orphans", False, f"{detail}; one stays: {error}")
    return Finding("orphans", not orphans or repair, detail, repaired=bool(swept))


def _ready(session: Session) -> list[Document]:
    """Every tenant's documents that readers see."""
    return [
        document
        for collection_id in catalog.all_collections(session)
        for document in catalog.list_documents(session, collection_id, state=DocumentState.READY)
    ]


def _named(resources: Resources, thing: Document | Collection) -> str:
    """As the operator knows it; every tenant's are looked at."""
    name = thing.title if isinstance(thing, Document) else thing.name
    return name if thing.tenant == resources.settings.tenant else f"{name} (tenant {thing.tenant})"


def check_caches(resources: Resources, *, deep: bool, repair: bool, listen: Listener) -> Finding:
    """Whether every ready document's caches can be opened, with `deep` whether they read back to their text."""
    with reading(resources.engine) as session:
        ready = _ready(session)
    bad = [(document, fault) for document in ready if (fault := fault_of(resources, document, deep=deep))]
    if not bad:
        return Finding("caches", True, f"{len(ready)} documents")
    detail = "; ".join(f"{_named(resources, document)}: {fault}" for document, fault in bad)
    if repair:
        detail += "; " + _make_anew(resources, [document for document, _ in bad], listen)
    repaired = repair and all(not fault_of(resources, document, deep=deep) for document, _ in bad)
    return Finding("caches", repaired, detail, repaired=repaired)


def fault_of(resources: Resources, document: Document, *, deep: bool) -> str | None:
    """What is wrong with a document's caches; None where they are sound, or were deleted with it meanwhile."""
    if _look_at(resources, document, deep=deep) is None:
        return None
    with reading(resources.engine) as session:
        if catalog.load_document(session, document.id) is None:
            return None
    return _look_at(resources, document, deep=deep)  # again: its files may have been put together meanwhile


def _look_at(resources: Resources, document: Document, *, deep: bool) -> str | None:
    with reading(resources.engine) as session:
        rows = catalog.document_caches(session, document.id)
    if not rows:
        return "it has no caches"
    with reading(resources.engine) as session:
        vectors = catalog.count_document_vectors(session, document.id, resources.embedder.fingerprint)
        passages = sum(len(chunk.passages) for chunk in catalog.list_chunks(session, document.id))
    if vectors < passages:
        return f"it has {vectors} of {passages} vectors of {resources.embedder.fingerprint}"
    try:
        for codec in dict.fromkeys(row.codec for row in rows):
            resources.codec(codec)
        for blob in dict.fromkeys(row.blob for row in rows):
            with CacheFile(resources.blobs.ranges(blob)) as file:
                mine = [row for row in rows if row.blob == blob]
                file.check_chunks({row.entry: row.expected for row in mine})
                caches = file.load_many([row.entry for row in mine])
            for cache in caches if deep else ():
                resources.codec(cache.codec).read([cache])
    except (CacheError, BlobError) as error:
        return str(error)
    return None


def _make_anew(resources: Resources, documents: Sequence[Document], listen: Listener) -> str:
    """Only from sound source bytes: without them what is left of the caches is all there is."""
    lost = {document.id: fault for document in documents if (fault := _source_fault(resources, document))}
    rebuilt = [document for document in documents if document.id not in lost]
    with transaction(resources.engine) as session:
        for document in rebuilt:
            catalog.rebuild_document(session, document.id)
    run_due_jobs(resources, listen)
    with reading(resources.engine) as session:
        now = [catalog.load_document(session, document.id) for document in rebuilt]
    failed = [(d, f": {d.error}") for d in now if d is not None and d.state is not DocumentState.READY]
    failed += [(d, f" was left as it is: its source is lost ({lost[d.id]})") for d in documents if d.id in lost]
    return f"{len(rebuilt)} made anew" + (
        f", but {'; '.join(_named(resources, d) + why for d, why in failed)}" if failed else ""
    )


def _source_fault(resources: Resources, document: Document) -> str | None:
    try:
        resources.blobs.verify(document.blob)
    except BlobError as error:
        return str(error)
    return None


def check_pages(resources: Resources, *, deep: bool, repair: bool, listen: Listener) -> list[Finding]:
    """Whether ready documents have the page caches that the settings name, no others, and whether they open."""
    return [
        _check_codec_pages(resources, name, deep=deep, repair=repair, listen=listen)
        for name in resources.settings.page_codecs
    ]


def _check_codec_pages(resources: Resources, name: str, *, deep: bool, repair: bool, listen: Listener) -> Finding:
    try:
        sizes = resources.page_sizes(name)
    except ModelError as error:
        return Finding("pages", False, str(error))
    faults = _page_faults(resources, sizes, deep=deep)
    if not faults:
        return Finding("pages", True, f"{name}, its pages carry {sizes[0].model}")
    detail = f"{name}: " + "; ".join(f"{_named(resources, document)}: {fault}" for document, fault in faults)
    if not repair:
        return Finding("pages", False, detail)
    with transaction(resources.engine) as session:
        for document, fault in faults:
            if fault not in (LACKING, LEFT_OVER):
                catalog.drop_page_caches(session, document.id, sizes[0].model)
            catalog.enqueue(session, document.id, JobKind.PAGES)
    run_due_jobs(resources, listen)
    left = _page_faults(resources, sizes, deep=deep)
    detail += "".join(f"; {_named(resources, d)} still has none: {_warning(resources, d)}" for d, _ in left)
    return Finding("pages", not left, detail, repaired=not left)


def _page_faults(resources: Resources, sizes: "Sequence[PageCodec]", *, deep: bool) -> list[tuple[Document, str]]:
    """Ready documents whose page caches of a model are not all there and sound, with the reason."""
    model, codecs = sizes[0].model, [size.fingerprint for size in sizes]
    lacking: set[str] = set()
    others: set[str] = set()
    with reading(resources.engine) as session:
        for home in catalog.all_collections(session):
            for codec in codecs:
                lacking.update(catalog.documents_without(session, codec, collection_id=home))
            others.update(catalog.documents_with_others(session, model, codecs, collection_id=home))
        ready = _ready(session)
        ids = [document.id for document in ready]
        rows = [row for codec in codecs for row in catalog.page_caches(session, ids, codec)]
    unsound: dict[str, str] = {}
    for blob, document_id in {row.blob: row.document_id for row in rows}.items():
        try:
            with PageFile(resources.blobs.ranges(blob)) as file:
                if deep:
                    file.verify()
        except (CacheError, BlobError) as error:
            unsound[document_id] = str(error)
    found = dict.fromkeys(others, LEFT_OVER) | dict.fromkeys(lacking, LACKING) | unsound
    with reading(resources.engine) as session:  # without those that were deleted meanwhile
        return [(document, found[document.id]) for document in catalog.live_documents(session, list(found))]


def _warning(resources: Resources, document: Document) -> str:
    with reading(resources.engine) as session:
        now = catalog.load_document(session, document.id)
    return "; ".join(now.warnings) if now is not None else "it was deleted"


def check_jobs(resources: Resources, *, repair: bool, listen: Listener) -> Finding:
    """Work that is due; `repair` does it."""
    with reading(resources.engine) as session:
        jobs = catalog.count_jobs(session, None)
    live = (JobState.QUEUED, JobState.RUNNING)
    due = sum(count for (_, state), count in jobs.items() if state in live)
    if due and repair:
        run_due_jobs(resources, listen)
    return Finding("jobs", True, f"{due} due" + (", done now" if due and repair else ""), repaired=bool(due and repair))


def check_full_text(resources: Resources, *, repair: bool) -> Finding:
    """Whether every passage can be found by its words; a restore that was stopped leaves some that cannot."""
    with reading(resources.engine) as session:
        missing = catalog.count_unworded(session)
    if not missing:
        return Finding("full text", True, "every passage is in it")
    detail = f"{missing} passages are not in it"
    if not repair:
        return Finding("full text", False, detail)
    faults = rebuild_full_text(resources, lambda step, done, due: None)
    return Finding("full text", not faults, "; ".join([detail, *faults]), repaired=not faults)


def check_indexes(resources: Resources, *, repair: bool) -> list[Finding]:
    """Whether collections' indexes cover their rows; a damaged file is set aside and made anew by the look itself."""
    with reading(resources.engine) as session:
        homes = catalog.list_collections(session, None)
    findings = []
    for home in homes:
        rebuilt = False
        for index in resources.indexes(home.id).every:
            index.refresh()
            rebuilt |= repair and index.compact(force=True)
        detail = _named(resources, home) + (", rebuilt" if rebuilt else "")
        findings.append(Finding("vectors", True, detail, repaired=rebuilt))
    return findings
