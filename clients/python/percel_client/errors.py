"""Owns the client's errors. Every message names the thing and says what to do.

PercelError
├── ConnectionFailed             no answer: refused, cut off or too late
│   └── StreamEnded              half of one: the server was stopped meanwhile
├── UnexpectedAnswer             an answer, but not one that Percel gives: a proxy, another program, another version
├── ApiError                     Percel answered with a problem
│   ├── Invalid                  400, 422: the request is not one; `errors` names the fields
│   ├── Unauthorized             401: no key, or one that is unknown, expired or revoked
│   ├── Forbidden                403: the key may not do this, or it is switched off
│   ├── NotFound                 404: no such document, collection, job, key or webhook
│   ├── Conflict                 409: it contradicts what is there
│   ├── TooLarge                 413: over the server's cap for an upload
│   ├── TooManyRequests          429: over the key's rate or quota; `retry_after` says for how long
│   └── Unavailable              503: the server cannot do it now; `retry_after` says for how long
├── DocumentFailed               a document that was waited for could not be read; `document.error` says why
├── WaitTimeout                  a document that was waited for is not ready yet (also a TimeoutError)
└── BadSignature                 a webhook that Percel did not sign with this secret, or not recently
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from percel_client.models import Document


class PercelError(Exception):
    """Root of what this package raises on purpose."""


class ConnectionFailed(PercelError):
    """No answer: refused, cut off or too late."""

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(f"{request} got no answer ({reason}). Check the address, and that Percel runs there.")


class StreamEnded(ConnectionFailed):
    """Half of an answer, or events that end before the document is ready or failed."""

    def __init__(self, what: str) -> None:
        PercelError.__init__(
            self, f"The stream ended before the {what} did: the server was stopped, or a proxy cut it off. Ask again."
        )


class UnexpectedAnswer(PercelError):
    """An answer, but not one that Percel gives."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"This is not an answer of Percel: {reason}. Check that the address is Percel's and that client and "
            "server are of the same version."
        )


class ApiError(PercelError):
    """Percel answered with a problem (RFC 9457)."""

    def __init__(
        self,
        status: int,
        title: str,
        *,
        detail: str = "",
        type: str = "about:blank",
        instance: str | None = None,
        errors: Sequence[Mapping[str, object]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.instance = instance
        self.errors = tuple(errors)
        self.retry_after = retry_after  # seconds


class Invalid(ApiError):
    """The request is not one; `errors` names the fields."""


class Unauthorized(ApiError):
    """No key, or one that is unknown, expired or revoked."""


class Forbidden(ApiError):
    """The key may not do this, or it is switched off."""


class NotFound(ApiError):
    """No such document, collection, job, key or webhook."""


class Conflict(ApiError):
    """It contradicts what is there."""


class TooLarge(ApiError):
    """Over the server's cap for an upload."""


class TooManyRequests(ApiError):
    """Over the key's rate or quota; `retry_after` says for how long."""


class Unavailable(ApiError):
    """The server cannot do it now; `retry_after` says for how long."""


BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    429: TooManyRequests,
    503: Unavailable,
}


class DocumentFailed(PercelError):
    """A document that was waited for could not be read."""

    def __init__(self, document: "Document") -> None:
        super().__init__(f"{document.title} ({document.id}) failed: {document.error or 'no reason was given'}")
        self.document = document


class WaitTimeout(PercelError, TimeoutError):
    """A document that was waited for is not ready yet."""

    def __init__(self, document_id: str, seconds: float, document: "Document | None") -> None:
        state = "nothing was heard of it" if document is None else f"it is {document.state}"
        super().__init__(
            f"Document {document_id} is not ready after {seconds:g} s: {state}. Work on it goes on; wait again."
        )
        self.document = document


class BadSignature(PercelError):
    """A webhook that Percel did not sign with this secret, or not recently."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This webhook is not to be trusted: {reason}. Answer it with 400 and do nothing.")
