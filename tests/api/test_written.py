"""A vision-language model answers out of page caches: which pages it reads, what is said of them, what is refused."""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pymupdf
import pytest

from api.answer import ask, ask_steps
from api.errors import ContextTooLarge, NoPageCaches, UnknownDecoder
from api.library import documents_of, forget_gone, remove_document
from api.pagecitations import cite_pages
from api.pageplaces import _Headers, find_places, in_order
from api.reports import AnswerReport, ContextReport, Question
from compressor.errors import ContextTooLong, DeviceFull
from compressor.types import Box
from compressor.vlm.decode import Context
from compressor.vlm.pointing import Pointed, Pointing, read_pointing
from compressor.vlm.reader import PageKey
from compressor.vlm.recipe import Recipe
from store import catalog
from store.database import reading
from tests.compressor.vlm.saved import save_model
from workers.ingest import Offer, accept
from workers.pages import page_entry
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

WEIR = "The gauge at Marlow Weir was read at 06:00 on 3 May 2024. It stood at 2.417 m. "
LEASE = "The lease of Harbour House ends on 31 January 2027.\n\nThe notice period is ninety days."
ASKED = "How high did the gauge at Marlow Weir stand?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("qwen3_vl", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Settings:
    """A home with a PDF of three pages and a text, and page caches of both."""
    folder = tmp_path_factory.mktemp("filled")
    with pymupdf.open() as document:
        for number in range(3):
            page = document.new_page(width=300, height=400)
            page.insert_textbox((30, 30, 270, 370), f"{number}. {WEIR if number == 1 else 'Nothing here. '}" * 6)
        document.save(folder / "weir.pdf")
    (folder / "lease.txt").write_text(LEASE)
    settings = Settings(
        home=folder / "home", page_codecs=(f"hf:{model}",), decoder=f"hf:{model}", device="cpu", answer_tokens=16
    )
    with Resources(settings) as resources:
        for name in ("weir.pdf", "lease.txt"):
            accept(resources, "default", "default", Offer(folder / name, name, external_id=name))
        run_due_jobs(resources)
    return settings


@pytest.fixture
def asked(filled: Settings) -> Iterator[Resources]:
    with Resources(filled) as resources:
        yield resources


def test_a_model_answers_and_names_the_pages_that_it_read(asked: Resources, model: Path) -> None:
    answer = ask(asked, "default", ASKED)
    assert (answer.decoder, answer.mode, answer.confidence) == (f"hf:{model}", "full", None)
    assert answer.answer
    assert {(c.title, c.page) for c in answer.citations} == {("weir.pdf", page) for page in (1, 2, 3)} | {
        ("lease.txt", 1)
    }
    context = answer.context
    assert (context.pages, context.left_out) == (4, 0)
    assert context.prefilled > context.vision_tokens > 4
    assert context.planned_bytes > 0
    assert {"search", "plan", "prefill", "answer", "total"} <= set(answer.timings)
    assert answer.cut_off  # a model that learnt nothing ends by itself nowhere


def test_the_vision_tower_is_never_loaded(asked: Resources) -> None:
    ask(asked, "default", ASKED)
    reader = asked.open_reader()
    assert reader is not None
    assert asked._page_encoders == {}
    assert {name for name, _ in reader._decoder.language.named_children()} >= {"layers", "embed_tokens"}
    assert not hasattr(reader._decoder, "visual")


def test_an_answer_comes_in_pieces_after_what_was_loaded(asked: Resources) -> None:
    first, *pieces, last = ask_steps(asked, Question(ASKED, "default"))
    assert isinstance(first, ContextReport)
    assert isinstance(last, AnswerReport)
    assert pieces
    assert first == last.context
    assert read_pointing("".join(map(str, pieces))).text.strip() == last.answer


def test_the_same_pages_are_read_once_and_answer_alike(asked: Resources) -> None:
    first = ask(asked, "default", ASKED)
    again = ask(asked, "default", ASKED)
    other = ask(asked, "default", "And who read the gauge at Marlow Weir, please?")
    assert again.answer == first.answer
    assert again.context.prefilled < first.context.prefilled - first.context.vision_tokens
    assert other.context.prefilled < first.context.vision_tokens + other.context.prefilled - 1
    with Resources(asked.settings.model_copy(update={"kept_kv_bytes": 0})) as forgetful:
        assert ask(forgetful, "default", ASKED).answer == first.answer
        assert ask(forgetful, "default", ASKED).context.prefilled == first.context.prefilled


