"""The retriever for LangChain, with the real library."""

import asyncio
import json

import httpx
import pytest
from both import ADDRESS
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from percel_client import AsyncPercel, Percel
from percel_client.langchain import PercelRetriever


@pytest.fixture
def client(stub):
    with Percel(ADDRESS, transport=httpx.MockTransport(stub.handle)) as client:
        client.upload(b"the dam is 41 m high", collection="c", name="dam.txt", metadata={"year": 2026})
        client.upload(b"the bridge is red", collection="c", name="bridge.txt")
        yield client


def test_documents_say_where_they_are_from(client):
    (first, *_) = PercelRetriever(client=client, collection="c", k=2).invoke("how high is the dam")
    assert (first.id, first.page_content) == ("d1/0", "the dam is 41 m high")
    assert first.metadata == {
        "year": 2026,
        "document_id": "d1",
        "title": "dam.txt",
        "chunk": 0,
        "heading": "",
        "page": 1,
        "boxes": [{"x0": 0.1, "y0": 0.2, "x1": 0.9, "y1": 0.3}],
        "score": 4.0,
    }


def test_it_takes_its_place_in_a_chain(client):
    retriever = PercelRetriever(client=client, collection="c", k=1)
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    chain = {"context": retriever | (lambda docs: docs[0].page_content), "question": RunnablePassthrough()} | prompt
    assert "the dam is 41 m high\nhow high is the dam" in chain.invoke("how high is the dam").to_string()


def test_without_an_asynchronous_client_a_thread_does_the_work(client):
    found = asyncio.run(PercelRetriever(client=client, collection="c").ainvoke("bridge"))
    assert found[0].metadata["title"] == "bridge.txt"


def test_with_one_the_loop_does_it(client, stub):
    async def search():
        async with AsyncPercel(ADDRESS, transport=httpx.MockTransport(stub.handle)) as async_client:
            retriever = PercelRetriever(client=client, async_client=async_client, collection="c", filter={"a": 1})
            return await retriever.ainvoke("bridge")

    assert asyncio.run(search())[0].metadata["title"] == "bridge.txt"
    assert b'"filter":{"a":1}' in stub.requests[-1].content.replace(b" ", b"")


def test_a_call_may_ask_for_less_or_for_others(client, stub):
    retriever = PercelRetriever(client=client, collection="c", k=2, filter={"a": 1})

    async def search():
        async with AsyncPercel(ADDRESS, transport=httpx.MockTransport(stub.handle)) as async_client:
            asynchronous = PercelRetriever(client=client, async_client=async_client, collection="c")
            return await asynchronous.ainvoke("bridge", k=1, filter={"b": 2})

    calls = (
        lambda: retriever.invoke("bridge", k=1, filter={"b": 2}),
        lambda: asyncio.run(retriever.ainvoke("bridge", k=1, filter={"b": 2})),
        lambda: asyncio.run(search()),
    )
    for call in calls:
        assert len(call()) == 1
        asked = json.loads(stub.requests[-1].content)
        assert (asked["k"], asked["filter"]) == (1, {"b": 2})
    with pytest.raises(TypeError, match="top_k"):
        retriever.invoke("bridge", top_k=1)


def test_a_parameter_that_it_does_not_have_is_refused(client):
    with pytest.raises(ValueError, match="search_kwargs"):
        PercelRetriever(client=client, collection="c", search_kwargs={"k": 1})
