"""Owns the edges' own errors, and one table from error to exit code (HTTP statuses: `api.problems`).

EdgeError
├── AmbiguousName      a name that several documents have, where one is meant
├── NothingToRead      a document that failed: it has no text
├── NotAuthenticated   no key where one is needed, or one that is not valid
├── AccessDenied       a valid key that may not do this
├── UrlUploadsOff      uploads by URL are not enabled
├── KeyReused          an Idempotency-Key that came with another request before
├── BadCursor          a cursor that no listing gave
├── BodyTooLarge       an upload over the cap
├── RequestTooLarge    any other request body over its own
├── UnknownDecoder     a decoder that this installation was not given
├── NoBudget           a budget of vision tokens for a decoder that loads no pages
├── NoPageCaches       a collection without page caches for the decoder's model
├── ContextTooLarge    a whole collection, or chunks, that are more than may be loaded for one question
├── BudgetTooSmall     chunks that take more vision tokens than the budget even when they are merged
├── QuotaExceeded      a key that has used up its requests or bytes for now
├── TooBusy            more is asked at once than can be answered in good time
├── BadPrices          a price sheet that is none
├── BadQuestions       a file without questions
├── RefusedBind        an address that others could reach, without any key
├── PortTaken          an address that cannot be listened on
└── ServiceEnded       a process that answers and could not start
"""

from collections.abc import Sequence

from compressor.errors import CompressorError
from store.errors import NotFound, StoreError
from workers.errors import SettingsError, WorkerError


class EdgeError(Exception):
    """Root of what the edges raise on purpose."""


class AmbiguousName(EdgeError):
    """A name that several documents have, where one is meant."""


class NothingToRead(EdgeError):
    """A document that failed: it has no text."""

    def __init__(self, title: str, why: str | None) -> None:
        super().__init__(f"{title} failed and has no text to read: {why or 'no reason is known'}")


class NotAuthenticated(EdgeError):
    """No key where one is needed, or one that is not valid."""

    def __init__(self) -> None:
        super().__init__("Send a valid key as `Authorization: Bearer pk_...`; `percel keys create` makes one.")


class AccessDenied(EdgeError):
    """A valid key that may not do this."""


class UrlUploadsOff(EdgeError):
    """Uploads by URL are not enabled."""

    def __init__(self) -> None:
        super().__init__("The operator has not enabled uploads by URL (PERCEL_URL_UPLOADS=true does).")


class KeyReused(EdgeError):
    """An Idempotency-Key that came with another request before."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key came with a different request before: use a new key for a new request.")


class BadCursor(EdgeError):
    """A cursor that no such listing gave: not of these things, or not in this order."""

    def __init__(self, cursor: str) -> None:
        super().__init__(
            f"{cursor!r} is not a cursor of this list: pass on the `next` of its page before, or none to begin."
        )


class BodyTooLarge(EdgeError):
    """An upload over the cap."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit:,} bytes: over the size limit. Split the file or raise the limit.")


class RequestTooLarge(EdgeError):
    """A request over the cap that is no upload."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit:,} bytes, which is the most that is read of a request. Make it shorter.")


class UnknownDecoder(EdgeError):
    """A decoder that this installation was not given."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no decoder {name!r}; choose one of: {', '.join(known)}")


class NoBudget(EdgeError):
    """A budget of vision tokens for a decoder that loads no pages."""

    def __init__(self, decoder: str) -> None:
        super().__init__(
            f"{decoder!r} loads no pages that a budget could hold: leave it out, or ask an hf: or vllm: decoder."
        )


class NoPageCaches(EdgeError):
    """A collection without page caches for the decoder's model."""

    def __init__(self, collection: str, decoder: str, lacking: int, chunks: int) -> None:
        super().__init__(
            f"{lacking:,} of {chunks:,} chunks asked of {collection!r} have no page caches for {decoder}: set "
            f"PERCEL_PAGE_CODECS={decoder} and run `percel doctor --repair`, which makes them."
        )


class ContextTooLarge(EdgeError):
    """A whole collection, or chunks, that are more than may be loaded for one question."""

    def __init__(
        self,
        tokens: int,
        limit: int,
        named: str = "PERCEL_MAX_CONTEXT_TOKENS",
        *,
        remedy: str = "ask without `whole`, or of a part by a filter",
    ) -> None:
        super().__init__(
            f"All of it is {tokens:,} vision tokens, and at most {limit:,} are loaded for one question "
            f"({named}): {remedy}."
        )


class BudgetTooSmall(EdgeError):
    """Chunks that take more vision tokens than the budget even when they are merged."""

    def __init__(self, tokens: int, rate: int, budget: int, named: str) -> None:
        super().__init__(
            f"{tokens:,} vision tokens are left with everything merged to native-{rate}, and {named} is {budget:,}: "
            "raise it, or ask for fewer chunks or of a part by a filter."
        )


class QuotaExceeded(EdgeError):
    """A key that has used up its requests or bytes for now."""

    def __init__(self, what: str, retry_after: int) -> None:
        super().__init__(f"This key has used up its {what}; try again in {retry_after} s.")
        self.retry_after = retry_after


class TooBusy(EdgeError):
    """More is asked at once than can be answered in good time."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__("More searches wait than can be answered in good time. Try again in a moment.")


class BadPrices(EdgeError):
    """A price sheet that is none."""


class BadQuestions(EdgeError):
    """A file without questions."""


class RefusedBind(EdgeError):
    """An address that others could reach, without any key."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} can be reached from other machines, and there is no API key: anybody could read and delete. "
            "Make one with `percel keys create NAME --scope admin`, or bind to 127.0.0.1."
        )


class PortTaken(EdgeError):
    """An address that cannot be listened on."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"{host}:{port} cannot be listened on ({why}): choose another with --port or PERCEL_PORT.")


class ServiceEnded(EdgeError):
    """A process that answers and could not start, beside others or in the place of one."""

    def __init__(self) -> None:
        super().__init__("the service ended, as one of its processes could not start; the log says why")


# The first class that fits counts.
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (SettingsError, 2),
    (AmbiguousName, 2),
    (RefusedBind, 2),
    (PortTaken, 2),
    (UnknownDecoder, 2),
    (NoBudget, 2),
    (BadPrices, 2),
    (BadQuestions, 2),
    (NothingToRead, 1),
    (NoPageCaches, 1),
    (ServiceEnded, 1),
    (ContextTooLarge, 1),
    (BudgetTooSmall, 1),
    (NotFound, 3),
    (FileNotFoundError, 3),
    (CompressorError, 1),
    (StoreError, 1),
    (WorkerError, 1),
    (OSError, 1),
)


def exit_code(error: Exception) -> int | None:
    """The exit code of an error that is meant for people; None for one that is a fault of the program."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)
