"""Owns the routes of webhooks."""

from fastapi import APIRouter

from api.access import Opened, TenantAdmin, find_home
from api.schemas_admin import WebhookIn, WebhookList, WebhookOut
from store import catalog
from store.database import reading, transaction
from workers.outbound import check_url

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201, summary="Add a webhook")
def add(resources: Opened, caller: TenantAdmin, body: WebhookIn) -> WebhookOut:
    """Tells a URL when documents become ready or fail. The secret that signs each message is shown this once.

    A message is a POST of JSON: `event` (`document.ready` or `document.failed`, also in the header `Percel-Event`), its
    `id` (also in `Percel-Delivery`), and `data` about the document. `Percel-Signature` is `sha256=` and, in hex, the
    HMAC-SHA256 under the secret of `Percel-Timestamp` (seconds since 1970), a full stop, and the body as it came. What
    is not answered with 2xx is sent again, eight times in all over ten minutes; one that comes twice has the same `id`.
    Nothing is sent into private networks, this machine included, unless the operator sets PERCEL_ALLOW_PRIVATE_URLS.
    """
    home = None if body.collection is None else find_home(resources, caller, body.collection)
    check_url(body.url)  # one that no message could be sent to is said now, not by a message that never comes
    with transaction(resources.engine) as session:
        collection_id = None if home is None else home.id
        hook = catalog.add_webhook(session, caller.tenant, url=body.url, collection_id=collection_id)
    return WebhookOut.of(hook, collection=body.collection, secret=hook.secret)


@router.get("", summary="List webhooks")
def list_webhooks(resources: Opened, caller: TenantAdmin) -> WebhookList:
    """The tenant's webhooks, without their secrets."""
    with reading(resources.engine) as session:
        names = {home.id: home.name for home in catalog.list_collections(session, caller.tenant)}
        hooks = catalog.list_webhooks(session, caller.tenant)
    return WebhookList(items=[WebhookOut.of(hook, collection=names.get(hook.collection_id or "")) for hook in hooks])


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook")
def remove(resources: Opened, caller: TenantAdmin, webhook_id: str) -> None:
    """Takes a webhook away, with what was due to it."""
    with transaction(resources.engine) as session:
        catalog.remove_webhook(session, caller.tenant, webhook_id)
