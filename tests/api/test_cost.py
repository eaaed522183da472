"""What a set of questions costs is counted from what is stored, and priced by a sheet that says where it is from."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cost import CostReport, Way, read_questions, reckon
from api.errors import BadPrices, BadQuestions
from api.prices import load_prices
from tests.api.test_cli import percel
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

QUESTIONS = ["How high did the gauge stand?", "Who read it?", "When was it read?"]


@pytest.fixture(scope="module")
def home_with_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cost")
    with Resources(Settings(home=folder / "home")) as resources:
        for number in range(3):
            path = folder / f"{number}.txt"
            path.write_text(f"House {number}. " + f"The gauge of house {number} was read, it stood at 2.417 m. " * 60)
            accept(resources, "default", "default", Offer(path, path.name))
        run_due_jobs(resources)
    return folder / "home"


@pytest.fixture
def filled(home_with_documents: Path) -> Iterator[Resources]:
    with Resources(Settings(home=home_with_documents)) as resources:
        yield resources


def ways(report: CostReport) -> dict[str, Way]:
    return {way.name: way for way in report.ways}


def test_the_ways_are_counted_from_what_is_stored(filled: Resources) -> None:
    report = reckon(filled, "default", QUESTIONS, load_prices(), collection=None, k=1)
    found = ways(report)
    full, rag, caches, every = (found[name] for name in ("full text", "text RAG", "caches", "all caches"))
    asked = sum(filled.count_tokens(QUESTIONS))
    assert (full.positions - asked) % 3 == 0
    assert rag.positions < full.positions
    assert caches.positions < rag.positions / 5
    assert every.positions < full.positions / 5
    assert full.prefilled < full.positions / 2  # the text is the same every time
    assert (rag.prefilled, caches.prefilled) == (rag.positions, caches.positions)
    assert caches.prefill_flops < rag.prefill_flops < full.prefill_flops
    assert caches.kv_bytes == caches.longest * 147_456
    assert caches.stored_bytes > 0
    for money in zip(caches.money, rag.money, strict=True):
        assert money[0].amount < money[1].amount
    assert report.prices[0].startswith("GPT-4.1, 2026-06-21: https://openai.com/api/pricing/")


def test_flops_of_a_prefix_and_the_rest_are_those_of_the_whole() -> None:
    shape = load_prices().decoder
    parts = shape.prefill_flops(700) + shape.prefill_flops(300, 700)
    assert parts == pytest.approx(shape.prefill_flops(1000))


def test_the_command_shows_the_ways_and_the_sources(
    home_with_documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERCEL_HOME", str(home_with_documents))
    (tmp_path / "questions.txt").write_text("\n".join(QUESTIONS))
    said = " ".join(percel("cost", tmp_path / "questions.txt", "-k", "2").stdout.split())
    assert "3 questions of 'default', 2 chunks each" in said
    assert "Amazon S3 Standard" in said
    whole = json.loads(percel("cost", tmp_path / "questions.txt", "--json").stdout)
    assert [way["name"] for way in whole["ways"]] == ["full text", "text RAG", "caches", "all caches"]


def test_questions_come_as_lines_or_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One?\n\n Two?\n")
    (tmp_path / "a.json").write_text('[{"question": "One?"}, "Two?"]')
    assert read_questions(tmp_path / "a.txt") == read_questions(tmp_path / "a.json") == ["One?", "Two?"]
    (tmp_path / "b.json").write_text('{"no": "list"}')
    with pytest.raises(BadQuestions, match=r"b\.json holds no questions that can be read"):
        read_questions(tmp_path / "b.json")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(BadQuestions, match=r"empty\.txt holds no questions"):
        read_questions(tmp_path / "empty.txt")


def test_a_price_sheet_of_ones_own_is_checked(tmp_path: Path) -> None:
    from importlib.resources import files

    own = files("api").joinpath("prices.toml").read_text("utf-8")
    (tmp_path / "own.toml").write_text(own.replace("0.023", "0.5"))
    assert load_prices(tmp_path / "own.toml").storage.gigabyte_month == 0.5
    (tmp_path / "bad.toml").write_text(own.replace("layers = 36", "layers = 0"))
    with pytest.raises(
        BadPrices, match=r"bad\.toml is no price sheet: decoder\.layers: Input should be greater than 0"
    ):
        load_prices(tmp_path / "bad.toml")
    (tmp_path / "worse.toml").write_text("currency = ")
    with pytest.raises(BadPrices, match=r"worse\.toml cannot be read as a price sheet"):
        load_prices(tmp_path / "worse.toml")
