"""The retriever for LlamaIndex, with the real library."""

import asyncio

import httpx
import pytest
from both import ADDRESS
from llama_index.core.schema import MetadataMode

from percel_client import AsyncPercel, Percel
from percel_client.llama_index import PercelRetriever


@pytest.fixture
def client(stub):
    with Percel(ADDRESS, transport=httpx.MockTransport(stub.handle)) as client:
        client.upload(b"the dam is 41 m high", collection="c", name="dam.txt")
        client.upload(b"the bridge is red", collection="c", name="bridge.txt")
        yield client


def test_nodes_say_where_they_are_from(client):
    (first, *_) = PercelRetriever(client, collection="c", k=2).retrieve("how high is the dam")
    assert (first.node_id, first.text, first.score) == ("d1/0", "the dam is 41 m high", 4.0)
    assert {name: first.metadata[name] for name in ("document_id", "title", "chunk", "page", "boxes")} == {
        "document_id": "d1",
        "title": "dam.txt",
        "chunk": 0,
        "page": 1,
        "boxes": [{"x0": 0.1, "y0": 0.2, "x1": 0.9, "y1": 0.3}],
    }


def test_a_language_model_sees_title_and_page_but_no_boxes(client):
    (first, *_) = PercelRetriever(client, collection="c").retrieve("dam")
    shown = first.node.get_content(metadata_mode=MetadataMode.LLM)
    assert "title: dam.txt" in shown
    assert "page: 1" in shown
    assert "boxes" not in shown


def test_without_an_asynchronous_client_a_thread_does_the_work(client):
    found = asyncio.run(PercelRetriever(client, collection="c").aretrieve("bridge"))
    assert found[0].metadata["title"] == "bridge.txt"


def test_with_one_the_loop_does_it(client, stub):
    async def search():
        async with AsyncPercel(ADDRESS, transport=httpx.MockTransport(stub.handle)) as async_client:
            retriever = PercelRetriever(client, async_client=async_client, collection="c")
            return await retriever.aretrieve("bridge")

    assert asyncio.run(search())[0].metadata["title"] == "bridge.txt"
