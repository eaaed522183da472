"""Owns callers: who asks with a key and what it allows, looked up for requests that come at once, and remembered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from api.errors import AccessDenied
from api.gathered import Gathered
from store import catalog
from store.commits import Commits, Remembered
from store.database import reading
from store.models import ApiKey
from store.scopes import Scope
from workers.resources import Resources


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


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What is known of a request's key."""

    caller: Caller | None  # None: there is no key, or it is not valid
    had_keys: bool  # whether any key was ever made, usable or not
    expires_at: float | None = None
    last_used_at: float | None = None

    @property
    def is_use_due(self) -> bool:
        """Whether it is time to note that the key is used."""
        return self.last_used_at is None or time.time() - self.last_used_at > catalog.KEY_USE_NOTED_EVERY


def look_up_keys(resources: Resources, secrets: Sequence[str | None]) -> list[KnownKey]:
    """What is known of each key that requests bring; of those that come at once in one look."""
    with reading(resources.engine) as session:
        had_keys = catalog.had_keys(session)
        rows = {secret: catalog.find_key(session, secret) for secret in set(secrets) if secret is not None}
    known = {
        secret: KnownKey(caller_of(row), had_keys, row.expires_at, row.last_used_at)
        for secret, row in rows.items()
        if row is not None
    }
    return [
        KnownKey(None, had_keys) if secret is None else known.get(secret, KnownKey(None, had_keys))
        for secret in secrets
    ]


class KnownKeys:
    """What is known of keys, for one event loop; close it at the end.

    What a look-up told holds until anything is committed to the database, by whatever process: a key that is revoked
    is refused from that commit on. Keys that are not valid are looked up each time, or whoever makes some up could
    fill the memory.
    """

    def __init__(self, resources: Resources) -> None:
        self._commits = Commits(resources.engine)
        self._look_up = Gathered(partial(look_up_keys, resources))
        self._remembered: Remembered[bytes | None, KnownKey] = Remembered()  # by the key's digest

    async def __call__(self, secret: str | None) -> KnownKey:
        """What is known of a key, or of who brings none."""
        name = None if secret is None else sha256(secret.encode()).digest()
        mark = self._commits.mark()
        known = self._remembered.recall(name, mark)
        if known is None or (known.expires_at is not None and known.expires_at <= time.time()):
            known = await self._look_up(secret)
            if secret is None or known.caller is not None:
                self._remembered.keep(name, known, mark)
        return known

    def close(self) -> None:
        """Lets go of what it holds open."""
        self._commits.close()
