"""Owns cursors: places in a listing as opaque text."""

import base64
import binascii
import math
from typing import Literal

from api.errors import BadCursor
from store.models import Document
from store.types import Place

Order = Literal["oldest", "newest"]
_MARKS: dict[Order, str] = {"oldest": "", "newest": " newest"}  # a cursor from before there were two has none
_IDS = 1 << 63  # how many a database can tell apart


def cursor_of(document: Document, order: Order) -> str:
    """The cursor behind a document in a listing of that order."""
    return _write(f"{document.created_at!r} {document.id}{_MARKS[order]}")


def place_of(cursor: str | None, order: Order) -> Place | None:
    """The place that a cursor stands for. Raises BadCursor, also for one of a listing in the other order."""
    if cursor is None:
        return None
    try:
        created_at, document_id, *mark = _read(cursor).split(" ")
        place = Place(float(created_at), document_id)
        # Databases refuse other text and numbers, each in its own way.
        if mark != _MARKS[order].split() or not math.isfinite(place.created_at) or not document_id.isprintable():
            raise ValueError(cursor)
        return place
    except ValueError as error:
        raise BadCursor(cursor) from error


def cursor_of_number(number: int) -> str:
    """The cursor behind a row with a numeric id."""
    return _write(str(number))


def number_of(cursor: str | None) -> int:
    """The id that a cursor stands for, 0 for the beginning. Raises BadCursor."""
    try:
        number = 0 if cursor is None else int(_read(cursor))
        if not 0 <= number < _IDS:
            raise ValueError(cursor)
        return number
    except ValueError as error:
        raise BadCursor(cursor or "") from error


def _write(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError(cursor) from error
