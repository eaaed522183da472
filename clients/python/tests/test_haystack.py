"""The component for Haystack, with the real library and a server on this machine."""

import asyncio
import copy
import json
import pickle

import pytest
from haystack import Pipeline
from haystack.utils import Secret
from stub import served

from percel_client import Percel
from percel_client.haystack import PercelRetriever, percel_filter


@pytest.fixture
def address(stub):
    with served(stub) as address:
        with Percel(address) as client:
            client.upload(b"the dam is 41 m high", collection="c", name="dam.txt")
            client.upload(b"the bridge is red", collection="c", name="bridge.txt")
        yield address


@pytest.fixture
def retriever(address):
    retriever = PercelRetriever(address, "c", top_k=2)
    yield retriever
    retriever.close()


def test_documents_say_where_they_are_from(retriever):
    (first, *_) = retriever.run("how high is the dam")["documents"]
    assert (first.id, first.content, first.score) == ("d1/0", "the dam is 41 m high", 4.0)
    assert {name: first.meta[name] for name in ("document_id", "title", "chunk", "page", "boxes", "score")} == {
        "document_id": "d1",
        "title": "dam.txt",
        "chunk": 0,
        "page": 1,
        "boxes": [{"x0": 0.1, "y0": 0.2, "x1": 0.9, "y1": 0.3}],
        "score": 4.0,
    }


def test_it_runs_in_a_pipeline_that_was_written_down(address, stub, monkeypatch):
    monkeypatch.setenv("PERCEL_API_KEY", "pk_outside")
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", "percel_client.haystack")  # Haystack 3 asks for this
    written = Pipeline()
    written.add_component("percel", PercelRetriever(address, "c", api_key=Secret.from_env_var("PERCEL_API_KEY")))
    text = written.dumps()
    assert "pk_outside" not in text
    pipeline = Pipeline.loads(text)
    assert pipeline.run({"percel": {"query": "bridge"}})["percel"]["documents"][0].meta["title"] == "bridge.txt"
    assert stub.requests[-1].headers["authorization"] == "Bearer pk_outside"
    pipeline.get_component("percel").close()


def test_asynchronous_runs_use_a_thread(retriever):
    found = asyncio.run(retriever.run_async("bridge"))["documents"]
    assert found[0].meta["title"] == "bridge.txt"


def test_a_pipeline_that_has_run_can_be_copied_and_sent_to_another_process(address):
    pipeline = Pipeline()
    pipeline.add_component("percel", PercelRetriever(address, "c"))
    asked = {"percel": {"query": "bridge"}}
    pipeline.run(asked)
    for other in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert other.run(asked)["percel"]["documents"][0].meta["title"] == "bridge.txt"
        other.get_component("percel").close()
    pipeline.get_component("percel").close()


def test_asynchronous_runs_at_once_share_a_client(retriever, monkeypatch):
    async def ask_at_once():
        await asyncio.gather(*(retriever.run_async("bridge") for _ in range(8)))

    opened = []
    monkeypatch.setattr(
        "percel_client.haystack.Percel", lambda *args, **kwargs: opened.append(Percel(*args)) or opened[-1]
    )
    asyncio.run(ask_at_once())
    assert len(opened) == 1


def test_a_closed_component_opens_again(retriever):
    retriever.warm_up()
    retriever.close()
    assert retriever.run("bridge", top_k=1)["documents"]


def test_filters_of_haystack_become_percels(retriever, stub):
    year = {"field": "meta.year", "operator": ">=", "value": 2020}
    before = {"field": "meta.year", "operator": "<", "value": 2026}
    kind = {"field": "meta.kind", "operator": "==", "value": "memo"}
    retriever.run("bridge", filters={"operator": "AND", "conditions": [year, before, kind]})
    assert json.loads(stub.requests[-1].content)["filter"] == {
        "year": {"gte": 2020, "lt": 2026},
        "kind": {"in": ["memo"]},
    }


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", None, {"exists": False}),
        ("!=", None, {"exists": True}),
        ("!=", 3, {"ne": 3}),
        ("in", ["a", "b"], {"in": ["a", "b"]}),
    ],
)
def test_each_comparison_has_its_condition(operator, value, expected):
    assert percel_filter({"field": "meta.x", "operator": operator, "value": value}) == {"x": expected}


@pytest.mark.parametrize(
    "filters",
    [
        {"operator": "OR", "conditions": []},
        {"field": "meta.x", "operator": "not in", "value": [1]},
        {"x": 1},
    ],
)
def test_what_percel_cannot_filter_by_is_refused(filters):
    with pytest.raises(ValueError, match=r"Percel has no filter .*: use ==, !=, >, >=, <, <= and in, joined by AND"):
        percel_filter(filters)


def test_the_same_question_twice_about_one_field_is_refused():
    twice = [{"field": "meta.x", "operator": "==", "value": value} for value in (1, 2)]
    with pytest.raises(ValueError, match="Percel cannot ask 'x' the same twice"):
        percel_filter({"operator": "AND", "conditions": twice})
