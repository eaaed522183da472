"""Search, answers and the OpenAI-shaped endpoint over HTTP."""

import json
import re

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from safetensors.numpy import load
from sqlalchemy import event

from api.answer import ask
from tests.api.service.conftest import Service

ASKED = {"question": "What is the notice period?", "collection": "main"}


def test_a_search_finds_the_passage_and_says_where_it_stands(library: Service) -> None:
    with library.client() as client:
        hits = client.post("/v1/search", json={"query": "serial number of the gauge", "collection": "main"}).json()
    best = hits["hits"][0]
    assert (best["title"], best["chunk"], best["page"]) == ("weir.md", 0, 1)
    assert "GX-20418" in best["text"]
    assert best["metadata"] == {"year": 2024, "kind": "log", "public": True}
    assert set(best["boxes"][0]) == {"x0", "y0", "x1", "y1"}


@pytest.mark.parametrize(
    ("where", "titles"),
    [
        ({"year": 2024}, {"weir.md"}),
        ({"year": {"gte": 2019, "lt": 2024}}, {"lease.txt"}),
        ({"kind": ["log", "contract"]}, {"weir.md", "lease.txt"}),
        ({"kind": {"ne": "log"}}, {"lease.txt"}),
        ({"public": True}, {"weir.md"}),
        ({"public": {"exists": False}}, {"lease.txt"}),
        ({"@title": "lease.txt"}, {"lease.txt"}),
        ({"year": "2024"}, set()),
        ({"nothing": 1}, set()),
    ],
)
def test_a_filter_decides_what_is_searched(library: Service, where: dict[str, object], titles: set[str]) -> None:
    with library.client() as client:
        body = {"query": "gauge lease serial notice", "collection": "main", "filter": where}
        hits = client.post("/v1/search", json=body).json()["hits"]
    assert {hit["title"] for hit in hits} == titles


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"year": {"about": 2020}}, "year: about is not an operator; there are gt, gte, lt, lte, ne, in, exists"),
        ({"year": {}}, "the condition of year is empty"),
        ({"@size": 3}, "@size is not a field; there are @external_id, @title, @media_type, and the keys of metadata"),
        ({"year": {"gt": None}}, "year: gt takes a number or a string"),
    ],
)
def test_what_is_no_filter_is_said_so(library: Service, where: dict[str, object], reason: str) -> None:
    with library.client() as client:
        reply = client.post("/v1/search", json={"query": "x", "collection": "main", "filter": where})
    assert (reply.status_code, reply.json()["detail"].split(". One looks")[0]) == (
        422,
        f"This is not a filter: {reason}",
    )


def test_an_answer_quotes_and_cites(library: Service) -> None:
    with library.client() as client:
        answer = client.post("/v1/ask", json=ASKED).json()
        assert "ninety days" in answer["answer"]
        citation = answer["citations"][0]
        read = client.get(f"/v1/documents/{citation['document_id']}/text", params={"chunk": citation["chunk"]}).json()
    assert citation["quote"] in read["chunks"][0]["text"]
    assert (citation["title"], citation["page"]) == ("lease.txt", 1)
    assert answer["context"]["vision_tokens"] > 0
    assert set(answer) == {
        "answer", "abstained", "citations", "decoder", "mode", "confidence", "context", "timings", "cut_off",
    }  # fmt: skip


def test_a_filter_holds_for_answers_out_of_the_whole_collection(library: Service) -> None:
    with library.client() as client:
        some = client.post("/v1/ask", json={**ASKED, "whole": True, "filter": {"kind": "log"}}).json()
        every = client.post("/v1/ask", json={**ASKED, "whole": True}).json()
    assert (some["context"]["chunks"], every["context"]["chunks"]) == (1, 2)
    assert all(citation["title"] == "weir.md" for citation in some["citations"])


@pytest.mark.parametrize("whole", [False, True])
def test_a_filter_is_looked_up_once_a_question(library: Service, whole: bool) -> None:
    filtered: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        filtered.extend([statement] if "json_each(document.metadata)" in statement else [])

    event.listen(library.resources.engine, "before_cursor_execute", note)
    try:
        ask(library.resources, "default", ASKED["question"], collection="main", whole=whole, where={"kind": "contract"})
    finally:
        event.remove(library.resources.engine, "before_cursor_execute", note)
    assert len(filtered) == 1


