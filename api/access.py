"""Owns who may do what over HTTP: a request to its caller, scopes, grants for collections."""

import ipaddress
import logging
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from api.callers import Caller, KnownKeys
from api.errors import AccessDenied, NotAuthenticated, QuotaExceeded
from api.problems import problem_of
from api.quotas import Quotas
from api.strict import refuse_other_parameters
from store import catalog
from store.database import reading, transaction
from store.errors import NotFound, StoreError
from store.models import Collection, Document
from store.scopes import Scope
from workers.resources import Resources
from workers.settings import Settings

log = logging.getLogger(__name__)

_ALL_SCOPES = frozenset(Scope)  # made once: to go through an enumeration takes Python a while

bearer = HTTPBearer(auto_error=False, description="An API key, `pk_...`")


@lru_cache(maxsize=256)  # of every request without a key three are asked, mostly the same
def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def resources_of(request: Request) -> Resources:
    """What the application opened at its start. A coroutine: a function would cost a thread's turn."""
    resources = request.app.state.resources
    assert isinstance(resources, Resources)
    return resources


Opened = Annotated[Resources, Depends(resources_of)]


async def identify(request: Request) -> Caller:
    """The caller behind a request. Raises NotAuthenticated, QuotaExceeded."""
    before = getattr(request.state, "caller", None)
    if isinstance(before, Caller):  # `KeyFirst` has looked
        return before
    state = request.app.state
    keys, quotas, resources = state.keys, state.quotas, state.resources
    assert isinstance(keys, KnownKeys)
    assert isinstance(quotas, Quotas)
    assert isinstance(resources, Resources)
    credentials = await bearer(request)
    known = await keys(None if credentials is None else credentials.credentials)
    caller = known.caller
    if caller is None:
        if known.had_keys or not is_local(request, resources.settings):
            raise NotAuthenticated
        return Caller(resources.settings.tenant, _ALL_SCOPES)
    if quotas.shared:
        await run_in_threadpool(quotas.count_request, caller.key_id, caller.requests_per_minute)
    else:
        quotas.count_request(caller.key_id, caller.requests_per_minute)
    if caller.key_id is not None and known.is_use_due:
        await run_in_threadpool(_note_use, resources, caller.key_id)
    return caller


class KeyFirst:
    """ASGI middleware: who has no valid key is told so before the body is read, which may be large and is spooled."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH") and scope["path"].startswith("/v1/"):
            request = Request(scope)
            try:
                request.state.caller = await identify(request)
            except (NotAuthenticated, QuotaExceeded) as error:
                await problem_of(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _note_use(resources: Resources, key_id: str) -> None:
    try:
        with transaction(resources.engine) as session:
            catalog.note_use(session, key_id, now=time.time())
    except (StoreError, DBAPIError):  # a full disk, say: no reason to refuse a reader
        log.warning("use of a key not noted", exc_info=True)


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
    if not is_loopback(client) or not is_loopback(settings.host):
        return False
    origin = request.headers.get("origin", "")
    try:
        own = not origin or urlsplit(origin).netloc == request.url.netloc
    except ValueError:  # it is no address at all
        return False
    return own and is_loopback(request.url.hostname or "")


class Needs(SecurityBase):
    """The dependency of a route that needs a scope: its caller, who has it.

    To FastAPI it is the security scheme itself: dependencies of its own would cost each request more than the check.
    """

    def __init__(self, scope: Scope) -> None:
        self.model, self.scheme_name = bearer.model, bearer.scheme_name
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:
        """Raises NotAuthenticated, QuotaExceeded, AccessDenied; then RequestValidationError for other parameters."""
        caller = await identify(request)
        if not caller.may(self._scope):
            raise AccessDenied(f"This needs a key with the scope {self._scope.value!r}.")
        refuse_other_parameters(request)  # here, so that a stranger is told no more than that
        return caller


Reader = Annotated[Caller, Depends(Needs(Scope.READ))]
Ingester = Annotated[Caller, Depends(Needs(Scope.INGEST))]
Admin = Annotated[Caller, Depends(Needs(Scope.ADMIN))]


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