def test_block_attention_reads_each_page_once(asked: Resources) -> None:
    with Resources(asked.settings.model_copy(update={"attention": "block"})) as blocks:
        first = ask(blocks, "default", ASKED)
        fewer = ask(blocks, "default", "When does the lease of Harbour House end?", k=1)
    assert (first.mode, first.context.pages) == ("block", 4)
    assert fewer.context.pages < 4
    assert fewer.context.prefilled < fewer.context.vision_tokens + 120


def test_what_was_kept_of_a_replaced_or_deleted_document_goes(model: Path, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path / "home", page_codecs=(f"hf:{model}",), decoder=f"hf:{model}", device="cpu", answer_tokens=16
    )
    (tmp_path / "lease.txt").write_text(LEASE)
    with Resources(settings) as resources:
        accept(resources, "default", "default", Offer(tmp_path / "lease.txt", "lease.txt", external_id="lease"))
        run_due_jobs(resources)
        ask(resources, "default", "When does the lease end?")
        reader = resources.open_reader()
        assert reader is not None
        assert (forget_gone(resources), len(reader.sources)) == (0, 1)
        before = reader.sources
        (tmp_path / "lease.txt").write_text(LEASE + " The rent is 1,240 EUR.")
        accept(resources, "default", "default", Offer(tmp_path / "lease.txt", "lease.txt", external_id="lease"))
        run_due_jobs(resources)  # a new version replaces the old one
        assert ask(resources, "default", "When does the lease end?").context.pages == 1
        assert not before & reader.sources
        remove_document(resources, documents_of(resources, "default", "default")[0].id)
        assert reader.sources == frozenset()
        nothing = ask(resources, "default", "When does the lease end?")
    assert (nothing.abstained, nothing.context.pages) == (True, 0)


def test_a_whole_collection_is_loaded_or_refused_with_the_numbers(asked: Resources, model: Path) -> None:
    answer = ask(asked, "default", "What is this about?", whole=True)
    assert answer.context.pages == 4
    few = asked.settings.model_copy(update={"max_context_tokens": answer.context.vision_tokens - 1})
    with Resources(few) as small, pytest.raises(ContextTooLarge, match=r"All of it is \d+ vision tokens, and at most"):
        ask(small, "default", "What is this about?", whole=True)


def test_pages_that_do_not_fit_are_left_out_and_counted(asked: Resources) -> None:
    most = ask(asked, "default", ASKED).context
    fitting = most.prefilled + 16 - 1
    with Resources(asked.settings.model_copy(update={"max_context_tokens": fitting})) as small:
        less = ask(small, "default", ASKED).context
    assert (less.pages, less.left_out) == (3, 1)


def test_a_context_without_room_for_a_page_is_refused_with_the_numbers(asked: Resources) -> None:
    with (
        Resources(asked.settings.model_copy(update={"max_context_tokens": 30})) as small,
        pytest.raises(ContextTooLong, match=r"no page fits: the smallest of 4 needs \d+ tokens .* room for 30 in"),
    ):
        ask(small, "default", ASKED)


def test_a_whole_that_is_longer_than_the_models_context_is_refused(tmp_path: Path) -> None:
    short = save_model("qwen3_vl", tmp_path / "short", max_tokens=500)
    settings = Settings(
        home=tmp_path / "home", page_codecs=(f"hf:{short}",), decoder=f"hf:{short}", device="cpu", answer_tokens=490
    )
    (tmp_path / "lease.txt").write_text(LEASE)
    with Resources(settings) as resources:
        accept(resources, "default", "default", Offer(tmp_path / "lease.txt", "lease.txt"))
        run_due_jobs(resources)
        with pytest.raises(ContextTooLong, match=r"\d+ tokens do not fit the context of 500 tokens of Qwen3-VL"):
            ask(resources, "default", "What is this about?", whole=True)


