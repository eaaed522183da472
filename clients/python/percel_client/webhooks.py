"""Owns the check of webhooks: that Percel sent them, and when."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping

from percel_client.errors import BadSignature
from percel_client.models import WebhookEvent


def verify_webhook(
    secret: str, headers: Mapping[str, str], body: bytes, tolerance: float = 300, *, now: float | None = None
) -> WebhookEvent:
    """The event, if it was signed with this secret at most `tolerance` seconds ago. Raises BadSignature.

    `body` is the request's bytes as they came: JSON that was parsed and written again has another signature.
    A delivery may come more than once: remember `delivery` where that matters.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        sent_at, signature = given["percel-timestamp"], given["percel-signature"]
    except KeyError as error:
        raise BadSignature(f"it has no header {error.args[0]}") from error
    digest = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(f"sha256={digest}".encode(), signature.encode()):
        raise BadSignature("its signature is not that of its body under this secret")
    # What follows is signed, so it is Percel's own.
    age = (time.time() if now is None else now) - float(sent_at)
    if abs(age) > tolerance:
        raise BadSignature(f"it is {age:.0f} s old, and {tolerance:g} s are allowed")
    message = json.loads(body)
    return WebhookEvent(str(message["event"]), str(message["id"]), message["data"])
