"""Owns the sending of webhooks: signed, at least once, with retries that grow apart."""

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Sequence

from store import catalog
from store.catalog import DueDelivery
from store.database import reading, transaction
from workers.errors import WorkerError
from workers.outbound import request
from workers.resources import Resources
from workers.tend import repeat, start_thread

log = logging.getLogger(__name__)

TICK_SECONDS = 2.0
TURN_SECONDS = 10.0  # of one receiver: what is not begun by then waits for the next turn


def deliver_due(resources: Resources) -> int:
    """Sends what is due, to each receiver beside the others; -> how many messages were claimed."""
    with reading(resources.engine) as session:
        if not catalog.has_due_deliveries(session):
            return 0
    with transaction(resources.engine) as session:
        due = catalog.claim_deliveries(session)
    by_hook: dict[str, list[DueDelivery]] = {}
    for delivery in due:
        by_hook.setdefault(delivery.webhook_id, []).append(delivery)
    stop = threading.Event()  # they end by themselves, soon
    tellers = [
        start_thread("webhook", lambda _, its=its: _tell(resources, its), stop)  # type: ignore[misc]
        for its in by_hook.values()
    ]
    for teller in tellers:
        teller.join()
    return len(due)


def _tell(resources: Resources, due: Sequence[DueDelivery]) -> None:
    """Messages to one receiver. Those that it is too slow for are due again: the others' next ones wait for this."""
    until = time.monotonic() + TURN_SECONDS
    try:
        for delivery in due:
            if time.monotonic() < until:
                error = _attempt(resources, delivery)
                with transaction(resources.engine) as session:
                    catalog.settle_delivery(session, delivery, error)
            else:
                with transaction(resources.engine) as session:
                    catalog.give_back_delivery(session, delivery)
    except Exception:  # of the database: what is not settled is due again when it counts as lost
        log.warning("webhooks not settled", exc_info=True)


def _attempt(resources: Resources, delivery: DueDelivery) -> str | None:
    try:
        error = send(delivery, allow_private=resources.settings.allow_private_urls)
    except Exception as fault:  # whatever one message brings about, the others are sent, and it has had its attempt
        log.warning("webhook failed unexpectedly", extra={"delivery_id": delivery.id}, exc_info=True)
        error = type(fault).__name__
    if error is not None:
        log.warning("webhook not delivered", extra={"delivery_id": delivery.id, "reason": error})
    return error


def keep_delivering(resources: Resources, stop: threading.Event) -> None:
    """Sends what becomes due until told to stop. A thread of its own: receivers may be slow."""
    repeat("delivering", lambda: deliver_due(resources), stop, seconds=TICK_SECONDS)


def send(delivery: DueDelivery, *, allow_private: bool) -> str | None:
    """One attempt; -> None when the receiver said yes, else why not."""
    sent_at = str(int(time.time()))
    body = json.dumps({"event": delivery.event, "id": delivery.id, "data": delivery.body}).encode()
    headers = {
        "Content-Type": "application/json",
        "Percel-Event": delivery.event,
        "Percel-Delivery": str(delivery.id),
        "Percel-Timestamp": sent_at,
        "Percel-Signature": signature(delivery.secret, sent_at, body),
    }
    try:
        with request("POST", delivery.url, headers=headers, body=body, allow_private=allow_private) as response:
            return None if 200 <= response.status < 300 else f"status {response.status}"
    except WorkerError as error:
        return str(error)


def signature(secret: str, sent_at: str, body: bytes) -> str:
    """`sha256=<hex>` of HMAC-SHA256 over "<timestamp>.<body>": a receiver checks it, and that the time is recent."""
    return "sha256=" + hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