def test_too_little_memory_is_refused_before_anything_is_loaded(
    asked: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressor.vlm.reader.free_memory", lambda device: 1000)
    with pytest.raises(DeviceFull, match=r"the context needs 0\.00 GiB .*not even the weights fit"):
        ask(asked, "default", ASKED)
    reader = asked.open_reader()
    assert reader is not None
    assert reader._decoder is None


def test_a_collection_without_page_caches_says_how_to_make_them(home: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "lease.txt").write_text(LEASE)
    with Resources(Settings(home=home, decoder=f"hf:{model}")) as resources:
        accept(resources, "default", "default", Offer(tmp_path / "lease.txt", "lease.txt"))
        run_due_jobs(resources)
        with pytest.raises(NoPageCaches) as raised:
            ask(resources, "default", "When does the lease end?")
    assert str(raised.value) == (
        f"1 of 1 chunks asked of 'default' have no page caches for hf:{model}: "
        f"set PERCEL_PAGE_CODECS=hf:{model} and run `percel doctor --repair`, which makes them."
    )


def test_a_caller_cannot_name_a_path_that_the_operator_did_not(asked: Resources) -> None:
    with pytest.raises(UnknownDecoder, match="there is no decoder 'hf:/etc'; choose one of: extractive, hf:"):
        ask(asked, "default", ASKED, decoder_name="hf:/etc")
    assert ask(asked, "default", ASKED, decoder_name="extractive").mode == "quotes"


def test_page_files_are_not_kept_open_while_the_pages_of_a_collection_are_looked_up(asked: Resources) -> None:
    (size,) = asked.page_sizes(asked.settings.decoder)
    with reading(asked.engine) as session:
        home = catalog.find_collection(session, "default", "default")
        ids = [document.id for document in catalog.list_documents(session, home.id)]
        rows = catalog.page_caches(session, ids, size.fingerprint)
    headers = _Headers(asked, [])
    assert [PageKey(row.blob, page_entry(row.ordinal, 0)) in headers for row in rows] == [True, True]
    opened = {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}
    assert not opened & {os.path.realpath(asked.blobs.local_path(row.blob)) for row in rows}


def test_boxes_become_citations_on_the_source(asked: Resources) -> None:
    sizes = asked.page_sizes(asked.settings.decoder)
    with reading(asked.engine) as session:
        home = catalog.find_collection(session, "default", "default")
        chunks = [row.chunk_id for row in catalog.collection_caches(session, home.id)]
    shown = in_order(find_places(asked, sizes, chunks).pages)
    assert [place.source_page for place in shown] == [1, 2, 3, None]
    box = Box(0.1, 0.2, 0.3, 0.4)

    def cited(*pointed: Pointed) -> list:
        return list(cite_pages(asked, Pointing("", pointed), shown, shown[::-1], Recipe()))

    (raster,) = cited(Pointed("gauge", (box,), 1))
    assert (raster.title, raster.page, raster.boxes, raster.quote) == ("weir.pdf", 2, (box,), "")
    (read,) = cited(Pointed("gauge", (Box(0.0, 0.0, 1.0, 0.9),), 1))
    assert read.quote.startswith("1. The gauge at Marlow Weir was read at 06:00")
    (text,) = cited(Pointed("lease", (Box(0.0, 0.0, 1.0, 0.5),), 3))
    assert (text.title, text.page) == ("lease.txt", 1)
    assert text.quote.startswith("The lease of Harbour House ends")
    assert text.boxes
    assert (raster.chunk, text.chunk) == (None, 0)
    unsure, beyond = Pointed("gauge", (box,), None), Pointed("gauge", (box,), 9)
    assert [c.title for c in cited(unsure, beyond)] == ["lease.txt", "weir.pdf", "weir.pdf", "weir.pdf"]


def test_whoever_hangs_up_does_not_keep_the_decoder(asked: Resources) -> None:
    steps = ask_steps(asked, Question(ASKED, "default"))
    next(steps)
    next(steps)
    steps.close()
    assert ask(asked, "default", ASKED).answer


@pytest.fixture
def two_texts(model: Path, tmp_path: Path) -> Iterator[Resources]:
    settings = Settings(
        home=tmp_path / "home", page_codecs=(f"hf:{model}",), decoder=f"hf:{model}", device="cpu", answer_tokens=16
    )
    with Resources(settings) as resources:
        for name, text in (("lease.txt", LEASE), ("boat.txt", "The lease of the boat ends on 2 May 2029.")):
            (tmp_path / name).write_text(text)
            accept(resources, "default", "default", Offer(tmp_path / name, name))
        run_due_jobs(resources)
        yield resources


def test_a_document_may_be_deleted_while_questions_about_it_are_answered_or_wait(two_texts: Resources) -> None:
    steps = ask_steps(two_texts, Question("When does the lease end?", "default"))
    context = next(steps)
    assert isinstance(context, ContextReport)
    assert context.pages == 2
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, two_texts, "default", "And when does the lease of the boat end?", k=7)
        time.sleep(3)  # until it waits for the model
        (lease,) = [d for d in documents_of(two_texts, "default", "default") if d.title == "lease.txt"]
        remove_document(two_texts, lease.id)
        *_, answer = steps
        other = waiting.result(60)
    assert isinstance(answer, AnswerReport)
    assert {citation.title for citation in answer.citations} == {"boat.txt"}
    assert {citation.title for citation in other.citations} == {"boat.txt"}
    assert other.context.pages == 1


