"""The context of a question as a file: exact where it fits, merged by relevance where a budget asks for it."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from sqlalchemy import update

from api.context import SavedContext, save_context
from api.errors import BudgetTooSmall, ContextTooLarge
from api.library import documents_of, load_caches, read_document, remove_document
from api.reports import Question
from api.search import search
from compressor.codec.weights import available_rates
from compressor.errors import UnknownCodec
from compressor.formats import FORMATS
from compressor.quantise import dequantise
from store import catalog
from store.database import reading, transaction
from store.models import Cache as CacheRow
from tests.workers.test_ingest import offer
from workers.ingest import accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import Settings

TEXTS = {
    "weir.txt": "The gauge at Marlow Weir was read at 06:00. It stood at 2.417 m, serial GX-20418. " * 9,
    "lease.txt": "The lease of Harbour House ends on 31 January 2027. The notice period is ninety days. " * 9,
    "ferry.txt": "The ferry Linnea left at 07:40 on 3 May 2025 with 214 passengers aboard. " * 9,
}
ASKED = "How long is the notice period of the lease?"


def filled(resources: Resources, folder: Path) -> None:
    for name, text in TEXTS.items():
        accept(resources, "default", "default", offer(folder, name, text))
    run_due_jobs(resources)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resources]:
    """Three documents of a chunk each, stored at the lowest rate, so that there is much to merge."""
    folder = tmp_path_factory.mktemp("library")
    with Resources(Settings(home=folder / "home", codec="native-10")) as resources:
        filled(resources, folder)
        yield resources


def asking(text: str = ASKED, **more: object) -> Question:
    return Question(text, "default", **more)


def read_file(path: Path) -> tuple[NDArray[np.float16], dict[str, str]]:
    with safe_open(path, "np") as file:
        return file.get_tensor("tokens"), file.metadata()


def stored(resources: Resources, saved: SavedContext) -> list[NDArray[np.uint8]]:
    """The levels behind the chunks of a context, as they are stored, in its order."""
    with reading(resources.engine) as session:
        rows = [
            row
            for chunk in saved.chunks
            for row in catalog.document_caches(session, chunk.document_id)
            if row.ordinal == chunk.chunk
        ]
    return [cache.levels for cache in load_caches(resources, rows)]


def numbers(levels: NDArray[np.uint8]) -> NDArray[np.float16]:
    return dequantise(torch.from_numpy(levels), FORMATS["int4"]).numpy().astype(np.float16)


def total(resources: Resources) -> int:
    with reading(resources.engine) as session:
        home = catalog.find_collection(session, "default", "default")
        return catalog.context_tokens(session, home.id)


def test_without_a_budget_the_file_holds_the_stored_tokens_best_first(library: Resources, tmp_path: Path) -> None:
    out = tmp_path / "context.safetensors"
    saved = save_context(library, asking(k=2), out)
    tokens, said = read_file(out)
    levels = stored(library, saved)
    assert tokens.dtype == np.float16
    assert (tokens == numbers(np.concatenate(levels))).all()
    assert [chunk.title for chunk in saved.chunks] == [
        hit.title for hit in search(library, "default", ASKED, collection="default", k=2)
    ]
    assert (saved.vision_tokens, saved.width, saved.bytes) == (*tokens.shape, out.stat().st_size)
    assert saved.rates == {"native-10": 2}
    assert json.loads(said["asked"]) == {
        "question": ASKED, "collection": "default", "k": 2, "budget": None, "filter": None,
    }  # fmt: skip
    best, second = json.loads(said["chunks"])
    assert best == {
        "document_id": saved.chunks[0].document_id,
        "title": "lease.txt",
        "chunk": 0,
        "codec": library.codec("native-10").fingerprint,
        "rate": 10,
        "stored_rate": 10,
        "first": 0,
        "vision_tokens": len(levels[0]),
        "text_tokens": saved.chunks[0].text_tokens,
    }
    assert second["first"] == len(levels[0])
    assert saved.text_tokens == best["text_tokens"] + second["text_tokens"] > 0


def test_a_pipe_is_written_to_and_stays_one(library: Resources, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as reader:
        came = reader.submit(pipe.read_bytes)
        saved = save_context(library, asking(k=2), pipe)
        assert len(came.result(timeout=60)) == saved.bytes > 0
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_whole_collection_stands_in_the_order_of_its_arrival(library: Resources, tmp_path: Path) -> None:
    saved = save_context(library, asking(whole=True), tmp_path / "c")
    assert [chunk.title for chunk in saved.chunks] == list(TEXTS)
    assert (read_file(tmp_path / "c")[0] == numbers(np.concatenate(stored(library, saved)))).all()


def test_pieces_make_the_same_file_as_all_at_once(
    library: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = total(library) - 1
    for name, asked in (("stored", asking(whole=True)), ("merged", asking(whole=True, budget=budget))):
        save_context(library, asked, tmp_path / name)
        with monkeypatch.context() as patched:
            patched.setattr("api.context.LOADED_TOKENS", 1)
            save_context(library, asked, tmp_path / f"{name}-by-tokens")
        with monkeypatch.context() as patched:
            patched.setattr("api.context.LOADED_FILES", 1)
            save_context(library, asked, tmp_path / f"{name}-by-files")
        once = (tmp_path / name).read_bytes()
        assert (tmp_path / f"{name}-by-tokens").read_bytes() == once
        assert (tmp_path / f"{name}-by-files").read_bytes() == once


@pytest.mark.parametrize("whole", [False, True])
def test_under_a_budget_the_most_relevant_keeps_its_rate_and_the_rest_is_merged(
    library: Resources, tmp_path: Path, whole: bool
) -> None:
    codecs = {rate: library.codec(f"native-{rate}") for rate in available_rates()}
    texts = {
        document.title: read_document(library, document)[0] for document in documents_of(library, "default", "default")
    }
    least = sum(len(codecs[20].encode([text])[0].levels) for title, text in texts.items() if title != "lease.txt")
    budget = least + len(codecs[10].encode([texts["lease.txt"]])[0].levels)
    saved = save_context(library, asking(k=3, whole=whole, budget=budget), tmp_path / "c")
    tokens, said = read_file(tmp_path / "c")
    assert len(tokens) == saved.vision_tokens == budget
    assert {chunk.title: (chunk.stored_rate, chunk.rate) for chunk in saved.chunks} == {
        "lease.txt": (10, 10), "weir.txt": (10, 20), "ferry.txt": (10, 20),
    }  # fmt: skip
    assert saved.rates == {"native-10": 1, "native-20": 2}
    assert json.loads(said["asked"])["budget"] == budget
    for chunk in saved.chunks:
        (cache,) = codecs[chunk.rate].encode([texts[chunk.title]])
        assert chunk.codec == cache.codec
        assert (tokens[chunk.first : chunk.first + chunk.vision_tokens] == numbers(cache.levels)).all()


def test_the_least_relevant_is_merged_first(library: Resources, tmp_path: Path) -> None:
    saved = save_context(library, asking("When did the ferry leave?", k=3, budget=total(library) - 1), tmp_path / "c")
    assert [chunk.rate for chunk in saved.chunks] == [10, 10, 20]
    assert saved.chunks[0].title == "ferry.txt"


def test_chunks_of_a_whole_that_search_did_not_find_are_merged_first(
    library: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.contextchoice.RANKED", 1)
    saved = save_context(library, asking(whole=True, budget=total(library) - 1), tmp_path / "c")
    assert {chunk.title: chunk.rate for chunk in saved.chunks} == {"weir.txt": 20, "lease.txt": 10, "ferry.txt": 10}


def test_a_filter_decides_what_is_loaded(library: Resources, tmp_path: Path) -> None:
    where = {"@title": ["weir.txt", "ferry.txt"]}
    for whole in (False, True):
        saved = save_context(library, asking(whole=whole, where=where), tmp_path / "c")
        assert {chunk.title for chunk in saved.chunks} == {"weir.txt", "ferry.txt"}
        assert json.loads(read_file(tmp_path / "c")[1]["asked"])["filter"] == where


def test_deleted_documents_are_out_and_an_empty_collection_gives_no_tokens(
    resources: Resources, tmp_path: Path
) -> None:
    filled(resources, tmp_path)
    documents = {document.title: document.id for document in documents_of(resources, "default", "default")}
    remove_document(resources, documents.pop("lease.txt"))
    for whole in (False, True):
        saved = save_context(resources, asking(whole=whole), tmp_path / "c")
        assert {chunk.title for chunk in saved.chunks} == set(documents)

    def remove_one(step: str, done: int, due: int) -> None:
        if step == "load" and due == 2:  # its rows were seen, its cache is not loaded yet
            remove_document(resources, documents.pop("weir.txt"))

    saved = save_context(resources, asking(whole=True), tmp_path / "c", tell=remove_one)
    assert [chunk.title for chunk in saved.chunks] == ["ferry.txt"]
    assert (read_file(tmp_path / "c")[0] == numbers(np.concatenate(stored(resources, saved)))).all()

    remove_document(resources, documents.pop("ferry.txt"))
    for budget in (None, 1):
        saved = save_context(resources, asking(budget=budget), tmp_path / "c")
        tokens, said = read_file(tmp_path / "c")
        assert (tokens.shape, said["chunks"], saved.chunks, saved.compression) == ((0, 0), "[]", (), 0)


def test_a_budget_that_even_the_highest_rate_misses_is_refused_and_the_old_file_stays(
    library: Resources, tmp_path: Path
) -> None:
    highest = max(available_rates())
    strips = [len(levels) for levels in stored(library, save_context(library, asking(whole=True), tmp_path / "c"))]
    left = sum(-(-count // (highest // 10)) for count in strips)
    before = (tmp_path / "c").read_bytes()
    message = (
        f"^{left} vision tokens are left with everything merged to native-{highest}, and the question's budget is "
        f"{left - 1}: raise it, or ask for fewer chunks or of a part by a filter.$"
    )
    for whole in (False, True):
        with pytest.raises(BudgetTooSmall, match=message):
            save_context(library, asking(whole=whole, budget=left - 1), tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert (tmp_path / "c").read_bytes() == before
    assert save_context(library, asking(whole=True, budget=left), tmp_path / "c").vision_tokens == left


def test_what_is_more_than_may_be_loaded_is_refused_or_merged_to_it(library: Resources, tmp_path: Path) -> None:
    tokens = total(library)
    with Resources(library.settings.model_copy(update={"max_context_tokens": tokens - 1})) as small:
        for whole, less in ((True, "ask without `whole`"), (False, "ask for fewer chunks")):
            message = (
                rf"^All of it is {tokens} vision tokens, and at most {tokens - 1} are loaded for one question "
                rf"\(PERCEL_MAX_CONTEXT_TOKENS\): {less}, of a part by a filter, or with a budget to merge it to\.$"
            )
            with pytest.raises(ContextTooLarge, match=message):
                save_context(small, asking(whole=whole), tmp_path / "c")
        saved = save_context(small, asking(whole=True, budget=10 * tokens), tmp_path / "c")
    assert saved.vision_tokens < tokens
    assert sorted(chunk.rate for chunk in saved.chunks) == [10, 10, 20]
    with Resources(library.settings.model_copy(update={"max_context_tokens": 1})) as tiny:
        message = "everything merged to native-[0-9]+, and PERCEL_MAX_CONTEXT_TOKENS is 1: raise it, or ask"
        with pytest.raises(BudgetTooSmall, match=message):
            save_context(tiny, asking(whole=True, budget=tokens), tmp_path / "c")


def test_caches_of_a_codec_that_is_not_installed_are_refused_by_name(resources: Resources, tmp_path: Path) -> None:
    filled(resources, tmp_path)
    with transaction(resources.engine) as session:
        session.execute(update(CacheRow).values(codec="native-10@000000000000"))
    with pytest.raises(UnknownCodec, match="caches of native-10@000000000000 cannot be read here"):
        save_context(resources, asking(whole=True), tmp_path / "c")
    assert not (tmp_path / "c").exists()
