"""Owns the queries about collections and about the store as a whole."""

import time
from collections import Counter
from collections.abc import Iterable
from uuid import uuid4

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from store.catalog.documents import discard_blobs_of, figures_of
from store.catalog.upsert import add_new
from store.errors import NotFound
from store.lexical import forget_collection
from store.locks import arriving, lock, publishing, share
from store.models import Collection, Document, DocumentState, Job, JobKind, JobState, Vector
from store.types import CacheFigures, CollectionFigures, ReadyDocuments, StoreStats

_NAMED = select(Collection).where(Collection.tenant == bindparam("tenant"), Collection.name == bindparam("name"))


def ensure_collection(session: Session, tenant: str, name: str) -> Collection:
    """The tenant's collection of that name, made where there is none; it is not deleted before the transaction ends."""
    named = {"tenant": tenant, "name": name}
    share(session, arriving(tenant, name))
    while True:  # until nobody else makes it at the same moment
        found = session.scalar(_NAMED, named)
        if found is not None:
            return found
        added = add_new(session, Collection, {"id": uuid4().hex, **named, "created_at": time.time()})
        if added is not None:
            return added


def find_collection(session: Session, tenant: str, name: str) -> Collection:
    """The tenant's collection of that name. Raises: NotFound."""
    found = session.scalar(_NAMED, {"tenant": tenant, "name": name})
    if found is None:
        names = [collection.name for collection in list_collections(session, tenant)]
        raise NotFound("collection", name, f"There are: {', '.join(names)}." if names else "Ingest something first.")
    return found


def list_collections(session: Session, tenant: str | None) -> list[Collection]:
    """The tenant's collections by name; for None every tenant's."""
    query = select(Collection).order_by(Collection.tenant, Collection.name)
    return list(session.scalars(query if tenant is None else query.where(Collection.tenant == tenant)))


def all_collections(session: Session) -> list[str]:
    """The ids of every tenant's collections."""
    return list(session.scalars(select(Collection.id).order_by(Collection.id)))


def collection_figures(session: Session, collection_id: str) -> tuple[CacheFigures, ...]:
    """The caches of a collection's ready documents, added up, one item per codec."""
    return figures_of(session, Document.collection_id == collection_id, Document.state == "ready").get("", ())


def count_documents(session: Session, collection_id: str) -> tuple[int, ReadyDocuments]:
    """How many documents a collection has, in any state, and which of them are ready."""
    query = select(Document.state, func.count(), func.max(Document.finished_at))
    query = query.where(Document.collection_id == collection_id).group_by(Document.state)
    states = {state: ReadyDocuments(count, last_at) for state, count, last_at in session.execute(query)}
    return sum(each.count for each in states.values()), states.get(DocumentState.READY, ReadyDocuments(0, None))


def count_ready(session: Session, collection_id: str) -> int:
    """How many documents of a collection readers see."""
    query = select(func.count()).where(Document.collection_id == collection_id, Document.state == DocumentState.READY)
    return session.scalars(query).one()


def count_collection(session: Session, collection_id: str) -> CollectionFigures:
    """What a collection holds: documents in any state, and the caches of ready ones. Reads every cache row of it."""
    documents, ready = count_documents(session, collection_id)
    figures = collection_figures(session, collection_id)
    return CollectionFigures(
        documents=documents,
        ready=ready.count,
        text_tokens=sum(item.text_tokens for item in figures if item.exact),
        vision_tokens=sum(item.vision_tokens for item in figures if item.exact),
        cache_bytes=sum(item.cache_bytes for item in figures),
    )


def delete_collection(session: Session, collection_id: str) -> None:
    """Takes the collection and all that is in it away. Its blobs follow with `sweep_blobs` after commit."""
    lock(session, [publishing(collection_id)])
    home = session.get(Collection, collection_id)
    if home is None:
        return
    lock(session, [arriving(home.tenant, home.name)])
    discard_blobs_of(session, Document.collection_id == collection_id)
    forget_collection(session, collection_id)
    session.execute(delete(Collection).where(Collection.id == collection_id))


def count_jobs(
    session: Session, tenant: str | None, collections: Iterable[str] | None = None
) -> dict[tuple[JobKind, JobState], int]:
    """The tenant's jobs by kind and state (for None every tenant's); with `collections` (names) only of those."""
    homes = select(Collection.id)
    if tenant is not None:
        homes = homes.where(Collection.tenant == tenant)
    if collections is not None:
        homes = homes.where(Collection.name.in_(list(collections)))
    # by collection, too: in the order of an index, which costs a fifth of a sort
    query = select(Job.kind, Job.state, func.count()).where(Job.collection_id.in_(homes))
    counts: Counter[tuple[JobKind, JobState]] = Counter()
    for kind, state, count in session.execute(query.group_by(Job.collection_id, Job.state, Job.kind)):
        counts[kind, state] += count
    return dict(counts)


def store_stats(session: Session, tenant: str) -> StoreStats:
    """What is there and what is due, for one tenant."""
    homes = select(Collection.id).where(Collection.tenant == tenant)
    query = select(Document.state, func.count()).where(Document.collection_id.in_(homes))
    documents: Counter[DocumentState] = Counter()
    for state, count in session.execute(query.group_by(Document.collection_id, Document.state)):
        documents[state] += count
    return StoreStats(
        documents=dict(documents),
        vectors=session.scalars(select(func.count()).where(Vector.collection_id.in_(homes))).one(),
        jobs=count_jobs(session, tenant),
    )