def test_those_who_wait_for_a_model_keep_nobody_else_from_an_answer(
    filled: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.service.conftest import running

    monkeypatch.setattr("api.app.REQUESTS", 2)
    body = {"question": ASKED, "collection": "default", "stream": True}
    chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}], "stream": True}
    for service in running(filled):

        def asks(number: int, url: str = service.url) -> str:
            path, sent = ("/v1/ask", body) if number % 2 else ("/v1/chat/completions", chat)
            return httpx.post(url + path, json=sent, timeout=60).text

        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(asks, number) for number in range(6)]
            time.sleep(0.5)
            assert httpx.get(f"{service.url}/healthz", timeout=20).json() == {"status": "ok"}
            told = [answer.result() for answer in answers]
    assert all("event: done" in text or "[DONE]" in text for text in told)


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/chat/completions"])
def test_whoever_hangs_up_over_http_does_not_let_the_model_write_on(
    filled: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.vlm.decode import PageDecoder
    from tests.api.service.conftest import running

    made = 0
    make = PageDecoder._step

    def slowly(decoder: PageDecoder, token: int, context: Context) -> None:
        nonlocal made
        made += 1
        time.sleep(0.1)
        make(decoder, token, context)

    def said(tokenizer: object, tokens: Iterator[int]) -> Iterator[str]:
        return (f"{token} " for token in tokens)  # random weights write half characters, which come when they end

    monkeypatch.setattr(PageDecoder, "_step", slowly)
    monkeypatch.setattr("compressor.vlm.opened.stream_text", said)
    chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}]}
    body = {"question": ASKED, "collection": "default"} if path == "/v1/ask" else chat
    for service in running(filled.model_copy(update={"answer_tokens": 400})):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(service.url + path, json=body, timeout=5)
        time.sleep(2)
        before = made
        time.sleep(1)
        assert 0 < made == before < 100


def test_over_http_an_answer_is_streamed_as_it_is_made(filled: Settings) -> None:
    from tests.api.service.conftest import running

    body = {"question": ASKED, "collection": "default", "stream": True}
    for service in running(filled):
        with service.client() as client, client.stream("POST", "/v1/ask", json=body) as stream:
            lines = [line for line in stream.iter_lines() if line]
        with service.client() as client:
            small = client.post("/v1/ask", json={**body, "stream": False, "decoder": "hf:elsewhere"})
            chat = {"model": "default", "messages": [{"role": "user", "content": ASKED}], "stream": True}
            told = client.post("/v1/chat/completions", json=chat).text
    names = [line[7:] for line in lines if line.startswith("event: ")]
    assert (names[0], names[-1]) == ("search", "done")
    assert names.count("answer") > 1
    done = json.loads(next(line[6:] for line in reversed(lines) if line.startswith("data: ")))
    assert (done["mode"], done["context"]["pages"], done["cut_off"]) == ("full", 4, True)
    assert (small.status_code, small.json()["title"]) == (422, "The decoder is not known")
    assert told.count('"content"') > 2
    assert '"finish_reason": "length"' in told
    assert told.rstrip().endswith("data: [DONE]")


def test_on_the_command_line_it_is_printed_with_its_pages(
    filled: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.api.test_cli import as_json, percel

    monkeypatch.setenv("PERCEL_HOME", str(filled.home))
    monkeypatch.setenv("PERCEL_DEVICE", "cpu")
    monkeypatch.setenv("PERCEL_ANSWER_TOKENS", "16")
    said = " ".join(percel("ask", ASKED, "--decoder", f"hf:{model}").stdout.split())
    assert "weir.pdf, page 2" in said
    assert "read 4 pages (full attention)" in said
    assert "The model was cut off: PERCEL_ANSWER_TOKENS allows no longer answer." in said
    assert as_json("ask", ASKED, "--decoder", f"hf:{model}")["mode"] == "full"
