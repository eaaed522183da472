"""Webhooks are believed only when Percel signed them, and recently."""

import hashlib
import hmac

import pytest

from percel_client import BadSignature, verify_webhook

BODY = b'{"event": "document.ready", "id": 12, "data": {"id": "d1"}}'


def signed(secret: str = "hush", sent_at: str = "1000", body: bytes = BODY) -> dict[str, str]:
    digest = hmac.new(secret.encode(), sent_at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Percel-Timestamp": sent_at, "Percel-Signature": f"sha256={digest}"}


def test_a_signed_event_is_read():
    event = verify_webhook("hush", signed(), BODY, now=1200)
    assert (event.event, event.delivery, event.data) == ("document.ready", "12", {"id": "d1"})


def test_the_case_of_headers_does_not_matter():
    lower = {name.lower(): value for name, value in signed().items()}
    assert verify_webhook("hush", lower, BODY, now=1000).delivery == "12"


@pytest.mark.parametrize(
    ("secret", "headers", "body", "reason"),
    [
        ("other", signed(), BODY, "its signature is not that of its body under this secret"),
        ("hush", signed(), BODY.replace(b"d1", b"d2"), "its signature is not that of its body"),
        ("hush", {**signed(), "Percel-Timestamp": "1001"}, BODY, "its signature is not that of its body"),
        ("hush", {**signed(), "Percel-Signature": "sha256=é"}, BODY, "its signature is not that of its body"),
        ("hush", {"Percel-Timestamp": "1000"}, BODY, "it has no header percel-signature"),
    ],
)
def test_what_is_not_signed_so_is_refused(secret, headers, body, reason):
    with pytest.raises(BadSignature, match=reason):
        verify_webhook(secret, headers, body, now=1000)


@pytest.mark.parametrize(("now", "age"), [(1301, "301 s"), (699, "-301 s")])
def test_an_old_event_played_again_is_refused(now, age):
    with pytest.raises(BadSignature, match=f"it is {age} old, and 300 s are allowed"):
        verify_webhook("hush", signed(), BODY, now=now)
