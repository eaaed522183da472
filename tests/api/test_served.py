"""A vLLM server answers out of the pages that a question is about: which are sent, what is refused, what is cited."""

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from api.answer import ask, ask_steps, known_decoders
from api.errors import ContextTooLarge, NoPageCaches
from api.reports import AnswerReport, ContextReport, Question
from compressor.errors import ContextTooLong, ModelError, RemoteOtherModel, RemoteUnreachable
from compressor.vlm.pagefile import PageFile
from tests.api.service.conftest import running
from tests.compressor.vlm.saved import save_model
from tests.compressor.vlm.tiny import WIDTH
from tests.vllm_stub import PIECES, VllmStub, vllm_stub
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

ASKED = "How long is the notice period?"
TEXTS = {"lease.txt": "The notice period is ninety days.", "weir.txt": "The gauge at Marlow Weir stood at 2.417 m."}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save_model(name, folder / f"tiny-{name}") for name in ("qwen3_vl", "smolvlm")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Settings:
    folder = tmp_path_factory.mktemp("filled")
    settings = Settings(
        home=folder / "home",
        page_codecs=tuple(f"hf:{model}" for model in models.values()),
        device="cpu",
        answer_tokens=16,
    )
    with Resources(settings) as resources:
        for name, text in TEXTS.items():
            (folder / name).write_text(text)
            accept(resources, "default", "default", Offer(folder / name, name, external_id=name))
        run_due_jobs(resources)
    return settings


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Settings:
    """The same texts as PDFs, whose pages are kept in two sizes."""
    folder = tmp_path_factory.mktemp("sized")
    settings = Settings(
        home=folder / "home",
        page_codecs=(f"hf:{models['qwen3_vl']}",),
        page_scales=(0.5,),
        device="cpu",
        answer_tokens=16,
    )
    with Resources(settings) as resources:
        for name, text in TEXTS.items():
            path = (folder / name).with_suffix(".pdf")
            with pymupdf.open() as document:
                page = document.new_page(width=300, height=300)
                page.insert_textbox((30, 30, 270, 270), text * 8)
                document.save(path)
            accept(resources, "default", "default", Offer(path, path.name, external_id=path.name))
        run_due_jobs(resources)
    return settings


@pytest.fixture
def stub(models: dict[str, Path]) -> Iterator[VllmStub]:
    with vllm_stub("tiny-qwen3_vl", WIDTH) as started:
        yield started


def asking(filled: Settings, stub: VllmStub, model: Path, **more: object) -> Settings:
    stub.model = model.name
    return filled.model_copy(update={"decoder": f"vllm:{stub.url}#{model}", **more})


def test_pages_are_sent_and_the_pages_are_cited(filled: Settings, stub: VllmStub, models: dict[str, Path]) -> None:
    settings = asking(filled, stub, models["qwen3_vl"])
    with Resources(settings) as resources:
        first, *pieces, last = ask_steps(resources, Question(ASKED, "default"))
        assert resources.open_reader() is None  # no model was loaded here
    assert isinstance(first, ContextReport)
    assert isinstance(last, AnswerReport)
    assert pieces == list(PIECES)
    assert (last.answer, last.decoder, last.mode) == ("Ninety days.", settings.decoder, "full")
    assert (first.pages, first.left_out) == (2, 0)
    assert {(citation.title, citation.page) for citation in last.citations} == {("lease.txt", 1), ("weir.txt", 1)}
    assert sum(len(rows) for _, rows, _ in stub.images if rows is not None) + 2 * 2 == first.vision_tokens
    assert all(name.startswith("percel:hf:qwen3_vl@") for name, _, _ in stub.images)
    assert len({name for name, _, _ in stub.images}) == 2
    assert settings.decoder in known_decoders(settings)


