"""Search, answers and operation, with both clients."""

import json
from datetime import UTC, datetime

import pytest
from stub import event_stream, sse

from percel_client import Answer, AnswerDelta, Box, StreamEnded, Unavailable


@pytest.fixture
def filled(percel):
    percel.upload(b"the dam is 41 m high", collection="c", name="dam.txt", metadata={"year": 2026})
    percel.upload(b"the bridge is red", collection="c", name="bridge.txt")
    return percel


def test_a_search_finds_passages_and_their_place(filled, stub):
    (best, *_) = filled.search("how high is the dam", collection="c", k=3, filter={"year": 2026})
    assert (best.title, best.page, best.boxes, best.metadata) == (
        "dam.txt",
        1,
        (Box(0.1, 0.2, 0.9, 0.3),),
        {"year": 2026},
    )
    assert json.loads(stub.requests[-1].content) == {
        "query": "how high is the dam",
        "collection": "c",
        "k": 3,
        "filter": {"year": 2026},
    }


def test_an_answer_comes_with_citations(filled):
    answer = filled.ask("how high is the dam", collection="c")
    assert answer.answer == "the dam is 41 m high"
    assert [(c.title, c.quote) for c in answer.citations] == [("dam.txt", "the dam is 41 m high")]
    assert (answer.context.vision_tokens, answer.context.text_tokens) == (20, 240)


def test_a_budget_is_sent_where_there_is_one(filled, stub):
    filled.ask("how high is the dam", collection="c", budget=400)
    assert json.loads(stub.requests[-1].content)["budget"] == 400
    list(filled.ask_stream("how high is the dam", collection="c", budget=50))
    assert json.loads(stub.requests[-1].content)["budget"] == 50
    filled.ask("how high is the dam", collection="c")
    assert "budget" not in json.loads(stub.requests[-1].content)


def test_a_context_comes_as_the_bytes_of_its_file(filled, stub):
    assert filled.context("how high is the dam", collection="c", budget=50, filter={"year": 2026})[8:17] == b'{"tokens"'
    assert stub.requests[-1].url.path == "/v1/context"
    assert json.loads(stub.requests[-1].content) == {
        "question": "how high is the dam",
        "collection": "c",
        "whole": False,
        "budget": 50,
        "filter": {"year": 2026},
    }
    filled.context("all of it", collection="c", whole=True)
    sent = json.loads(stub.requests[-1].content)
    assert sent["whole"]
    assert not {"budget", "k"} & set(sent)  # the server refuses a number of chunks beside all of them
    filled.context("some of it", collection="c", k=3)
    assert json.loads(stub.requests[-1].content)["k"] == 3


def test_a_streamed_answer_comes_in_pieces_and_then_whole(filled):
    *pieces, last = filled.ask_stream("how high is the dam", collection="c", whole=True)
    assert all(isinstance(piece, AnswerDelta) for piece in pieces)
    assert "".join(piece.text for piece in pieces).strip() == last.answer
    assert isinstance(last, Answer)


def test_a_stream_that_ends_early_is_an_error(percel, stub):
    stub.next_answers.append(lambda request: event_stream(sse("answer", {"text": "half"})))
    with pytest.raises(StreamEnded, match="The stream ended before the answer did: the server was stopped, "):
        list(percel.ask_stream("why", collection="c"))


def test_an_error_within_a_stream_is_raised_as_the_error_it_is(percel, stub):
    told = {"status": 503, "title": "Unavailable", "detail": "The decoder went away."}
    stub.next_answers.append(lambda request: event_stream(sse("answer", {"text": "half"}), sse("error", told)))
    with pytest.raises(Unavailable, match="503 Unavailable: The decoder went away"):
        list(percel.ask_stream("why", collection="c"))


def test_collections_are_made_listed_and_deleted(filled):
    assert filled.create_collection("new").name == "new"
    assert [collection.name for collection in filled.collections()] == ["c"]
    assert filled.collection("c").documents == 2
    filled.delete_collection("c")
    assert list(filled.documents("c")) == []


def test_jobs_are_counted_and_dead_ones_decided_on(percel, stub):
    jobs = percel.jobs()
    assert (jobs.due, jobs.states[0].count) == ({"parse": 2}, 2)
    (dead,) = percel.dead_jobs()
    assert (dead.id, dead.attempts, dead.error, dead.died_at) == (7, 3, "killed", datetime(2026, 3, 1, 12, tzinfo=UTC))
    percel.requeue_dead_job(dead.id)
    percel.delete_dead_job(dead.id)
    sent = [(request.method, request.url.path) for request in stub.requests[-2:]]
    assert sent == [("POST", "/v1/jobs/dead/7/requeue"), ("DELETE", "/v1/jobs/dead/7")]


def test_the_secrets_of_webhooks_and_keys_are_there_once_and_never_shown(percel, stub):
    webhook = percel.create_webhook("https://example.org/", collection="c")
    key = percel.create_api_key(
        "ci", scopes=["read"], expires_at=datetime(2027, 1, 1, tzinfo=UTC), requests_per_minute=60
    )
    assert (webhook.secret, key.key) == ("hush", "pk_hush")
    assert "hush" not in repr(webhook) + repr(key)
    assert json.loads(stub.requests[-1].content) == {
        "name": "ci",
        "scopes": ["read"],
        "expires_at": "2027-01-01T00:00:00+00:00",
        "requests_per_minute": 60,
    }
    assert [(w.id, w.secret) for w in percel.webhooks()] == [("w1", None)]
    listed = percel.api_keys()
    assert [(k.id, k.key) for k in listed] == [("k1", None)]
    percel.delete_webhook("w1")
    percel.delete_api_key("k1")
