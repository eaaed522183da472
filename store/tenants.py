"""Owns what a tenant may be called: the name becomes part of blob keys, paths and index names."""

import re

from store.errors import InvalidTenant

PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"


def check_tenant(name: str) -> str:
    """The name itself. Raises InvalidTenant for what cannot be one."""
    if not re.fullmatch(PATTERN, name):
        raise InvalidTenant(name)
    return name
