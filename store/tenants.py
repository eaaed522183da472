"""Owns what a tenant may be called: the name becomes part of blob keys, paths and index names."""

import re

from store.errors import InvalidTenant

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def check_tenant(name: str) -> str:
    """The name itself. Raises InvalidTenant for what cannot be one."""
    if not _NAME.fullmatch(name):
        raise InvalidTenant(name)
    return name
