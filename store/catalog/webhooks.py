"""Owns the queries about webhooks and what is due to be sent to them. `now` is seconds since 1970, for tests."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from store.catalog import clock
from store.errors import NotFound
from store.models import Delivery, DeliveryState, Document, Webhook

MAX_ATTEMPTS = 8
_FIRST_DELAY = 5.0  # seconds before the second attempt; doubled each time: the eighth comes after ten minutes
_SENDING = 600.0  # an attempt that has not ended by then counts as lost; the whole batch may be slow receivers
_KEPT = 7 * 86_400.0  # seconds that a settled message stays, for who looks into it


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A message to send now."""

    id: int
    webhook_id: str
    attempt: int  # from 1
    url: str
    secret: str
    event: str
    body: dict[str, object]


def add_webhook(session: Session, tenant: str, *, url: str, collection_id: str | None = None) -> Webhook:
    """Registers an address; its secret signs what is sent."""
    hook = Webhook(
        id=uuid4().hex,
        tenant=tenant,
        collection_id=collection_id,
        url=url,
        secret=f"whsec_{secrets.token_urlsafe(32)}",
        created_at=time.time(),
    )
    session.add(hook)
    session.flush()
    return hook


def list_webhooks(session: Session, tenant: str) -> list[Webhook]:
    """The tenant's webhooks in the order they were made."""
    return list(session.scalars(select(Webhook).where(Webhook.tenant == tenant).order_by(Webhook.created_at)))


def remove_webhook(session: Session, tenant: str, webhook_id: str) -> None:
    """Takes a webhook and what was due to it away. Raises NotFound."""
    hook = session.scalar(select(Webhook).where(Webhook.tenant == tenant, Webhook.id == webhook_id))
    if hook is None:
        raise NotFound("webhook", webhook_id, "List the webhooks to see their ids.")
    session.delete(hook)
    session.flush()


def tell_webhooks(session: Session, document: Document) -> None:
    """Makes the end of a document's journey due at every webhook that is about it; in the transaction of that end."""
    hooks = select(Webhook).where(
        Webhook.tenant == document.tenant,
        or_(Webhook.collection_id.is_(None), Webhook.collection_id == document.collection_id),
    )
    now = clock.now(session)
    body: dict[str, object] = {
        "document_id": document.id,
        "external_id": document.external_id,
        "title": document.title,
        "state": document.state.value,
        "error": document.error,
        "chunks": document.chunk_count,
        "text_tokens": document.text_tokens,
        "metadata": document.document_metadata,
    }
    session.add_all(
        Delivery(
            webhook_id=hook.id,
            event=f"document.{document.state.value}",
            body=body,
            state=DeliveryState.QUEUED,
            attempts=0,
            not_before=now,
            created_at=now,
        )
        for hook in session.scalars(hooks)
    )
    session.flush()


def claim_deliveries(session: Session, *, limit: int = 20, now: float | None = None) -> list[DueDelivery]:
    """Messages to send now, their attempt counted; one whose sender dies is due again after ten minutes.

    Every webhook with due messages has its share: one that many wait for, as it is away, does not hold up the others.
    """
    now = clock.now(session) if now is None else now
    waiting = select(Delivery.webhook_id).where(*_is_due(now)).group_by(Delivery.webhook_id)
    hooks = session.scalars(waiting.order_by(func.min(Delivery.not_before), Delivery.webhook_id).limit(limit)).all()
    claimed: list[DueDelivery] = []
    for hook_id in hooks:
        claimed += _claim(session, hook_id, now, limit // len(hooks))
    session.flush()
    return claimed


def _claim(session: Session, hook_id: str, now: float, limit: int) -> Iterator[DueDelivery]:
    due = select(Delivery, Webhook).join(Webhook, Webhook.id == Delivery.webhook_id)
    due = due.where(*_is_due(now), Delivery.webhook_id == hook_id).order_by(Delivery.not_before, Delivery.id)
    for delivery, hook in session.execute(due.limit(limit).with_for_update(skip_locked=True, of=Delivery)).all():
        delivery.attempts += 1
        delivery.not_before = now + _SENDING
        yield DueDelivery(delivery.id, hook.id, delivery.attempts, hook.url, hook.secret, delivery.event, delivery.body)


def has_due_deliveries(session: Session) -> bool:
    """Whether `claim_deliveries` would find any, for now: only the claim itself decides."""
    return session.scalars(select(Delivery.id).where(*_is_due(clock.now(session))).limit(1)).first() is not None


def _is_due(now: float) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Delivery.state == DeliveryState.QUEUED, Delivery.not_before <= now


def forget_deliveries(session: Session, *, now: float | None = None) -> None:
    """Deletes messages that were settled a week ago: they hold titles and metadata."""
    now = clock.now(session) if now is None else now
    settled = Delivery.state.in_((DeliveryState.DELIVERED, DeliveryState.DEAD))
    session.execute(delete(Delivery).where(settled, Delivery.created_at < now - _KEPT))


def settle_delivery(session: Session, delivery: DueDelivery, error: str | None, *, now: float | None = None) -> None:
    """Ends an attempt: delivered without an error; else due again later, or dead after the last one."""
    now = clock.now(session) if now is None else now
    values: dict[str, object] = {"last_error": error}
    if error is None:
        values["state"] = DeliveryState.DELIVERED
    elif delivery.attempt >= MAX_ATTEMPTS:
        values["state"] = DeliveryState.DEAD
    else:
        values["not_before"] = now + _FIRST_DELAY * 2 ** (delivery.attempt - 1)
    session.execute(update(Delivery).where(Delivery.id == delivery.id).values(values))


def give_back_delivery(session: Session, delivery: DueDelivery, *, now: float | None = None) -> None:
    """Makes a claimed message due again as if it had not been claimed: its attempt does not count."""
    now = clock.now(session) if now is None else now
    back = {"attempts": delivery.attempt - 1, "not_before": now}
    session.execute(update(Delivery).where(Delivery.id == delivery.id).values(back))
