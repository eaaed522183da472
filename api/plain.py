"""Owns what a value must be to be stored and shown again: any string, number or object of a caller may be none."""

import math
import re

MOST = 2**63 - 1  # what a database takes
DEEPEST = 32  # objects and lists in one another; what writes answers gives up at 255
_SURROGATE = re.compile("[\ud800-\udfff]")


def plain(value: object, *, depth: int = 0) -> object:
    """The value itself. Raises ValueError for what no database takes, or no answer could show.

    That is NUL, half of a surrogate pair (JSON can escape one, UTF-8 cannot write it), a number that is none or beyond
    64 bits, and objects in objects beyond `DEEPEST`.
    """
    if depth > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            plain(key)
            plain(item, depth=depth + 1)
    elif isinstance(value, list):
        for item in value:
            plain(item, depth=depth + 1)
    else:
        _refuse_unstorable(value)
    return value


def _refuse_unstorable(value: object) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a string must not hold NUL")
        if _SURROGATE.search(value):
            raise ValueError("a string must not hold half of a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a number")
    elif isinstance(value, int) and abs(value) > MOST:
        raise ValueError("a number must fit 64 bits")
