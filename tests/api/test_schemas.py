"""The shapes that HTTP answers with: what is written is what is documented."""

import json

from api.schemas import HitOut, Hits
from api.search import Hit
from compressor.types import Box

FOUND = (
    Hit(
        document_id="d" * 32,
        title='A "title", é 漢\n',
        chunk=3,
        heading="",
        page=2,
        boxes=(Box(0.0, 1.5, 2.0, 3.25), Box(1.0, 1.0, 2.0, 2.0)),
        text="line\nline \u2028 \U0001f600",
        score=0.25,
        metadata={"year": 2024, "parts": [1, 2.5, None, {"deep": True}], "kind": "log"},
    ),
    Hit("e" * 32, "plain", 0, "A heading", 1, (), "", -1e-9, {}),
)


def test_what_a_search_found_is_written_in_the_shape_that_is_documented() -> None:
    written = Hits.json_of([*FOUND])
    read = Hits.model_validate_json(written, strict=True)  # no field too many or too few, none of another type
    assert [hit.title for hit in read.hits] == ['A "title", é 漢\n', "plain"]
    assert read.hits[0].boxes == list(FOUND[0].boxes)
    assert read.hits[0].metadata == FOUND[0].metadata
    assert json.loads(written) == read.model_dump(mode="json")
    assert list(json.loads(written)["hits"][0]) == list(HitOut.model_fields)


def test_nothing_found_is_an_empty_list() -> None:
    assert Hits.json_of([]) == b'{"hits":[]}'
