"""Owns who may do what over HTTP: a key to its caller, scopes, grants for collections."""

import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from api.errors import AccessDenied, NotAuthenticated, QuotaExceeded
from api.gathered import Gathered
from api.problems import problem_of
from api.quotas import Quotas
from store import catalog
from store.database import reading, transaction
from store.errors import NotFound, StoreError
from store.models import ApiKey, Collection, Document
from store.scopes import Scope
from workers.resources import Resources
from workers.settings import Settings

log = logging.getLogger(__name__)

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


async def resources_of(request: Request) -> Resources:
    """What the application opened at its start. Like `needs`, a coroutine: a function would cost a thread's turn."""
    return _resources_of(request)


def _resources_of(request: Request) -> Resources:
    resources = request.app.state.resources
    assert isinstance(resources, Resources)
    return resources


Opened = Annotated[Resources, Depends(resources_of)]


async def identify(
    request: Request,
    resources: Opened,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    """The caller behind a request. Raises NotAuthenticated, QuotaExceeded."""
    known = getattr(request.state, "caller", None)
    if isinstance(known, Caller):  # `KeyFirst` has looked
        return known
    keys, quotas = request.app.state.keys, request.app.state.quotas
    assert isinstance(keys, Gathered)
    assert isinstance(quotas, Quotas)
    found = await keys(None if credentials is None else credentials.credentials)
    assert isinstance(found, KnownKey)
    if found.key is not None:
        caller = caller_of(found.key)
        if quotas.shared:
            await run_in_threadpool(quotas.count_request, caller.key_id, caller.requests_per_minute)
        else:
            quotas.count_request(caller.key_id, caller.requests_per_minute)
        if _is_use_due(found.key):
            await run_in_threadpool(_note_use, resources, found.key.id)
        return caller
    if found.had_keys or not is_local(request, resources.settings):
        raise NotAuthenticated
    return Caller(resources.settings.tenant, frozenset(Scope))


class KeyFirst:
    """ASGI middleware: who has no valid key is told so before the body is read, which may be large and is spooled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH") and scope["path"].startswith("/v1/"):
            request = Request(scope)
            try:
                credentials = await bearer(request)
                request.state.caller = await identify(request, _resources_of(request), credentials)
            except (NotAuthenticated, QuotaExceeded) as error:
                await problem_of(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is known of a request's key."""

    key: ApiKey | None  # None: there is none, or it is not valid
    had_keys: bool  # whether any key was ever made, usable or not


def look_up_keys(resources: Resources, secrets: Sequence[str | None]) -> list[KnownKey]:
    """What is known of each key that requests bring; of those that come at once in one look."""
    with reading(resources.engine) as session:
        had_keys = catalog.had_keys(session)
        rows = {secret: catalog.find_key(session, secret) for secret in set(secrets) if secret is not None}
    return [KnownKey(None if secret is None else rows[secret], had_keys) for secret in secrets]


def _is_use_due(key: ApiKey) -> bool:
    return key.last_used_at is None or time.time() - key.last_used_at > catalog.KEY_USE_NOTED_EVERY


def _note_use(resources: Resources, key_id: str) -> None:
    try:
        with transaction(resources.engine) as session:
            catalog.note_use(session, key_id, now=time.time())
    except (StoreError, DBAPIError):  # a full disk, say: no reason to refuse a reader
        log.warning("use of a key not noted", exc_info=True)


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


def is_private(request: Request, resources: Resources) -> bool:
    """Whether nobody but this machine's user can ask, so that no key is needed.

    Never once there was a key: that the last one was revoked must not open the service.
    """
    if not is_local(request, resources.settings):
        return False
    with reading(resources.engine) as session:
        return not catalog.had_keys(session)


def is_local(request: Request, settings: Settings) -> bool:
    """Whether a request comes from this machine to a service that only this machine reaches.

    And not from a page of another site in its user's browser: it says its own origin, or comes under a name that is not
    this machine's.
    """
    client = request.client.host if request.client else ""
    origin = request.headers.get("origin")
    if not is_loopback(client) or not is_loopback(settings.host):
        return False
    return is_loopback(request.url.hostname or "") and not (origin and urlsplit(origin).netloc != request.url.netloc)


def needs(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """The dependency of a route that needs a scope."""

    async def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not caller.may(scope):
            raise AccessDenied(f"This needs a key with the scope {scope.value!r}.")
        return caller

    return check


Reader = Annotated[Caller, Depends(needs(Scope.READ))]
Ingester = Annotated[Caller, Depends(needs(Scope.INGEST))]
Admin = Annotated[Caller, Depends(needs(Scope.ADMIN))]


async def administer(caller: Admin) -> Caller:
    """The dependency of routes about the tenant as a whole: a key for some collections only may not use them."""
    if caller.collections is not None:
        raise AccessDenied("This needs an admin's key that is not limited to collections.")
    return caller


TenantAdmin = Annotated[Caller, Depends(administer)]


def find_home(resources: Resources, caller: Caller, name: str) -> Collection:
    """A collection that the caller may touch. Raises AccessDenied, NotFound."""
    return named_home(resources, caller.tenant, caller.require(name))


def named_home(resources: Resources, tenant: str, name: str) -> Collection:
    """A tenant's collection, for a caller who may touch it. Raises NotFound."""
    try:
        with reading(resources.engine) as session:
            return catalog.find_collection(session, tenant, name)
    except NotFound:  # what else there is is not every key's to know
        raise NotFound("collection", name, "List the collections to see which there are.") from None


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
