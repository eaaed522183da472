"""Owns who may do what over HTTP: a key to its caller, scopes, grants for collections."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import AccessDenied, NotAuthenticated
from api.quotas import Quotas
from store import catalog
from store.database import reading, transaction
from store.errors import NotFound
from store.models import ApiKey, Collection, Document
from store.scopes import Scope
from workers.resources import Resources

bearer = HTTPBearer(auto_error=False, description="An API key, `pk_...`")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what they may do."""

    tenant: str
    scopes: frozenset[Scope]
    collections: frozenset[str] | None = None  # names; None: all of the tenant's
    key_id: str | None = None  # None: nobody needs a key here
    requests_per_minute: int | None = None
    bytes_per_day: int | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope, or one that includes it, was given."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def reaches(self, collection: str) -> bool:
        """Whether the collection is among the granted ones."""
        return self.collections is None or collection in self.collections

    def require(self, collection: str) -> str:
        """The name of a collection that the caller may touch. Raises AccessDenied."""
        if not self.reaches(collection):
            raise AccessDenied(f"This key has no grant for the collection {collection!r}.")
        return collection


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resources_of(request: Request) -> Resources:
    """What the application opened at its start."""
    resources = request.app.state.resources
    assert isinstance(resources, Resources)
    return resources


Opened = Annotated[Resources, Depends(resources_of)]


def identify(
    request: Request,
    resources: Opened,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """The caller behind a request. Raises NotAuthenticated, QuotaExceeded."""
    caller = _keyed(resources, credentials.credentials) if credentials else _keyless(request, resources)
    quotas = request.app.state.quotas
    assert isinstance(quotas, Quotas)
    quotas.count_request(caller.key_id, caller.requests_per_minute)
    return caller


def _keyed(resources: Resources, secret: str) -> Caller:
    with reading(resources.engine) as session:
        key = catalog.find_key(session, secret)
    if key is None:
        raise NotAuthenticated
    now = time.time()
    if key.last_used_at is None or now - key.last_used_at > catalog.KEY_USE_NOTED_EVERY:
        with transaction(resources.engine) as session:
            catalog.note_use(session, key.id, now=now)
    return caller_of(key)


def caller_of(key: ApiKey) -> Caller:
    """What a key's row allows."""
    return Caller(
        tenant=key.tenant,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        collections=None if key.collections is None else frozenset(key.collections),
        key_id=key.id,
        requests_per_minute=key.requests_per_minute,
        bytes_per_day=key.bytes_per_day,
    )


def _keyless(request: Request, resources: Resources) -> Caller:
    """Without any key in the database, this machine may do everything; others never come this far (see `serve`)."""
    client = request.client.host if request.client else ""
    if not is_loopback(client) or not is_loopback(resources.settings.host):
        raise NotAuthenticated
    with reading(resources.engine) as session:
        if catalog.has_keys(session):
            raise NotAuthenticated
    return Caller(resources.settings.tenant, frozenset(Scope))


def needs(scope: Scope) -> Callable[[Caller], Caller]:
    """The dependency of a route that needs a scope."""

    def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not caller.may(scope):
            raise AccessDenied(f"This needs a key with the scope {scope.value!r}.")
        return caller

    return check


Reader = Annotated[Caller, Depends(needs(Scope.READ))]
Ingester = Annotated[Caller, Depends(needs(Scope.INGEST))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]


def administer(caller: Admin) -> Caller:
    """The dependency of routes about the tenant as a whole: a key for some collections only may not use them."""
    if caller.collections is not None:
        raise AccessDenied("This needs an admin's key that is not limited to collections.")
    return caller


TenantAdmin = Annotated[Caller, Depends(administer)]


def find_home(resources: Resources, caller: Caller, name: str) -> Collection:
    """A collection that the caller may touch. Raises AccessDenied, NotFound."""
    with reading(resources.engine) as session:
        return catalog.find_collection(session, caller.tenant, caller.require(name))


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document and the name of its collection."""

    document: Document
    collection: str


def find_document(resources: Resources, caller: Caller, document_id: str) -> FoundDocument:
    """A document that the caller may touch. Raises NotFound, also for one of a collection without a grant."""
    with reading(resources.engine) as session:
        document = catalog.find_document(session, caller.tenant, document_id)
        home = session.get_one(Collection, document.collection_id)
    if not caller.reaches(home.name):
        raise NotFound("document", document_id, "List the documents to see their ids.")
    return FoundDocument(document, home.name)
