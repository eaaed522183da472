"""Owns the public surface of Percel's Python client: everything in `__all__`, and nothing else.

Retrievers for other frameworks are apart, because each needs its framework: `percel_client.langchain`,
`percel_client.llama_index`, `percel_client.haystack`.
"""

from percel_client.async_client import AsyncPercel
from percel_client.call import File
from percel_client.client import Percel
from percel_client.errors import (
    ApiError,
    BadSignature,
    Conflict,
    ConnectionFailed,
    DocumentFailed,
    Forbidden,
    Invalid,
    NotFound,
    PercelError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)
from percel_client.models import (
    Answer,
    AnswerDelta,
    ApiKey,
    BatchItem,
    Box,
    ChunkText,
    Citation,
    Collection,
    Context,
    DeadJob,
    Document,
    DocumentText,
    Hit,
    JobCount,
    Jobs,
    Problem,
    Webhook,
    WebhookEvent,
)
from percel_client.retries import Retries
from percel_client.webhooks import verify_webhook

__all__ = [
    "Answer",
    "AnswerDelta",
    "ApiError",
    "ApiKey",
    "AsyncPercel",
    "BadSignature",
    "BatchItem",
    "Box",
    "ChunkText",
    "Citation",
    "Collection",
    "Conflict",
    "ConnectionFailed",
    "Context",
    "DeadJob",
    "Document",
    "DocumentFailed",
    "DocumentText",
    "File",
    "Forbidden",
    "Hit",
    "Invalid",
    "JobCount",
    "Jobs",
    "NotFound",
    "Percel",
    "PercelError",
    "Problem",
    "Retries",
    "TooLarge",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
    "Webhook",
    "WebhookEvent",
    "verify_webhook",
]
