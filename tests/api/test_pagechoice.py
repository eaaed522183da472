"""Pages in several sizes: the most relevant are loaded larger and the rest smaller, within a budget that holds."""

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from api.answer import ask
from api.errors import ContextTooLarge, NoBudget
from api.pagechoice import Chosen, choose_pages, pages_asked
from api.reports import Question
from api.search import home_of
from api.written import model_context
from compressor.errors import ContextTooLong, DeviceFull
from tests.compressor.vlm.saved import save_model
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

LEASE = "The lease of Harbour House ends on 31 January 2027."
ASKED = "When does the lease of Harbour House end?"
NAMES = ["a.pdf", "b.pdf", "lease.pdf"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("qwen3_vl", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Settings:
    """A home with three PDFs of two pages, in two sizes; the last one answers."""
    folder = tmp_path_factory.mktemp("filled")
    settings = Settings(
        home=folder / "home",
        page_codecs=(f"hf:{model}",),
        page_scales=(0.5,),
        decoder=f"hf:{model}",
        device="cpu",
        answer_tokens=4,
    )
    with Resources(settings) as resources:
        for name in NAMES:
            with pymupdf.open() as document:
                for number in range(2):
                    page = document.new_page(width=300, height=300)
                    text = LEASE if name == "lease.pdf" else f"{name} holds nothing of interest to anybody, {number}. "
                    page.insert_textbox((30, 30, 270, 270), text * 8)
                document.save(folder / name)
            accept(resources, "default", "default", Offer(folder / name, name, external_id=name))
            run_due_jobs(resources)
    return settings


@pytest.fixture
def asked(filled: Settings) -> Iterator[Resources]:
    with Resources(filled) as resources:
        yield resources


def tokens(resources: Resources) -> tuple[int, int]:
    """Vision tokens of all six pages, in full size and in half."""
    chosen = choose(resources, Question(ASKED, "default"))
    full = sum(place.sizes[0].positions for place in chosen.ranked)
    return full, sum(place.sizes[1].positions for place in chosen.ranked)


def choose(resources: Resources, question: Question) -> Chosen:
    reader = resources.page_reader(resources.page_codec(resources.settings.decoder))
    about = pages_asked(resources, home_of(resources, "default", None), question, reader.codec)
    return choose_pages(resources, about, model_context(reader, question))


def test_without_a_budget_every_page_is_large(asked: Resources) -> None:
    answer = ask(asked, "default", ASKED)
    full, half = tokens(asked)
    assert 0 < half < full
    assert (answer.context.pages, answer.context.smaller, answer.context.vision_tokens) == (6, 0, full)


@pytest.mark.parametrize("whole", [False, True])
def test_within_a_budget_the_most_relevant_pages_are_larger(asked: Resources, whole: bool) -> None:
    full, half = tokens(asked)
    budget = half + (full - half) // 2 + 12  # and what stands between the pages
    chosen = choose(asked, Question(ASKED, "default", whole=whole, budget=budget))
    assert len(chosen.ranked) == 6
    assert sum(place.positions for place in chosen.ranked) <= budget
    assert [place.document.title for place in chosen.ranked[:2]] == ["lease.pdf"] * 2
    sizes = [place.size for place in chosen.ranked]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[-1] == 1


@pytest.mark.parametrize("whole", [False, True])
def test_a_budget_holds_whatever_it_is(asked: Resources, whole: bool) -> None:
    full, half = tokens(asked)
    taken = []
    for budget in range(half, full + 1, 7):
        chosen = choose(asked, Question(ASKED, "default", whole=whole, budget=budget))
        taken.append(sum(place.positions for place in chosen.ranked))
        assert taken[-1] <= budget
        assert len(chosen.ranked) + chosen.left_out == 6
        assert chosen.left_out == 0 or not whole
    assert taken == sorted(taken)
    assert taken[-1] > taken[0]


def test_what_was_loaded_is_reported(asked: Resources) -> None:
    full, half = tokens(asked)
    context = ask(asked, "default", ASKED, whole=True, budget=full - 1).context
    assert (context.pages, context.left_out) == (6, 0)
    assert half < context.vision_tokens < full
    assert 0 < context.smaller < 6


def test_the_setting_is_the_budget_of_questions_that_name_none(asked: Resources) -> None:
    full, half = tokens(asked)
    with Resources(asked.settings.model_copy(update={"page_tokens": half + 20})) as small:
        assert ask(small, "default", ASKED).context.vision_tokens <= half + 20
        assert ask(small, "default", ASKED, budget=2 * full).context.vision_tokens == full


def test_a_budget_that_holds_no_page_or_not_the_whole_is_refused_with_the_numbers(asked: Resources) -> None:
    _, half = tokens(asked)
    with pytest.raises(
        ContextTooLong, match=r"no page fits: the smallest of 6 takes \d+ tokens, and the question's budget is 1"
    ):
        ask(asked, "default", ASKED, budget=1)
    message = rf"All of it is {half} vision tokens, and at most {half - 1} are loaded for one question \(the question's"
    with pytest.raises(ContextTooLarge, match=message):
        ask(asked, "default", ASKED, whole=True, budget=half - 1)
    with (
        Resources(asked.settings.model_copy(update={"page_tokens": half - 1})) as small,
        pytest.raises(
            ContextTooLarge, match=r"are loaded for one question \(PERCEL_PAGE_TOKENS\): ask without `whole`"
        ),
    ):
        ask(small, "default", ASKED, whole=True)


def test_a_context_that_is_too_small_for_the_large_pages_gets_smaller_ones(asked: Resources) -> None:
    full, half = tokens(asked)
    with Resources(asked.settings.model_copy(update={"max_context_tokens": full - 1})) as small:
        context = ask(small, "default", ASKED, whole=True).context
    assert (context.pages, context.left_out) == (6, 0)
    assert half <= context.vision_tokens < full
    assert context.smaller > 0


def test_too_little_memory_for_the_whole_is_refused(asked: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.vlm.reader.free_memory", lambda device: 1000)
    with pytest.raises(DeviceFull, match="the context needs"):
        ask(asked, "default", ASKED, whole=True)


def test_only_what_loads_pages_takes_a_budget(asked: Resources) -> None:
    with pytest.raises(NoBudget) as raised:
        ask(asked, "default", ASKED, decoder_name="extractive", budget=10)
    assert str(raised.value) == (
        "'extractive' loads no pages that a budget could hold: leave it out, or ask an hf: or vllm: decoder."
    )


def test_pages_of_both_sizes_are_read_together_and_kept_apart(asked: Resources) -> None:
    _, half = tokens(asked)
    first = ask(asked, "default", ASKED, budget=half + 40).context
    other = ask(asked, "default", ASKED).context
    again = ask(asked, "default", ASKED, budget=half + 40).context
    assert 0 < first.smaller < first.pages
    assert other.prefilled > other.vision_tokens  # other pages than those that were read
    assert again.prefilled < first.prefilled - first.vision_tokens
    assert again.vision_tokens == first.vision_tokens


def test_over_http_and_on_the_command_line(filled: Settings, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.api.service.conftest import running
    from tests.api.test_cli import as_json, percel

    with Resources(filled) as resources:
        _, half = tokens(resources)
    body = {"question": ASKED, "collection": "default", "budget": half + 20}
    for service in running(filled):
        with service.client() as client:
            answer = client.post("/v1/ask", json=body).json()
            wrong = client.post("/v1/ask", json={**body, "decoder": "extractive"})
            nothing = client.post("/v1/ask", json={**body, "budget": 0})
    assert answer["context"]["vision_tokens"] <= half + 20
    assert answer["context"]["smaller"] > 0
    assert (wrong.status_code, wrong.json()["title"]) == (422, "The decoder takes no budget")
    assert nothing.status_code == 422
    for name in ("home", "page_codecs", "page_scales", "decoder", "device", "answer_tokens"):
        value = getattr(filled, name)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        monkeypatch.setenv(f"PERCEL_{name.upper()}", text)
    assert as_json("ask", ASKED, "--budget", half + 20)["context"]["smaller"] > 0
    said = " ".join(percel("ask", ASKED, "--budget", half + 20).stdout.split())
    assert "of them smaller" in said