def test_a_family_with_positions_in_a_line_sends_its_whole_prompt(
    filled: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    with Resources(asking(filled, stub, models["smolvlm"])) as resources:
        answer = ask(resources, "default", ASKED)
    (prompt,) = stub.prompts
    assert answer.answer == "Ninety days."
    assert len(prompt) > answer.context.vision_tokens > 0


def test_names_are_sent_where_the_server_reads_the_store(
    filled: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    stub.consumer = True
    with Resources(asking(filled, stub, models["qwen3_vl"], vllm_sends="names")) as resources:
        assert ask(resources, "default", ASKED, whole=True).answer == "Ninety days."
        blobs = {name.split(":")[3] for name, rows, _ in stub.images if rows is None}
        assert len(stub.images) == 2
        assert blobs
        assert all(resources.blobs.exists(blob) for blob in blobs)
    with (
        Resources(asking(filled, stub, models["smolvlm"], vllm_sends="names")) as resources,
        pytest.raises(
            ModelError, match=r"SmolVLM goes into vLLM as prompt embeds, which have no names: set PERCEL_VLLM"
        ),
    ):
        ask(resources, "default", ASKED)


def test_what_does_not_fit_the_servers_context_is_left_out_or_refused(
    filled: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    with Resources(asking(filled, stub, models["qwen3_vl"])) as resources:
        assert ask(resources, "default", ASKED, whole=True).context.left_out == 0
        stub.max_model_len = 60  # room for the smaller page, the question and 16 tokens of an answer
        assert ask(resources, "default", ASKED).context.left_out == 1
        with pytest.raises(
            ContextTooLong,
            match=rf"^all of it is \d+ tokens with question and answer; the context of tiny-qwen3_vl holds "
            rf"{stub.max_model_len}, and one request [\d,]+ \(PERCEL_VLLM_SENDS=names: no limit\)$",
        ):
            ask(resources, "default", ASKED, whole=True)
        stub.max_model_len = 20
        with pytest.raises(
            ContextTooLong, match=r"there is room for 20 in the context of tiny-qwen3_vl and in one req"
        ):
            ask(resources, "default", ASKED)
    with (
        Resources(asking(filled, stub, models["qwen3_vl"], max_context_tokens=5)) as resources,
        pytest.raises(ContextTooLarge, match=r"and at most 5 are loaded for one question"),
    ):
        ask(resources, "default", ASKED, whole=True)
    assert len(stub.requests) == 2  # nothing that was refused was sent


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("sends", ["embeds", "names"])
def test_under_a_budget_pages_are_sent_smaller(
    sized: Settings, stub: VllmStub, models: dict[str, Path], sends: str, whole: bool
) -> None:
    stub.consumer = sends == "names"
    with Resources(asking(sized, stub, models["qwen3_vl"], vllm_sends=sends)) as resources:
        full = ask(resources, "default", ASKED, whole=whole).context
        large, stub.images = stub.images, []
        budget = full.vision_tokens - 1
        context = ask(resources, "default", ASKED, whole=whole, budget=budget).context
        assert (full.pages, full.smaller, full.left_out) == (2, 0, 0)
        assert (context.pages, context.smaller, context.left_out) == (2, 1, 0)
        assert context.vision_tokens <= budget
        assert context.planned_bytes == 0  # nothing is loaded here
        named = {name: grid for name, _, grid in large}
        kept = [grid for name, _, grid in stub.images if name in named]
        ((small, rows, grid),) = [image for image in stub.images if image[0] not in named]
        assert kept == [named[name] for name, _, _ in stub.images if name in named]
        assert len(kept) == 1
        blob, entry = small.split(":")[3:]
        with PageFile(resources.blobs.ranges(blob)) as file:
            stored = file.load_many([entry])[0]
    assert stored.grid is not None
    assert grid == [1, 2 * stored.grid[0], 2 * stored.grid[1]]  # patches, two of which on a side became a feature
    assert grid[1] * grid[2] < min(one[1] * one[2] for one in named.values())
    if sends == "embeds":
        assert rows is not None
        assert len(rows) == len(stored.features)
    else:
        assert rows is None


def test_a_budget_of_no_page_and_a_setting_hold_for_a_server_too(
    sized: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    with Resources(asking(sized, stub, models["qwen3_vl"])) as resources:
        full = ask(resources, "default", ASKED).context.vision_tokens
        with pytest.raises(ContextTooLong, match=r"takes \d+ tokens, and the question's budget is 1$"):
            ask(resources, "default", ASKED, budget=1)
        with pytest.raises(ContextTooLarge, match=r"at most 1 are loaded for one question \(the question's budget\)"):
            ask(resources, "default", ASKED, whole=True, budget=1)
    with Resources(asking(sized, stub, models["qwen3_vl"], page_tokens=full - 1)) as resources:
        assert ask(resources, "default", ASKED).context.smaller > 0


def test_a_server_with_little_room_is_sent_all_pages_smaller(
    sized: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    with Resources(asking(sized, stub, models["qwen3_vl"])) as resources:
        full = ask(resources, "default", ASKED, whole=True).context.vision_tokens
        stub.max_model_len = full + 40  # question and answer take more
        context = ask(resources, "default", ASKED, whole=True).context
    assert (context.pages, context.left_out) == (2, 0)
    assert context.smaller > 0
    assert context.vision_tokens < full


def test_a_server_of_another_model_is_sent_nothing(filled: Settings, stub: VllmStub, models: dict[str, Path]) -> None:
    settings = asking(filled, stub, models["qwen3_vl"])
    stub.model = "other"
    with (
        Resources(settings) as resources,
        pytest.raises(RemoteOtherModel, match=r"serves 'other', not .*/tiny-qwen3_vl, whose page caches would be sent"),
    ):
        ask(resources, "default", ASKED)
    assert stub.requests == []


def test_documents_without_page_caches_are_named(filled: Settings, stub: VllmStub, tmp_path: Path) -> None:
    other = save_model("qwen3_vl", tmp_path / "unseen", seed=1)
    with (
        Resources(asking(filled, stub, other)) as resources,
        pytest.raises(
            NoPageCaches, match=r"2 of 2 chunks asked of 'default' have no page caches for hf:.*/unseen: set "
        ),
    ):
        ask(resources, "default", ASKED)


def test_over_http_a_failing_server_is_told_with_its_status(
    filled: Settings, stub: VllmStub, models: dict[str, Path]
) -> None:
    settings = asking(filled, stub, models["qwen3_vl"])
    stub.mm_embeds = False
    for service in running(settings):
        with service.client() as client:
            reply = client.post(
                "/v1/ask", json={"question": ASKED, "collection": "default", "decoder": settings.decoder}
            )
    assert (reply.status_code, reply.json()["title"]) == (502, "The remote decoder does not answer")
    assert "start it with --enable-mm-embeds" in reply.json()["detail"]


def test_a_server_that_is_down_is_one_error(filled: Settings, models: dict[str, Path]) -> None:
    settings = filled.model_copy(update={"decoder": f"vllm:http://127.0.0.1:9/v1#{models['qwen3_vl']}"})
    with (
        Resources(settings) as resources,
        pytest.raises(RemoteUnreachable, match=r"http://127\.0\.0\.1:9/v1 cannot be reached: .*is the server running"),
    ):
        ask(resources, "default", ASKED)
