"""Owns the names of stored pages, as requests carry them."""

import re
from dataclasses import dataclass

PREFIX = "percel:"
# A blob's key names its bytes' sha256, so a name says what it is of, and cannot lead out of where blobs lie.
_NAME = re.compile(
    r"percel:(?P<model>hf:[a-z0-9_]+@[0-9a-f]{12})"
    r":(?P<blob>(?:[a-z0-9][a-z0-9-]{0,62}/)?(?P<one>[0-9a-f]{2})/(?P<two>[0-9a-f]{2})/(?P=one)(?P=two)[0-9a-f]{60})"
    r":(?P<entry>[0-9]{6,12}\.[0-9]{4,8})"
)


class PageError(Exception):
    """A page that cannot be read as it was asked for; the message says which and why."""


class PlaceDownError(PageError):
    """Where pages lie does not answer: the same page may be read in a while."""


@dataclass(frozen=True, slots=True)
class PageName:
    """A stored page."""

    model: str  # fingerprint of the model and encoder that made it
    blob: str  # key of its file
    entry: str  # its name in that file


def is_ours(name: str) -> bool:
    """Whether a name is meant for this connector; others are images that vLLM encodes itself."""
    return name.startswith(PREFIX)


def read_name(name: str) -> PageName:
    """The page that a name stands for. Raises PageError for what is no name of one."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise PageError(f"{name[:200]!r} is not the name of a stored page")
    return PageName(found["model"], found["blob"], found["entry"])
