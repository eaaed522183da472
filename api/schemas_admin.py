"""Owns the shapes of jobs, webhooks and keys over HTTP."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field

from api.plain import MOST, plain
from api.schemas import Name, Shape, moment
from store.models import ApiKey, Webhook
from store.scopes import Scope
from store.types import DeadJob

MOST_A_MINUTE = 2**31 - 1  # what its column takes


def to_come(when: datetime | None) -> datetime | None:
    """The moment itself. Raises ValueError for one that is over, or that could not be shown again."""
    if when is not None and when <= datetime.now(UTC):
        raise ValueError("is over already")
    try:
        moment(None if when is None else when.timestamp())
    except ValueError as error:  # rounded, or in UTC, it is in the year 10000
        raise ValueError("is too late for a date: leave it out for a key that does not expire") from error
    return when


class JobCount(Shape):
    """Jobs of a kind in a state."""

    kind: str
    state: str
    count: int


class JobsOut(Shape):
    """What is due and what was done."""

    due: dict[str, int]
    states: list[JobCount]


class DeadJobOut(Shape):
    """A job whose attempts are used up."""

    id: int
    kind: str
    document_id: str
    title: str
    attempts: int
    error: str | None
    died_at: datetime | None

    @classmethod
    def of(cls, job: DeadJob) -> Self:
        """From a row."""
        return cls(
            id=job.id,
            kind=job.kind.value,
            document_id=job.document_id,
            title=job.title,
            attempts=job.attempts,
            error=job.last_error,
            died_at=moment(job.died_at),
        )


class DeadJobPage(Shape):
    """Dead jobs in the order they were made."""

    items: list[DeadJobOut]
    next: str | None


class WebhookIn(Shape):
    """An address to tell when documents become ready or fail."""

    url: Annotated[str, Field(pattern=r"^https?://", max_length=4000)]
    collection: Name | None = None


class WebhookOut(Shape):
    """A webhook; its secret is shown when it is made, and never again."""

    id: str
    url: str
    collection: str | None
    created_at: datetime | None
    secret: str | None = None

    @classmethod
    def of(cls, hook: Webhook, *, collection: str | None, secret: str | None = None) -> Self:
        """From a row."""
        return cls(id=hook.id, url=hook.url, collection=collection, created_at=moment(hook.created_at), secret=secret)


class WebhookList(Shape):
    """The tenant's webhooks."""

    items: list[WebhookOut]


class KeyIn(Shape):
    """A key to make."""

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain)]
    scopes: Annotated[
        list[Scope],
        Field(
            min_length=1,
            description="read: list, read, search and ask. ingest: upload and delete documents, no more. admin: "
            "everything; without `collections` also keys, webhooks and dead jobs.",
        ),
    ]
    collections: list[Name] | None = None
    expires_at: Annotated[AwareDatetime | None, AfterValidator(to_come)] = None
    requests_per_minute: Annotated[int | None, Field(ge=1, le=MOST_A_MINUTE)] = None
    bytes_per_day: Annotated[int | None, Field(ge=1, le=MOST)] = None


class KeyOut(Shape):
    """A key as lists show it; the key itself is shown when it is made, and never again."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    collections: list[str] | None
    requests_per_minute: int | None
    bytes_per_day: int | None
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    key: str | None = None

    @classmethod
    def of(cls, row: ApiKey, *, key: str | None = None) -> Self:
        """From a row."""
        return cls(
            id=row.id,
            name=row.name,
            prefix=row.prefix,
            scopes=row.scopes,
            collections=row.collections,
            requests_per_minute=row.requests_per_minute,
            bytes_per_day=row.bytes_per_day,
            created_at=moment(row.created_at),
            expires_at=moment(row.expires_at),
            revoked_at=moment(row.revoked_at),
            last_used_at=moment(row.last_used_at),
            key=key,
        )


class KeyList(Shape):
    """The tenant's keys, revoked ones too."""

    items: list[KeyOut]