def test_a_streamed_answer_is_the_same_answer(library: Service) -> None:
    events: list[tuple[str, dict[str, object]]] = []
    with library.client() as client, client.stream("POST", "/v1/ask", json={**ASKED, "stream": True}) as stream:
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                events.append((name, json.loads(line[6:])))
    assert events[0][0] == "search"
    assert events[-1][0] == "done"
    said = "".join(str(data["text"]) for name, data in events if name == "answer")
    assert said == events[-1][1]["answer"]


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/context"])
def test_a_number_of_chunks_beside_all_of_them_is_refused(library: Service, path: str) -> None:
    asked = {"question": "How long is the notice period?", "collection": "main", "whole": True}
    with library.client() as client:
        assert client.post(path, json=asked).status_code == 200
        reply = client.post(path, json={**asked, "k": 8})
    assert (reply.status_code, reply.json()["detail"]) == (422, "body: whole loads every chunk: leave out k")


def test_a_decoder_that_is_not_there_is_named(library: Service) -> None:
    with library.client() as client:
        reply = client.post("/v1/ask", json={**ASKED, "decoder": "oracle"})
    assert reply.json()["detail"] == "there is no decoder 'oracle'; choose one of: extractive"
    assert reply.status_code == 422


def test_the_context_of_a_question_is_a_file_of_tokens(library: Service) -> None:
    with library.client() as client:
        reply = client.post("/v1/context", json={**ASKED, "k": 1})
        whole = client.post("/v1/context", json={**ASKED, "whole": True, "filter": {"kind": "log"}})
        refused = client.post("/v1/context", json={**ASKED, "whole": True, "budget": 1})
        documented = client.get("/openapi.json").json()["paths"]["/v1/context"]["post"]["responses"]["200"]
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/octet-stream")
    assert reply.headers["content-disposition"] == 'attachment; filename="context.safetensors"'
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert list(documented["content"]) == ["application/octet-stream"]
    for content, title in ((reply.content, "lease.txt"), (whole.content, "weir.md")):
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        (chunk,) = json.loads(header["__metadata__"]["chunks"])
        assert chunk["title"] == title
        assert len(load(content)["tokens"]) == chunk["vision_tokens"] > 0
    assert (refused.status_code, refused.json()["title"]) == (422, "The budget is too small")
    assert refused.headers["content-type"] == "application/problem+json"
    assert "and the question's budget is 1: raise it, or ask for fewer chunks" in refused.json()["detail"]


def openai_of(service: Service) -> OpenAI:
    return OpenAI(base_url=f"{service.url}/v1", api_key=service.reader, max_retries=0)


def test_the_official_client_gets_answers_with_citations(library: Service) -> None:
    with openai_of(library) as openai:
        assert [model.id for model in openai.models.list()] == ["main"]
        done = openai.chat.completions.create(
            model="main", messages=[{"role": "user", "content": ASKED["question"]}], temperature=0
        )
    assert "ninety days" in (done.choices[0].message.content or "")
    assert done.choices[0].message.citations[0]["title"] == "lease.txt"
    assert done.usage is not None
    assert done.usage.prompt_tokens > 0


def test_the_official_client_streams(library: Service) -> None:
    with openai_of(library) as openai:
        stream = openai.chat.completions.create(
            model="main",
            messages=[{"role": "user", "content": ASKED["question"]}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert "ninety days" in text
    (last,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason == "stop"]
    assert last.choices[0].delta.citations[0]["title"] == "lease.txt"
    assert chunks[-1].usage is not None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"temperature": 0.7}, "temperature can only be 0: answers are not sampled."),
        ({"n": 2}, "n can only be 1: answers are not sampled."),
        ({"max_tokens": 5}, "max_tokens is not supported by this service."),
        ({"seed": 1}, "seed is not supported by this service."),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools can only be []"),
    ],
)
def test_what_cannot_be_honoured_is_refused(library: Service, more: dict[str, object], message: str) -> None:
    with (
        openai_of(library) as openai,
        pytest.raises(BadRequestError, match=re.escape(message)),
    ):
        openai.chat.completions.create(model="main", messages=[{"role": "user", "content": "?"}], **more)


def test_system_messages_and_unknown_models_are_refused(library: Service) -> None:
    with openai_of(library) as openai:
        with pytest.raises(BadRequestError, match="System messages cannot be followed"):
            openai.chat.completions.create(
                model="main",
                messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}],
            )
        with pytest.raises(NotFoundError, match="There is no collection 'nowhere'"):
            openai.chat.completions.create(model="nowhere", messages=[{"role": "user", "content": "?"}])
