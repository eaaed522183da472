"""Searches over HTTP: those that come at once share one look, and keep no other collection's waiting."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

import api.searches as searches_of
from api.access import named_home
from api.library import remove_collection
from api.search import Hit, Sought, search, search_together
from api.searches import THREADS, Searches, SearchThreads
from compressor.device import side_by_side
from store import words
from store.errors import BadFilter, NotFound
from store.lexical.cut import Cutter
from store.lexical.postings import Postings
from store.models import Collection
from store.types import PassageWords
from tests.api.conftest import PLACES, QUESTIONS, text_of
from tests.api.test_gathered import PATIENCE, run, until
from tests.workers.test_ingest import offer
from workers.ingest import accept
from workers.resources import Resources
from workers.runner import run_due_jobs


def task_of(searches: Searches, query: str, *, collection: str = "test", **where: object) -> asyncio.Task[list[Hit]]:
    asked = searches("default", collection, query, k=3, where=where or None)
    return asyncio.get_running_loop().create_task(asked)


def titles(hits: Sequence[Hit]) -> list[str]:
    return [hit.title for hit in hits]


@pytest.mark.usefixtures("documents")
def test_those_that_come_at_once_share_one_look(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    first, go = threading.Event(), threading.Event()
    batches: list[list[str]] = []

    def held(
        resources: Resources, home: Collection, sought: Sequence[Sought], vectors: np.ndarray | None
    ) -> list[list[Hit]]:
        batches.append([one.query for one in sought])
        first.set()
        assert go.wait(PATIENCE)
        return search_together(resources, home, sought, vectors)

    expected = [titles(search(resources, "default", text, collection="test", k=3)) for text in QUESTIONS]
    monkeypatch.setattr(searches_of, "search_together", held)

    async def main(searches: Searches) -> None:
        asked = [task_of(searches, QUESTIONS[0])]
        await until(first.is_set)
        asked += [task_of(searches, text) for text in QUESTIONS[1:]]
        refused = task_of(searches, QUESTIONS[0], year={"~": 2024})
        await until(lambda: len(searches._look_up._waiting["default", "test"]) == len(QUESTIONS))
        go.set()
        assert [set(titles(await task)) for task in asked] == [set(its) for its in expected]
        with pytest.raises(BadFilter, match="year: ~ is not an operator"):
            await refused

    with closing(Searches(resources)) as searches:
        run(main(searches))
    assert batches[0] == [QUESTIONS[0]]
    assert sorted(batches[1]) == sorted([*QUESTIONS[1:], QUESTIONS[0]])
    assert resources.timings.seconds["search"] > 0


@pytest.mark.usefixtures("documents")
def test_an_unknown_collection_is_refused_without_the_names_of_others(resources: Resources) -> None:
    with (
        closing(Searches(resources)) as searches,
        pytest.raises(NotFound, match=r"There is no collection 'nonesuch'. List the collections") as refusal,
    ):
        run(searches("default", "nonesuch", "anything", k=3, where=None))
    assert "test" not in str(refusal.value)


@pytest.mark.usefixtures("documents")
def test_a_collection_that_is_being_opened_keeps_no_other_waiting(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(resources, "default", "other", offer(tmp_path, "other.txt", text_of("Lower Lock", 1)))
    run_due_jobs(resources)
    opening, go = threading.Event(), threading.Event()

    def slowly(cutter: Cutter, rows: list[PassageWords]) -> Postings:
        if "Marlow" in rows[0].body:
            opening.set()
            assert go.wait(PATIENCE)
        return cut(cutter, rows)

    cut = words._cut
    monkeypatch.setattr(words, "_cut", slowly)

    async def main(searches: Searches) -> None:
        slow = [task_of(searches, QUESTIONS[0]) for _ in range(2)]
        try:
            await until(opening.is_set)
            assert titles(await task_of(searches, QUESTIONS[0], collection="other")) == ["other.txt"]
            assert not any(task.done() for task in slow)
        finally:
            go.set()
        assert {title[: len(PLACES[0])] for task in slow for title in titles(await task)} == {PLACES[0]}

    with Resources(resources.settings) as fresh, closing(Searches(fresh)) as searches:
        run(main(searches))


@pytest.mark.usefixtures("documents")
def test_a_collection_is_looked_up_once_while_nothing_is_committed_and_not_found_once_deleted(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def counted(resources: Resources, tenant: str, name: str) -> Collection:
        looks.append(name)
        return named_home(resources, tenant, name)

    monkeypatch.setattr(searches_of, "named_home", counted)

    async def main(searches: Searches) -> None:
        for _ in range(3):
            assert len(await task_of(searches, QUESTIONS[0])) == 3
        assert looks == ["test"]
        remove_collection(resources, "default", "test")
        for _ in range(2):
            with pytest.raises(NotFound, match="There is no collection 'test'"):
                await task_of(searches, QUESTIONS[0])

    with closing(Searches(resources)) as searches:
        run(main(searches))
    assert looks == ["test"] * 3


def test_a_batch_takes_the_thread_that_was_through_last_and_makes_its_vectors_there() -> None:
    def vectors(_: Sequence[str]) -> list[tuple[int, int]]:
        return side_by_side(lambda part: (threading.get_ident(), torch.get_num_threads()), range(3), device="cpu")

    def fail(_: Sequence[str]) -> None:
        raise ValueError(threading.get_ident())

    async def main() -> None:
        threads = SearchThreads()
        first = await threads(vectors, ["one"])
        assert first == [(first[0][0], 1)] * 3
        with pytest.raises(ValueError, match=str(first[0][0])):
            await threads(fail, ["two"])
        assert await threads(vectors, ["three"]) == first

    run(main())


def test_batches_of_several_collections_go_on_beside_each_other_up_to_a_number() -> None:
    together, lock = threading.Barrier(THREADS + 1), threading.Lock()
    there: list[int] = []

    def work(batch: int) -> int:
        with lock:
            there.append(threading.get_ident())
        if batch < THREADS:
            together.wait(PATIENCE)
        return batch

    async def main() -> None:
        threads = SearchThreads()
        asked = [asyncio.create_task(threads(work, batch)) for batch in range(THREADS + 3)]
        await until(lambda: len(there) >= THREADS)
        await asyncio.sleep(0.1)  # for one too many to come
        assert len(set(there)) == len(there) == THREADS
        together.wait(PATIENCE)
        assert await asyncio.gather(*asked) == list(range(THREADS + 3))

    run(main())
    assert len(set(there)) == THREADS
