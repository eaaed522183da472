"""Owns the queries behind Idempotency-Key: what a request was answered with."""

import time

from sqlalchemy import delete
from sqlalchemy.orm import Session

from store.models import IdempotentReply

KEPT_SECONDS = 24 * 3600.0


def find_reply(session: Session, tenant: str, key: str) -> IdempotentReply | None:
    """The reply under the key, while it is kept."""
    found = session.get(IdempotentReply, (tenant, key))
    return None if found is None or found.created_at < time.time() - KEPT_SECONDS else found


def keep_reply(
    session: Session, tenant: str, key: str, *, request_sha256: str, status: int, body: dict[str, object]
) -> None:
    """Keeps a reply in the transaction that does what it says; of two at once the second one's commit fails."""
    forget_replies(session)
    session.add(
        IdempotentReply(
            tenant=tenant, key=key, request_sha256=request_sha256, status=status, body=body, created_at=time.time()
        )
    )
    session.flush()


def forget_replies(session: Session) -> None:
    """Deletes what is not given again: titles and metadata are in it, also of documents that were deleted since."""
    session.execute(delete(IdempotentReply).where(IdempotentReply.created_at < time.time() - KEPT_SECONDS))
