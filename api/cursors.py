"""Owns cursors: places in a listing as opaque text."""

import base64
import binascii

from api.errors import BadCursor
from store.models import Document
from store.types import Place


def cursor_of(document: Document) -> str:
    """The cursor behind a document."""
    return _write(f"{document.created_at!r} {document.id}")


def place_of(cursor: str | None) -> Place | None:
    """The place that a cursor stands for. Raises BadCursor."""
    if cursor is None:
        return None
    try:
        created_at, document_id = _read(cursor).split(" ")
        return Place(float(created_at), document_id)
    except ValueError as error:
        raise BadCursor(cursor) from error


def cursor_of_number(number: int) -> str:
    """The cursor behind a row with a numeric id."""
    return _write(str(number))


def number_of(cursor: str | None) -> int:
    """The id that a cursor stands for, 0 for the beginning. Raises BadCursor."""
    try:
        return 0 if cursor is None else int(_read(cursor))
    except ValueError as error:
        raise BadCursor(cursor or "") from error


def _write(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str) -> str:
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError(cursor) from error
