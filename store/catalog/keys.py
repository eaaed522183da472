"""Owns the queries about API keys. What is stored of a key is its sha256: whoever reads the table has no key."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.models import ApiKey
from store.scopes import Scope

_PREFIX = "pk_"  # so that a key is known as one, by people and by scanners for leaked secrets
_SHOWN = 8  # characters of a key that lists show
_HAD = text("SELECT EXISTS (SELECT 1 FROM api_key)")  # asked with every look for keys
KEY_USE_NOTED_EVERY = 60.0  # seconds: a busy key is not written at every request


def create_key(
    session: Session,
    tenant: str,
    *,
    name: str,
    scopes: Sequence[Scope],
    collections: Sequence[str] | None = None,
    expires_at: float | None = None,
    requests_per_minute: int | None = None,
    bytes_per_day: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key of the tenant: its row, and the key itself, which nobody can show again."""
    secret = _PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=uuid4().hex,
        tenant=tenant,
        name=name,
        prefix=secret[:_SHOWN],
        sha256=_digest(secret),
        scopes=[str(scope) for scope in scopes],
        collections=None if collections is None else list(collections),
        requests_per_minute=requests_per_minute,
        bytes_per_day=bytes_per_day,
        created_at=time.time(),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return row, secret


def find_key(session: Session, secret: str, *, now: float | None = None) -> ApiKey | None:
    """The key's row; None for one that is unknown, expired or revoked: a caller learns no difference."""
    now = time.time() if now is None else now
    digest = _digest(secret)
    row = session.scalar(select(ApiKey).where(ApiKey.sha256 == digest))
    # Found by its digest, so nothing of the key can be learnt from the time the search takes; compared once more
    # in constant time, so that this does not hang on how a database compares.
    if row is None or not hmac.compare_digest(row.sha256, digest):
        return None
    expired = row.expires_at is not None and row.expires_at <= now
    return None if expired or row.revoked_at is not None else row


def note_use(session: Session, key_id: str, *, now: float) -> None:
    """Remembers when a key was last used, to the minute."""
    stale = (ApiKey.last_used_at.is_(None)) | (ApiKey.last_used_at < now - KEY_USE_NOTED_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))


def list_keys(session: Session, tenant: str) -> list[ApiKey]:
    """The tenant's keys in the order they were made, revoked ones too."""
    return list(session.scalars(select(ApiKey).where(ApiKey.tenant == tenant).order_by(ApiKey.created_at, ApiKey.id)))


def revoke_key(session: Session, tenant: str, key_id: str) -> ApiKey:
    """Ends a key at once. Raises NotFound."""
    key = session.scalar(select(ApiKey).where(ApiKey.tenant == tenant, ApiKey.id == key_id))
    if key is None:
        raise NotFound("key", key_id, "List the keys to see their ids.")
    key.revoked_at = key.revoked_at or time.time()
    session.flush()
    return key


def has_keys(session: Session) -> bool:
    """Whether any key could be used now: without one nobody but this machine may call."""
    usable = ApiKey.revoked_at.is_(None) & (ApiKey.expires_at.is_(None) | (ApiKey.expires_at > time.time()))
    return session.scalars(select(ApiKey.id).where(usable).limit(1)).first() is not None


def had_keys(session: Session) -> bool:
    """Whether any key was ever made, usable or not."""
    return bool(session.connection().scalar(_HAD))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
