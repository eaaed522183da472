"""The retriever for LangChain, with the real library."""

import asyncio

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
