"""Owns the step from what S3 and its client library raise to the store's errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from store.errors import BlobMissing, BlobStoreDown, BlobStoreUnusable, StoreError, StoreFull

_MISSING = {"NoSuchKey", "404"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"}
_LATER = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "RequestLimitExceeded", "OperationAborted"}
BROKEN = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError, HTTPError)  # or half an answer


@contextmanager
def answering(place: str, key: str | None = None, *, size: int | None = None) -> Iterator[None]:
    """Turns vendor errors in the body into ours. `size` is how many bytes were to be written."""
    try:
        yield
    except ClientError as error:
        raise _refusal(error, place, key, size) from error
    except BROKEN as error:
        raise BlobStoreDown(place, error) from error
    except BotoCoreError as error:
        raise BlobStoreUnusable(place, error) from error


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer; 0 where there is none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """What S3 calls the error; only the status's digits for a HEAD request, whose answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(error: ClientError, place: str, key: str | None, size: int | None) -> StoreError:
    status, code = status_of(error), code_of(error)
    reason = f"{code} ({error.response.get('Error', {}).get('Message', '')})"
    if code in _FULL or status == 507:
        return StoreFull(place, size)
    if key is not None and code in _MISSING:
        return BlobMissing(key)
    if status >= 500 or status in (408, 429) or code in _LATER:
        return BlobStoreDown(place, reason)
    return BlobStoreUnusable(place, reason)
