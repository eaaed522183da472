"""A cursor stands for the place that it was made of, and what no listing gave is refused before a database sees it."""

import base64

import pytest

from api.cursors import cursor_of, cursor_of_number, number_of, place_of
from api.errors import BadCursor
from store.models import Document
from store.types import Place


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_cursor_stands_for_its_place() -> None:
    document = Document(id="0f" * 16, created_at=1716700000.1234567)
    for order in ("oldest", "newest"):
        assert place_of(cursor_of(document, order), order) == Place(document.created_at, document.id)
    assert number_of(cursor_of_number(17)) == 17
    assert (place_of(None, "oldest"), number_of(None)) == (None, 0)


@pytest.mark.parametrize("text", ["", "1.0", "1.0 id oldest", "1.0 id newest", "x id", "nan id", "1e999 id", "1.0 a\0"])
def test_a_cursor_that_no_list_of_documents_gave_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of this list: pass on the `next`"):
        place_of(cursor(text), "oldest")


@pytest.mark.parametrize("text", ["", "x", "-1", "9" * 20, "9" * 5000])
def test_a_cursor_that_no_list_of_numbers_gave_is_refused(text: str) -> None:
    with pytest.raises(BadCursor, match="is not a cursor of this list: pass on the `next`"):
        number_of(cursor(text))
