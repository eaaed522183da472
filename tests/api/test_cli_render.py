"""`percel tune-render`, from text to a recipe that page caches are made by.

The model is a tiny one with random weights: what it reads means nothing here.
"""

import json
from pathlib import Path

import pytest

from compressor.vlm.recipe import Recipe
from compressor.vlm.recipefile import read_recipe, write_recipe
from store import catalog
from store.database import reading
from tests.api.test_cli import as_json, percel, run_main
from tests.compressor.vlm.saved import save_model
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import load_settings

TEXT = "It stood at 2.417 m."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("qwen3_vl", tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def story(tmp_path: Path, home: Path) -> Path:
    (tmp_path / "story.txt").write_text(TEXT)
    return tmp_path / "story.txt"


def options(model: Path, story: Path, folder: Path, *more: object) -> list[object]:
    places = ["--run", folder / "run", "--out", folder / "page.json", "--device", "cpu", "--chars", 100]
    return ["tune-render", f"hf:{model}", "--text", story, *places, *more]


def test_a_recipe_is_found_and_page_caches_are_made_by_it(
    story: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = as_json(*options(model, story, tmp_path, "--tokens", 100000, "--trials", 3, "--random", 1))
    assert [trial["phase"] for trial in found["trials"]] == ["built-in", "random", "local"]
    assert (found["met"], found["recipe"]) == (True, str(tmp_path / "page.json"))
    best = min(found["trials"], key=lambda t: (-t["measured"]["fidelity"], t["measured"]["tokens"], t["number"]))
    assert found["best"] == best
    assert Path(found["plot"]).read_bytes().startswith(b"\x89PNG")
    assert len(Path(found["log"]).read_text().splitlines()) == 4
    recipe = read_recipe(tmp_path / "page.json")
    assert recipe.dpi == best["recipe"]["dpi"]

    monkeypatch.setenv("PERCEL_PAGE_CODECS", f"hf:{model}")
    monkeypatch.setenv("PERCEL_PAGE_RECIPE", str(tmp_path / "page.json"))
    monkeypatch.setenv("PERCEL_DEVICE", "cpu")
    with Resources(load_settings()) as resources:
        accept(resources, "default", "default", Offer(story, story.name))
        run_due_jobs(resources)
        codec = resources.page_codec(f"hf:{model}")
        assert codec.recipe == recipe
        with reading(resources.engine) as session:
            home = catalog.find_collection(session, "default", "default")
            assert catalog.documents_without(session, codec.fingerprint, collection_id=home.id) == []


def test_a_run_goes_on_where_it_was_and_shows_what_is_best(story: Path, model: Path, tmp_path: Path) -> None:
    given = options(model, story, tmp_path, "--tokens", 100000, "--random", 1)
    assert percel(*given, "--trials", 2).exit_code == 0
    log = (tmp_path / "run" / "trials.jsonl").read_text()
    said = percel(*given, "--trials", 3)
    assert (tmp_path / "run" / "trials.jsonl").read_text().startswith(log)
    text = " ".join(said.stdout.split())
    assert "the best of 3 typographies" in text
    assert "96 dpi, DejaVuSans 9/11, 595x842-10, #000000 on #ffffff" in text
    assert f"export PERCEL_PAGE_RECIPE={tmp_path / 'page.json'}" in said.stdout.replace("\n", "")
    assert "3 of 3; best 0." in said.stderr


def test_no_recipe_is_written_where_none_reaches_the_goal(story: Path, model: Path, tmp_path: Path) -> None:
    ended = percel(*options(model, story, tmp_path, "--fidelity", 1, "--trials", 1))
    assert ended.exit_code == 1
    said = " ".join(ended.stdout.split())
    assert "no recipe was written: none of 1 typographies reaches the goal; the nearest is read 0." in said
    assert not (tmp_path / "page.json").exists()


def test_where_nothing_fits_the_context_the_reason_is_said(story: Path, tmp_path: Path) -> None:
    short = save_model("qwen3_vl", tmp_path / "short", max_tokens=80)
    ended = percel(*options(short, story, tmp_path, "--fidelity", 0.5, "--trials", 1))
    assert ended.exit_code == 1
    said = " ".join(ended.stdout.split())
    assert "none of 1 typographies could be measured; of the last:" in said
    assert "do not fit the context of 80 tokens of Qwen3-VL" in said


def test_wrong_usage_is_said_once(
    story: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: object) -> tuple[int, str]:
        code, text = run_main(monkeypatch, capsys, *arguments)
        return code, " ".join(text.replace("│", " ").split())

    code, text = said(*options(model, story, tmp_path))
    assert (code, "say what is wanted: --fidelity 0.98, --tokens 400, or both" in text) == (2, True)
    (tmp_path / "empty.txt").write_text(" \n")
    code, text = said(*options(model, tmp_path / "empty.txt", tmp_path, "--tokens", 9))
    assert (code, "the files hold no text to read back" in text) == (2, True)
    code, text = said("tune-render", "native-20", "--text", story, "--tokens", 9)
    assert (code, "'native-20' is no codec of pages; name models as hf:" in text) == (1, True)
    assert percel(*options(model, story, tmp_path, "--tokens", 100000, "--trials", 1)).exit_code == 0
    code, text = said(*options(model, story, tmp_path, "--tokens", 100000, "--trials", 1, "--seed", 2))
    assert code == 1
    assert "is the log of another search (it differs in seed): choose another --run, or remove it" in text


def test_a_setting_that_is_no_recipe_stops_the_start(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.json"
    write_recipe(Recipe(), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "dpi": 5}))
    monkeypatch.setenv("PERCEL_PAGE_RECIPE", str(path))
    code, text = run_main(monkeypatch, capsys, "ls")
    assert code == 2
    fault = f"the recipe {path} cannot be used: a page's dpi must be 45 to 300, not 5"
    assert text == f"error: bad settings: PERCEL_PAGE_RECIPE: {fault}"
