"""A remote model is sent exact text or page images, and its numbers in brackets become citations."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from api.answer import ask, ask_steps
from api.remote import cited_numbers
from api.reports import AnswerReport, Question
from compressor.errors import ContextTooLong, RemoteNonsense
from tests.chat_stub import PIECES, Stub, chat_stub
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

LEASE = "The lease of Harbour House ends on 31 January 2027.\n\nThe notice period is ninety days."
ASKED = "How long is the notice period?"


@pytest.fixture(scope="module")
def home_with_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    (folder / "lease.txt").write_text(LEASE)
    with pymupdf.open() as document:
        document.new_page(width=300, height=400).insert_text((30, 60), "The gauge stood at 2.417 m.")
        document.save(folder / "weir.pdf")
    with Resources(Settings(home=folder / "home")) as resources:
        for name in ("lease.txt", "weir.pdf"):
            accept(resources, "default", "default", Offer(folder / name, name))
        run_due_jobs(resources)
    return folder / "home"


@pytest.fixture
def stub() -> Iterator[Stub]:
    with chat_stub() as running:
        yield running


def settings(home: Path, stub: Stub, **more: object) -> Settings:
    return Settings.model_validate({"home": home, "decoder": f"openai:{stub.url}", "openai_seconds": 20, **more})


def sent(stub: Stub) -> list[dict]:
    return stub.asked[-1]["messages"][1]["content"]


def test_the_exact_text_is_sent_and_what_is_cited_is_quoted(home_with_documents: Path, stub: Stub) -> None:
    with Resources(settings(home_with_documents, stub)) as resources:
        answer = ask(resources, "default", ASKED)
    assert (answer.answer, answer.mode, answer.abstained) == ("".join(PIECES), "text", False)
    assert sent(stub)[0]["text"] == "[1] lease.txt, page 1\n" + LEASE.replace("\n\n", "\n")
    assert sent(stub)[-1]["text"] == f"Question: {ASKED}"
    (citation,) = answer.citations
    assert (citation.title, citation.page) == ("lease.txt", 1)
    assert citation.quote == LEASE.replace("\n\n", "\n")
    assert citation.boxes
    assert citation.chunk == 0


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("The rent is due [2], in advance [1] [2].", [2, 1]),
        ("Both say so [1, 2; 4].", [1, 2, 4]),
        ("All say so [2-4].", [2, 3, 4]),
        ("Wie vereinbart【3】 [1 – 2].", [3, 1, 2]),
        ("None of [0], [5], [4-9999] and [x1], or of 2024-05.", [4]),
    ],
)
def test_numbers_are_cited_in_every_form_that_models_write(answer: str, numbers: list[int]) -> None:
    assert cited_numbers(answer, 4) == numbers


def test_page_images_are_sent_where_that_is_set(home_with_documents: Path, stub: Stub) -> None:
    with Resources(settings(home_with_documents, stub, openai_sends="images")) as resources:
        answer = ask(resources, "default", ASKED)
    assert (answer.mode, answer.context.pages, answer.context.vision_tokens) == ("images", 2, 0)
    addresses = [part["image_url"]["url"] for part in sent(stub) if part["type"] == "image_url"]
    assert len(addresses) == 2
    for address in addresses:
        kind, _, data = address.partition(";base64,")
        assert kind == "data:image/png"
        assert Image.open(io.BytesIO(base64.b64decode(data))).width > 100


def test_the_whole_collection_is_sent_or_refused_with_the_numbers(home_with_documents: Path, stub: Stub) -> None:
    with Resources(settings(home_with_documents, stub)) as resources:
        ask(resources, "default", "Anything?", whole=True)
    assert [part["text"].split("\n")[0] for part in sent(stub)[:2]] == [
        "[1] lease.txt, page 1",
        "[2] weir.pdf, page 1",
    ]
    small = settings(home_with_documents, stub, max_context_tokens=5)
    with (
        Resources(small) as resources,
        pytest.raises(ContextTooLong, match=r"all of it is \d+ text tokens, and at most 5 are sent"),
    ):
        ask(resources, "default", "Anything?", whole=True)


def test_pieces_come_as_the_server_gives_them(home_with_documents: Path, stub: Stub) -> None:
    with Resources(settings(home_with_documents, stub)) as resources:
        _, *pieces, last = ask_steps(resources, Question(ASKED, "default"))
    assert pieces == list(PIECES)
    assert isinstance(last, AnswerReport)


def test_a_failing_server_is_told_with_its_status(home_with_documents: Path, stub: Stub) -> None:
    from tests.api.service.conftest import running

    stub.behaviour = "fails"
    with Resources(settings(home_with_documents, stub)) as resources, pytest.raises(RemoteNonsense):
        ask(resources, "default", ASKED)
    body = {"question": ASKED, "collection": "default"}
    for service in running(settings(home_with_documents, stub)):
        with service.client() as client:
            reply = client.post("/v1/ask", json=body)
            assert (reply.status_code, reply.json()["title"]) == (502, "The remote decoder does not answer")
            streamed = client.post("/v1/ask", json={**body, "stream": True}).text
    assert "event: error" in streamed
    assert '"status": 502' in streamed


def test_an_answer_that_is_cut_off_says_so(home_with_documents: Path, stub: Stub) -> None:
    from tests.api.service.conftest import running

    chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}]}
    for service in running(settings(home_with_documents, stub)):
        with service.client() as client:
            for behaviour, cut_off, reason in (("at the limit", True, "length"), ("stream", False, "stop")):
                stub.behaviour = behaviour
                answer = client.post("/v1/ask", json={"question": ASKED, "collection": "default"}).json()
                assert (answer["answer"], answer["cut_off"]) == ("".join(PIECES), cut_off)
                (choice,) = client.post("/v1/chat/completions", json=chat).json()["choices"]
                assert choice["finish_reason"] == reason


def test_half_a_character_and_no_words_at_all_are_told_over_http(home_with_documents: Path, stub: Stub) -> None:
    from tests.api.service.conftest import running

    chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}]}
    for service in running(settings(home_with_documents, stub)):
        with service.client() as client:
            stub.behaviour = "halves"
            reply = client.post("/v1/ask", json={"question": ASKED, "collection": "default"})
            halves = client.post("/v1/chat/completions", json={**chat, "stream": True}).text
            stub.behaviour = "says nothing"
            whole = client.post("/v1/chat/completions", json=chat).json()
            nothing = client.post("/v1/chat/completions", json={**chat, "stream": True}).text
    assert reply.json()["answer"] == "a \U0001f600 b \ufffdc\ufffd"
    assert halves.rstrip().endswith("data: [DONE]")
    assert whole["choices"][0]["message"]["content"] in nothing
