"""Everything once against a running Percel: PERCEL_TEST_URL names it, PERCEL_TEST_KEY is a key with all scopes."""

import asyncio
import json
import os
from uuid import uuid4

import pytest

from percel_client import Answer, AsyncPercel, NotFound, Percel, Unauthorized

URL = os.environ.get("PERCEL_TEST_URL", "")
KEY = os.environ.get("PERCEL_TEST_KEY")

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not URL, reason="needs a running Percel: set PERCEL_TEST_URL"),
]

DAM = "The Harlow dam was finished in 1931. Its wall is 41 metres high and 212 metres long.\n"
BRIDGE = "The bridge at Orsett is painted red. It carries two lanes over the river Wend.\n"
QUESTION = "How high is the wall of the Harlow dam?"


@pytest.fixture(scope="module")
def percel():
    with Percel(URL, KEY) as percel:
        yield percel


@pytest.fixture(scope="module")
def collection(percel):
    name = f"client-{uuid4().hex[:12]}"
    percel.upload_and_wait(DAM.encode(), collection=name, name="dam.txt", metadata={"year": 1931}, timeout=240)
    percel.upload_and_wait(BRIDGE.encode(), collection=name, name="bridge.txt", metadata={"year": 1970}, timeout=240)
    yield name
    percel.delete_collection(name)


def test_an_upload_is_ready_and_reads_back_exactly(percel, collection):
    documents = {document.title: document for document in percel.documents(collection, page_size=1)}
    assert set(documents) == {"dam.txt", "bridge.txt"}
    dam = documents["dam.txt"]
    assert (dam.state, dam.exact, dam.metadata) == ("ready", True, {"year": 1931})
    assert "41 metres high" in "".join(chunk.text for chunk in percel.document_text(dam.id).chunks)
    assert percel.chunk_image(dam.id, 0).startswith(b"\x89PNG")


def test_an_upload_under_the_same_key_is_one_document(percel, collection):
    key = uuid4().hex
    first, second = (
        percel.upload_text("Sent twice.", collection=collection, title="twice.txt", idempotency_key=key)
        for _ in range(2)
    )
    assert first.id == second.id
    percel.wait(first, timeout=240)
    percel.delete(first.id)


def test_a_search_finds_the_passage(percel, collection):
    hits = percel.search(QUESTION, collection=collection, k=2)
    assert hits[0].title == "dam.txt"
    assert "41 metres" in hits[0].text
    assert hits[0].boxes
    assert {hit.title for hit in percel.search(QUESTION, collection=collection, filter={"year": 1970})} == {
        "bridge.txt"
    }


def test_an_answer_cites_the_document_streamed_or_not(percel, collection):
    answer = percel.ask(QUESTION, collection=collection)
    assert not answer.abstained
    assert "41 metres" in answer.answer
    assert answer.citations[0].title == "dam.txt"
    *pieces, last = percel.ask_stream(QUESTION, collection=collection, whole=True)
    assert isinstance(last, Answer)
    assert pieces
    assert "41 metres" in last.answer


def test_the_context_of_a_question_is_a_file_of_tokens(percel, collection):
    content = percel.context(QUESTION, collection=collection, k=1)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    (chunk,) = json.loads(header["__metadata__"]["chunks"])
    assert (chunk["title"], [chunk["vision_tokens"]]) == ("dam.txt", header["tokens"]["shape"][:1])


def test_a_batch_is_taken_file_by_file(percel, collection, tmp_path):
    (tmp_path / "one.txt").write_text("The kiln at Brae was fired with peat.")
    (tmp_path / "two.txt").write_text("The kiln at Sund was fired with oak.")
    items = percel.upload_many([tmp_path / "one.txt", tmp_path / "two.txt"], collection=collection, metadata={"b": 1})
    assert [item.title for item in items] == ["one.txt", "two.txt"]
    for item in items:
        assert percel.wait(item.document, timeout=240).state == "ready"
    assert percel.delete_where(collection, {"b": 1}) == 2


