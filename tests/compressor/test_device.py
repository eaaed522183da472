"""How batches share the cores: in order, bounded, and without changing what the caller's threads do; free memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from compressor.device import (
    _container_memory,
    _pool,
    choose_device,
    device_faults,
    free_memory,
    one_core_threads,
    side_by_side,
)
from compressor.errors import DeviceFull, ModelError
from store.faissfile import use_threads


@pytest.fixture(params=[1, 3])
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that was given so many cores, whatever this one was."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    _pool.cache_clear()
    yield request.param
    torch.set_num_threads(before)
    _pool.cache_clear()


def test_parts_come_back_in_order_and_each_has_one_core(cores: int) -> None:
    assert side_by_side(lambda part: (part, torch.get_num_threads()), range(50), device="cpu") == [
        (part, 1) for part in range(50)
    ]
    assert torch.get_num_threads() == cores


def test_many_callers_at_once_use_no_more_threads_than_there_are_cores(cores: int) -> None:
    busy, most, lock = 0, 0, threading.Lock()
    step = threading.Event()

    def work(part: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            if busy == cores:
                step.set()
        step.wait(60)  # for all of them to be there once
        time.sleep(0.01)  # for one too many to come
        with lock:
            busy -= 1
        return part

    with ThreadPoolExecutor(16) as callers:
        found = list(callers.map(lambda _: side_by_side(work, range(4), device="cpu"), range(16)))
    assert found == [[0, 1, 2, 3]] * 16
    assert most == cores


def test_a_thread_that_has_one_core_takes_every_part_itself(cores: int) -> None:
    def parts() -> list[tuple[int, int]]:
        return side_by_side(lambda part: (threading.get_ident(), torch.get_num_threads()), range(4), device="cpu")

    mine = one_core_threads("mine", 1)
    assert mine.submit(parts).result() == [(mine.submit(threading.get_ident).result(), 1)] * 4
    assert one_core_threads("mine", 1) is mine
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == cores


def test_threads_that_faiss_searched_in_have_no_say_in_how_many_cores_there_are(cores: int) -> None:
    def searched() -> set[int]:
        use_threads(1)
        both = threading.Barrier(cores)
        return set(side_by_side(lambda part: both.wait(60) and threading.get_ident(), range(cores), device="cpu"))

    with ThreadPoolExecutor(1) as caller:
        caller.submit(searched).result()
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == cores


def test_what_a_part_raises_is_raised_to_its_caller() -> None:
    def work(part: int) -> float:
        return 1 / part

    with pytest.raises(ZeroDivisionError, match=r"^division by zero$"):
        side_by_side(work, [1, 0], device="cpu")


def test_free_memory_is_what_machine_and_container_leave(tmp_path: Path) -> None:
    assert 1e6 < free_memory("cpu") < 1e14
    assert _container_memory(tmp_path / "no limit") > 1e15
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert _container_memory(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert _container_memory(tmp_path) > 1e15


def test_a_machine_without_memory_is_one_error() -> None:
    message = r"^the memory of cpu is too small for this batch: .*can't allocate memory"
    with pytest.raises(DeviceFull, match=message), device_faults("cpu"):
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(RuntimeError, match=r"^something else$"), device_faults("cpu"):
        raise RuntimeError("something else")


def test_a_device_that_is_none_is_named_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="there is no device 'tpu'; choose auto, cpu, cuda or cuda:N"):
        choose_device("tpu")
