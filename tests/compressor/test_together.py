"""What is asked for at once is worked on at once, and each gets its own result, or its own error."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from compressor.together import MOST, Together

PATIENCE = 60.0  # seconds, for a machine that does much else


def test_one_that_comes_alone_is_done_alone() -> None:
    batches: list[Sequence[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        batches.append(items)
        return [2 * item for item in items]

    together = Together(double)
    assert [together(number) for number in range(3)] == [0, 2, 4]
    assert batches == [[0], [1], [2]]


def test_those_that_wait_go_together_and_each_gets_its_own() -> None:
    first, go = threading.Event(), threading.Event()
    batches: list[Sequence[int]] = []

    def double(items: Sequence[int]) -> list[int]:
        batches.append(items)
        first.set()
        assert go.wait(PATIENCE)
        return [2 * item for item in items]

    together = Together(double)
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(together, 0)]
        assert first.wait(PATIENCE)
        asked += [pool.submit(together, number) for number in range(1, 30)]
        while len(together._waiting) < 29:
            time.sleep(0.001)
        go.set()
        assert [each.result(PATIENCE) for each in asked] == [2 * number for number in range(30)]
    assert [len(batch) for batch in batches] == [1, MOST, 29 - MOST]


def test_of_a_batch_only_what_cannot_be_done_fails() -> None:
    first, go = threading.Event(), threading.Event()
    batches: list[Sequence[int]] = []

    def fussy(items: Sequence[int]) -> list[int]:
        batches.append(items)
        first.set()
        assert go.wait(10)
        if 13 in items:
            raise ValueError("no thirteen")
        return list(items)

    together = Together(fussy)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(together, 7)]
        assert first.wait(10)
        asked += [pool.submit(together, number) for number in (12, 13, 14)]
        while len(together._waiting) < 3:
            pass
        go.set()
        assert [each.result(10) for each in (asked[0], asked[1], asked[3])] == [7, 12, 14]
        with pytest.raises(ValueError, match="no thirteen"):
            asked[2].result(10)
    assert sorted(map(len, batches)) == [1, 1, 1, 1, 3]
    with pytest.raises(ValueError, match="no thirteen"):
        together(13)
    assert together(7) == 7


def test_a_panic_of_a_library_leaves_nobody_waiting() -> None:
    first, go = threading.Event(), threading.Event()

    class Panic(BaseException):
        pass

    def panicking(items: Sequence[int]) -> list[int]:
        if items == [0]:
            first.set()
            assert go.wait(PATIENCE)
            return [0]
        raise Panic("the library is broken")

    together = Together(panicking)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(together, 0)]
        assert first.wait(PATIENCE)
        asked += [pool.submit(together, number) for number in range(1, 4)]
        while len(together._waiting) < 3:
            time.sleep(0.001)
        go.set()
        assert asked[0].result(PATIENCE) == 0
        assert [str(each.exception(PATIENCE)) for each in asked[1:]] == ["the library is broken"] * 3
