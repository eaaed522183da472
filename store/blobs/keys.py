"""Owns the keys of blobs: `<tenant>/ab/cd/<sha256>`, and `ab/cd/<sha256>` from before there were tenants."""

import re

from store.errors import BlobDamaged, InvalidKey
from store.tenants import check_tenant

_KEY = re.compile(r"([a-z0-9][a-z0-9-]{0,62}/)?([0-9a-f]{2})/([0-9a-f]{2})/(\2\3[0-9a-f]{60})")


def blob_key(tenant: str, sha256: str) -> str:
    """Where bytes of a tenant belong. Raises InvalidTenant."""
    return f"{check_tenant(tenant)}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def is_key(text: str) -> bool:
    """Whether it is a key of either kind."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """The key itself. Raises InvalidKey for what is none."""
    if not is_key(key):
        raise InvalidKey(key)
    return key


def key_digest(key: str) -> str:
    """The sha256 that the bytes under a key have."""
    return key.rpartition("/")[2]


def compare(key: str, sha256: str) -> None:
    """Raises BlobDamaged where bytes with that sha256 are not the ones that belong under the key."""
    if key_digest(key) != sha256:
        raise BlobDamaged(key, f"its bytes have the sha256 {sha256}")
