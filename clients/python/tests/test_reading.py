"""JSON becomes models: what is unknown is ignored, what is wrong is named."""

import pytest

from percel_client import Box, Document, Hit, Jobs, UnexpectedAnswer
from percel_client.models import ApiKey, Citation
from percel_client.reading import read, read_all, read_page

DOCUMENT = {"id": "d1", "collection": "c", "title": "a.txt", "state": "queued"}
HIT = {"document_id": "d1", "title": "a.txt", "chunk": 0, "page": 1, "text": "alpha", "score": 1}


def test_fields_of_a_newer_server_are_ignored():
    assert read(Document, {**DOCUMENT, "mood": "good"}) == read(Document, DOCUMENT)


def test_nulls_are_what_is_not_known_yet():
    document = read(Document, {**DOCUMENT, "chunks": None, "compression": None, "warnings": None, "created_at": None})
    assert (document.chunks, document.compression, document.warnings, document.created_at) == (0, None, (), None)


def test_boxes_are_read_as_objects_and_as_lists():
    box = {"x0": 0, "y0": 0.1, "x1": 1, "y1": 0.2}
    assert read(Hit, {**HIT, "boxes": [box, [0, 0.1, 1, 0.2]]}).boxes == (Box(0, 0.1, 1, 0.2),) * 2


def test_a_time_is_iso_8601_or_seconds_since_1970():
    said, counted = ({**DOCUMENT, "created_at": moment} for moment in ("2026-03-01T12:00:00Z", 1772366400.0))
    assert read(Document, said) == read(Document, counted)


def test_lines_are_a_pair():
    entries = {"document_id": "d1", "title": "a", "page": 1, "quote": "q", "lines": [3, 9]}
    assert read(Citation, entries).lines == (3, 9)


def test_no_collections_of_a_key_are_all_of_them_and_an_empty_list_is_none():
    entries = {"id": "k1", "name": "ci", "scopes": ["read"]}
    assert read(ApiKey, {**entries, "collections": None}).collections is None
    assert read(ApiKey, {**entries, "collections": []}).collections == ()


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"id": "d1"}, "Document has no collection"),
        ({**DOCUMENT, "title": 7}, "Document.title is 7"),
        ({**DOCUMENT, "title": None}, "Document.title is None"),
        ({**DOCUMENT, "chunks": "3"}, "Document.chunks is '3'"),
        ({**DOCUMENT, "chunks": True}, "Document.chunks is True"),
        ({**DOCUMENT, "warnings": "none"}, "Document.warnings is 'none'"),
        ({**DOCUMENT, "created_at": "today"}, "Document.created_at is 'today', which is no time"),
        ("d1", "Document is 'd1' instead of an object"),
    ],
)
def test_what_is_wrong_is_named(entries, reason):
    with pytest.raises(UnexpectedAnswer, match=reason):
        read(Document, entries)


def test_counts_are_read_by_name():
    with pytest.raises(UnexpectedAnswer, match=r"Jobs.due is 'x'"):
        read(Jobs, {"due": {"parse": "x"}})


def test_lists_without_their_key_are_named():
    with pytest.raises(UnexpectedAnswer, match="a list comes without items"):
        read_page(Document, {"documents": []})
    with pytest.raises(UnexpectedAnswer, match="there is no list of hits"):
        read_all(Hit, {"items": []}, "hits")
