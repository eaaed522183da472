"""How batches share the cores: in order, bounded, and without changing what the caller's threads do."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from compressor.device import side_by_side


def test_parts_come_back_in_order_and_each_has_one_core() -> None:
    before = torch.get_num_threads()
    assert side_by_side(lambda part: (part, torch.get_num_threads()), range(50), device="cpu") == [
        (part, 1) for part in range(50)
    ]
    assert torch.get_num_threads() == before


def test_many_callers_at_once_use_no_more_threads_than_there_are_cores() -> None:
    busy, most, lock = 0, 0, threading.Lock()
    step = threading.Event()

    def work(part: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        step.wait(0.01)
        with lock:
            busy -= 1
        return part

    with ThreadPoolExecutor(16) as callers:
        found = list(callers.map(lambda _: side_by_side(work, range(4), device="cpu"), range(16)))
    assert found == [[0, 1, 2, 3]] * 16
    assert most == torch.get_num_threads()


def test_what_a_part_raises_is_raised_to_its_caller() -> None:
    def work(part: int) -> float:
        return 1 / part

    with pytest.raises(ZeroDivisionError, match=r"^division by zero$"):
        side_by_side(work, [1, 0], device="cpu")
