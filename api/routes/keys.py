"""Owns the routes of API keys."""

from fastapi import APIRouter

from api.access import Opened, TenantAdmin
from api.schemas_admin import KeyIn, KeyList, KeyOut
from store import catalog
from store.database import reading, transaction

router = APIRouter(prefix="/v1/keys", tags=["keys"])


@router.post("", status_code=201, summary="Make a key")
def make(resources: Opened, caller: TenantAdmin, body: KeyIn) -> KeyOut:
    """Makes a key and shows it, this once."""
    with transaction(resources.engine) as session:
        row, key = catalog.create_key(
            session,
            caller.tenant,
            name=body.name,
            scopes=body.scopes,
            collections=body.collections,
            expires_at=None if body.expires_at is None else body.expires_at.timestamp(),
            requests_per_minute=body.requests_per_minute,
            bytes_per_day=body.bytes_per_day,
        )
    return KeyOut.of(row, key=key)


@router.get("", summary="List keys")
def list_keys(resources: Opened, caller: TenantAdmin) -> KeyList:
    """The tenant's keys, without the keys themselves."""
    with reading(resources.engine) as session:
        return KeyList(items=[KeyOut.of(row) for row in catalog.list_keys(session, caller.tenant)])


@router.delete("/{key_id}", status_code=204, summary="Revoke a key")
def revoke(resources: Opened, caller: TenantAdmin, key_id: str) -> None:
    """Ends a key at once."""
    with transaction(resources.engine) as session:
        catalog.revoke_key(session, caller.tenant, key_id)