def test_a_deleted_document_is_not_found_and_not_cited(percel, collection):
    told = []
    document = percel.upload_and_wait(
        b"The lighthouse keeper at Ness was called Ingrid Moe.",
        collection=collection,
        name="ness.txt",
        timeout=240,
        on_progress=lambda document: told.append(document.state),
    )
    assert told[-1] == "ready"
    question = "What was the lighthouse keeper at Ness called?"
    assert document.id in {hit.document_id for hit in percel.search(question, collection=collection)}
    percel.delete(document.id)
    assert document.id not in {hit.document_id for hit in percel.search(question, collection=collection)}
    with pytest.raises(NotFound, match=document.id):
        percel.document(document.id)


def test_collections_and_jobs_are_told(percel, collection):
    assert collection in {known.name for known in percel.collections()}
    assert percel.collection(collection).ready >= 2
    assert all(count >= 0 for count in percel.jobs().due.values())
    assert isinstance(list(percel.dead_jobs()), list)


@pytest.mark.skipif(KEY is None, reason="the first key of a server shuts out all who have none: set PERCEL_TEST_KEY")
def test_a_key_is_made_used_and_revoked(percel, collection):
    key = percel.create_api_key(f"client-{uuid4().hex[:8]}", scopes=["read"], collections=[collection])
    with Percel(URL, key.key) as reader:
        assert reader.search(QUESTION, collection=collection)
    assert key.id in {known.id for known in percel.api_keys()}
    percel.delete_api_key(key.id)


def test_a_webhook_is_made_with_its_secret_listed_without_and_removed(percel, collection):
    webhook = percel.create_webhook("https://example.org/percel", collection=collection)
    assert webhook.secret
    assert (webhook.id, None) in {(known.id, known.secret) for known in percel.webhooks()}
    percel.delete_webhook(webhook.id)
    assert webhook.id not in {known.id for known in percel.webhooks()}


def test_a_wrong_key_is_refused(percel):
    with Percel(URL, "pk_wrong") as stranger, pytest.raises(Unauthorized, match="401"):
        stranger.jobs()


def test_the_asynchronous_client_does_the_same(collection):
    async def run():
        async with AsyncPercel(URL, KEY) as percel:
            document = await percel.upload_and_wait(
                b"The ferry to Holm leaves at noon.", collection=collection, name="ferry.txt", timeout=240
            )
            hits = await percel.search("When does the ferry to Holm leave?", collection=collection)
            *pieces, last = [part async for part in percel.ask_stream(QUESTION, collection=collection)]
            titles = [known.title async for known in percel.documents(collection)]
            await percel.delete(document.id)
            return hits, pieces, last, titles

    hits, pieces, last, titles = asyncio.run(run())
    assert hits[0].title == "ferry.txt"
    assert pieces
    assert "41 metres" in last.answer
    assert "ferry.txt" in titles


def test_langchain_retrieves_from_it(percel, collection):
    from percel_client.langchain import PercelRetriever

    retriever = PercelRetriever(client=percel, collection=collection, k=2)
    assert retriever.invoke(QUESTION)[0].metadata["title"] == "dam.txt"
    assert asyncio.run(retriever.ainvoke(QUESTION))[0].metadata["title"] == "dam.txt"


def test_llama_index_retrieves_from_it(percel, collection):
    from percel_client.llama_index import PercelRetriever

    retriever = PercelRetriever(percel, collection=collection, k=2)
    assert retriever.retrieve(QUESTION)[0].metadata["title"] == "dam.txt"
    assert asyncio.run(retriever.aretrieve(QUESTION))[0].metadata["title"] == "dam.txt"


def test_haystack_retrieves_from_it(collection):
    from haystack.utils import Secret

    from percel_client.haystack import PercelRetriever

    retriever = PercelRetriever(URL, collection, api_key=None if KEY is None else Secret.from_token(KEY), top_k=2)
    year = {"field": "meta.year", "operator": "==", "value": 1931}
    assert retriever.run(QUESTION)["documents"][0].meta["title"] == "dam.txt"
    assert [found.meta["title"] for found in retriever.run(QUESTION, filters=year)["documents"]] == ["dam.txt"]
    retriever.close()


def test_the_quick_start_of_the_readme_runs(quick_start, monkeypatch, capsys):
    monkeypatch.setenv("PERCEL_URL", URL)
    if KEY is not None:
        monkeypatch.setenv("PERCEL_API_KEY", KEY)
    exec(quick_start, {})
    assert "41 metres" in capsys.readouterr().out
