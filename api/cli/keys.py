"""Owns the commands about API keys: create, ls, revoke."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from api.cli.documents import AsJson, checked_name, open_resources
from api.cli.output import Output, usage
from api.errors import AmbiguousName
from store.scopes import Scope

app = typer.Typer(no_args_is_help=True, help="Manage the API keys of a tenant (PERCEL_TENANT).")

DAY = 86_400.0
SCOPES = (
    "read: list, read, search and ask. ingest: upload and delete documents, no more. admin: everything. "
    "Repeat for more; default: read."
)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, for people.")],
    scope: Annotated[list[Scope] | None, typer.Option(help=SCOPES)] = None,
    collection: Annotated[
        list[str] | None, typer.Option("--collection", "-c", help="Only these collections; repeat for more.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(help="Expires after so many days; default: never.", min=1, max=36_500)
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Its own rate limit.", min=1, max=2**31 - 1)] = None,
    bytes_per_day: Annotated[int | None, typer.Option(help="Its own upload quota.", min=1, max=2**63 - 1)] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a key and prints it, this once: only its sha256 is stored."""
    from store import catalog
    from store.database import transaction

    output = Output(as_json)
    if not name.strip():
        raise usage("the key's name is empty")
    scopes = scope or [Scope.READ]
    granted = None if collection is None else [checked_name(each) for each in collection]
    with open_resources() as resources, transaction(resources.engine) as session:
        row, key = catalog.create_key(
            session,
            resources.settings.tenant,
            name=name,
            scopes=scopes,
            collections=granted,
            expires_at=None if days is None else time.time() + days * DAY,
            requests_per_minute=requests_per_minute,
            bytes_per_day=bytes_per_day,
        )
    output.document({"id": row.id, "name": name, "scopes": row.scopes, "collections": row.collections, "key": key})
    output.console.print(f"{key}\n[dim]Keep it now: it is not stored and cannot be shown again.[/]", soft_wrap=True)


@app.command("ls")
def list_(as_json: AsJson = False) -> None:
    """Lists the tenant's keys."""
    from store import catalog
    from store.database import reading

    output = Output(as_json)
    with open_resources() as resources, reading(resources.engine) as session:
        keys = catalog.list_keys(session, resources.settings.tenant)
    rows = [
        (key.id[:8], key.name, f"{key.prefix}…", ", ".join(key.scopes), ", ".join(key.collections or ["all"]), state)
        for key in keys
        for state in [_state(key.expires_at, key.revoked_at)]
    ]
    output.table(("id", "name", "key", "scopes", "collections", "state"), rows)
    columns = ("id", "name", "prefix", "scopes", "collections", "created_at", "expires_at", "revoked_at")
    output.document({"keys": [{column: getattr(key, column) for column in columns} for key in keys]})


def _state(expires_at: float | None, revoked_at: float | None) -> str:
    if revoked_at is not None:
        return "revoked"
    if expires_at is None:
        return "valid"
    day = datetime.fromtimestamp(expires_at, UTC).date().isoformat()
    return f"expired {day}" if expires_at <= time.time() else f"until {day}"


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="An id, the beginning of one, or a name.")], as_json: AsJson = False
) -> None:
    """Ends a key at once."""
    from store import catalog
    from store.database import transaction

    output = Output(as_json)
    with open_resources() as resources, transaction(resources.engine) as session:
        tenant = resources.settings.tenant
        valid = [row for row in catalog.list_keys(session, tenant) if row.revoked_at is None]
        found = [row.id for row in valid if key in (row.id, row.name) or (len(key) >= 6 and row.id.startswith(key))]
        if len(found) > 1:
            raise AmbiguousName(f"{key!r} is {len(found)} keys; give an id: {', '.join(found)}")
        row = catalog.revoke_key(session, tenant, found[0] if found else key)
    output.document({"revoked": row.id})
    output.console.print(f"revoked {row.name} ({row.id[:8]})")
