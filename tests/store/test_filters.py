"""Filters over metadata, on both databases: any key, any type, and a value of another type never fits."""

import pytest
from sqlalchemy import Engine

from store import catalog
from store.catalog import documents_where
from store.database import reading, transaction
from store.errors import BadFilter

METADATA = {
    "a": {"year": 2024, "kind": "memo", "größe": 3, "السنة": 2020, 'the "best"': True, "a.b": "x", "ratio": 0.5},
    "b": {"year": 2019, "kind": "log", "größe": 4, "public": False, "none": None},
    "c": {"year": "2024"},
    "d": {},
}


@pytest.fixture
def home(engine: Engine) -> str:
    with transaction(engine) as session:
        collection = catalog.ensure_collection(session, "default", "main")
        for name, metadata in METADATA.items():
            catalog.accept_document(
                session,
                collection,
                title=f"{name}.txt",
                sha256=name * 64,
                size=1,
                blob=f"{name * 2}/{name * 2}/{name * 64}",
                external_id=name,
                metadata=metadata,
            )
        return collection.id


def found(engine: Engine, home: str, where: dict[str, object]) -> set[str | None]:
    with reading(engine) as session:
        ids = documents_where(session, home, where, ready=False)
        return {document.external_id for document in catalog.list_documents(session, home) if document.id in ids}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"year": 2024}, {"a"}),
        ({"year": "2024"}, {"c"}),
        ({"year": {"gte": 2019}}, {"a", "b"}),
        ({"year": {"gt": 2019, "lt": 2025}, "kind": "memo"}, {"a"}),
        ({"kind": ["memo", "log"]}, {"a", "b"}),
        ({"kind": {"ne": "memo"}}, {"b", "c", "d"}),
        ({"größe": 3}, {"a"}),
        ({"größe": {"ne": 3}}, {"b", "c", "d"}),
        ({"السنة": {"lte": 2020}}, {"a"}),
        ({'the "best"': True}, {"a"}),
        ({"public": False}, {"b"}),
        ({"public": {"exists": True}}, {"b"}),
        ({"none": None}, {"a", "b", "c", "d"}),
        ({"none": {"exists": True}}, set()),
        ({"a.b": "x"}, {"a"}),
        ({"ratio": {"lt": 0.6}}, {"a"}),
        ({"kind": {"gt": 5}}, set()),
        ({"@title": "b.txt"}, {"b"}),
        ({"@external_id": ["c", "d"]}, {"c", "d"}),
        ({"@external_id": [*map(str, range(5_000)), "c"]}, {"c"}),
        ({"year": {"in": [*range(3_000, 8_000), 2019, "2024"]}}, {"b", "c"}),
        ({"public": [False, None, 7]}, {"a", "b", "c", "d"}),
        ({'the "best"': [True, 1, "x"]}, {"a"}),
        ({"ratio": [1, 0.5]}, {"a"}),
        ({"kind": []}, set()),
        ({}, {"a", "b", "c", "d"}),
    ],
)
def test_a_filter_finds_what_it_says(engine: Engine, home: str, where: dict[str, object], names: set[str]) -> None:
    assert found(engine, home, where) == names


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"year": {}}, "the condition of year is empty"),
        ({"year": {"near": 1}}, "year: near is not an operator; there are gt, gte, lt, lte, ne, in, exists"),
        ({"year": {"gt": True}}, "year: gt takes a number or a string"),
        (
            {"@owner": "x"},
            "@owner is not a field; there are @external_id, @title, @media_type, and the keys of metadata",
        ),
        ({"a": [[1]]}, "a: a value is a string, a number, true, false or null"),
        ({"a": ["x", {"b": 1}]}, "a: a value is a string, a number, true, false or null"),
        ({"a": list(range(6_000)), "b": {"in": ["x"] * 6_000}}, "its lists hold more than 10,000 values"),
        ({str(n): 1 for n in range(33)}, "it has more than 32 fields"),
    ],
)
def test_what_is_no_filter_is_said(engine: Engine, home: str, where: dict[str, object], said: str) -> None:
    with pytest.raises(BadFilter) as bad:
        found(engine, home, where)
    assert str(bad.value).startswith(f"This is not a filter: {said}.")
