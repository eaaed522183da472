"""What is asked for at once is worked on at once, and each gets its own result, or its own error."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import pytest

from api.errors import TooBusy
from api.gathered import MOST, Gathered
from store.errors import DatabaseUnreachable

PATIENCE = 60.0  # seconds, for a machine that does much else


class Doubling:
    """Doubles numbers, batch by batch; the first batch waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.first = threading.Event()
        self.go = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.first.set()
        assert self.go.wait(PATIENCE)
        if 13 in items:
            raise ValueError("no thirteen")
        return [2 * item for item in items]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def behind_the_first(work: Doubling, gathered: Gathered[int, int], items: Sequence[int]) -> list[object]:
    """What becomes of 0, and of items that all come while it is worked on."""

    async def ask(item: int) -> int:
        return await gathered(item)

    asked = [asyncio.create_task(ask(0))]
    await until(work.first.is_set)
    asked += [asyncio.create_task(ask(item)) for item in items]
    await until(lambda: len(gathered._waiting[None]) == len(items))
    work.go.set()
    return await asyncio.gather(*asked, return_exceptions=True)


def run(main: Awaitable[object]) -> object:
    async def patiently() -> object:
        return await asyncio.wait_for(main, PATIENCE)

    return asyncio.run(patiently())


def test_one_that_comes_alone_is_done_alone() -> None:
    work = Doubling()
    work.go.set()

    async def main() -> list[int]:
        gathered = Gathered(work)
        found = [await gathered(number) for number in range(3)]
        await until(lambda: not gathered._waiting and not gathered._tasks)
        return found

    assert run(main()) == [0, 2, 4]
    assert work.batches == [[0], [1], [2]]


def test_those_that_wait_go_together_and_each_gets_its_own() -> None:
    work = Doubling()
    assert run(behind_the_first(work, Gathered(work), range(20, 49))) == [0, *range(40, 98, 2)]
    assert [len(batch) for batch in work.batches] == [1, MOST, 29 - MOST]


def test_of_a_batch_only_what_cannot_be_done_fails() -> None:
    work = Doubling()
    gathered = Gathered(work)
    zero, twelve, thirteen, fourteen = run(behind_the_first(work, gathered, (12, 13, 14)))
    assert (zero, twelve, fourteen) == (0, 24, 28)
    assert isinstance(thirteen, ValueError)
    assert str(thirteen) == "no thirteen"
    assert work.batches == [[0], [12, 13, 14], [12], [13], [14]]
    assert thirteen.__context__ is None  # nothing of the batch, in which others were
    with pytest.raises(ValueError, match="no thirteen"):
        run(gathered(13))
    assert run(gathered(7)) == 14


def test_where_no_thread_can_be_had_nobody_is_left_waiting() -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(Gathered(Doubling(), in_thread=refuse)(1))


def test_a_panic_of_a_library_leaves_nobody_waiting() -> None:
    class Panic(BaseException):
        pass

    class Panicking(Doubling):
        def __call__(self, items: Sequence[int]) -> list[int]:
            found = super().__call__(items)
            if 0 not in items:
                raise Panic("the library is broken")
            return found

    work = Panicking()
    zero, *others = run(behind_the_first(work, Gathered(work), (1, 2, 3)))
    assert zero == 0
    assert [str(error) for error in others] == ["the library is broken"] * 3
    assert work.batches == [[0], [1, 2, 3]]


def test_a_database_that_does_not_answer_is_asked_once_for_all_of_a_batch() -> None:
    class Asking(Doubling):
        def __call__(self, items: Sequence[int]) -> list[int]:
            found = super().__call__(items)
            if 0 not in items:
                raise DatabaseUnreachable("here", "connection timeout expired")
            return found

    work = Asking()
    zero, *others = run(behind_the_first(work, Gathered(work), (1, 2, 3)))
    assert zero == 0
    assert {str(error) for error in others} == {str(DatabaseUnreachable("here", "connection timeout expired"))}
    assert work.batches == [[0], [1, 2, 3]]


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda items: next(iter(())), r"unexpected StopIteration\(\)"),
        (lambda items: [], r"zip\(\) argument 2 is shorter than argument 1"),
    ],
)
def test_a_fault_of_the_work_itself_leaves_nobody_waiting(fails: Callable[[object], list[int]], said: str) -> None:
    gathered = Gathered(fails)

    async def main() -> list[object]:
        asked = (gathered(number) for number in range(3))
        found = await asyncio.gather(*asked, return_exceptions=True)
        return [*found, *await asyncio.gather(gathered(4), return_exceptions=True)]

    for error in run(main()):
        with pytest.raises((RuntimeError, ValueError), match=said):
            raise error
    assert not gathered._waiting


def test_a_batch_is_worked_on_in_the_context_of_one_that_is_in_it() -> None:
    request = ContextVar("request", default="none")
    seen: dict[tuple[int, ...], str] = {}

    class Noting(Doubling):
        def __call__(self, items: Sequence[int]) -> list[int]:
            seen[tuple(items)] = request.get()
            return super().__call__(items)

    work = Noting()
    gathered = Gathered(work)

    async def ask(item: int) -> int:
        request.set(f"request {item}")
        return await gathered(item)

    async def main() -> None:
        asked = [asyncio.create_task(ask(0))]
        await until(work.first.is_set)
        asked += [asyncio.create_task(ask(item)) for item in (12, 13)]
        await until(lambda: len(gathered._waiting[None]) == 2)
        work.go.set()
        await asyncio.gather(*asked, return_exceptions=True)

    run(main())
    assert seen == {(0,): "request 0", (12, 13): "request 12", (12,): "request 12", (13,): "request 13"}


def test_a_place_keeps_no_other_waiting_and_is_forgotten_afterwards() -> None:
    held, go = threading.Event(), threading.Event()

    def work(items: Sequence[str]) -> list[str]:
        if "slow" in items:
            held.set()
            assert go.wait(PATIENCE)
        return [item.upper() for item in items]

    async def main() -> None:
        gathered = Gathered(work)
        slow = asyncio.create_task(_ask(gathered, "slow", "here"))
        await until(held.is_set)
        assert await gathered("quick", "there") == "QUICK"
        assert not slow.done()
        go.set()
        assert await slow == "SLOW"
        await until(lambda: not gathered._waiting)

    run(main())


def test_a_request_that_is_gone_takes_nothing_from_the_others() -> None:
    work = Doubling()

    async def main() -> list[int]:
        gathered = Gathered(work)
        gone, other = (asyncio.create_task(_ask(gathered, number)) for number in (1, 2))
        await until(work.first.is_set)
        gone.cancel()
        third = asyncio.create_task(_ask(gathered, 3))
        await until(lambda: bool(gathered._waiting[None]))
        work.go.set()
        found = [await other, await third]
        assert gone.cancelled()
        return found

    assert run(main()) == [4, 6]


async def _ask(gathered: Gathered[object, object], item: object, place: object = None) -> object:
    return await gathered(item, place)


def test_who_gave_up_while_waiting_is_not_worked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.gathered.LONG_SECONDS", 0.0)
    work = Doubling()
    gathered = Gathered(work)

    async def stays() -> bool:
        return False

    async def left() -> bool:
        return True

    async def main() -> list[object]:
        asked = [asyncio.create_task(_ask_as(gathered, 0, stays))]
        await until(work.first.is_set)
        asked += [asyncio.create_task(_ask_as(gathered, item, left if item % 2 else stays)) for item in range(1, 40)]
        await until(lambda: len(gathered._waiting[None]) == 39)
        work.go.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    found = run(main())
    assert found[::2] == [*range(0, 80, 4)]
    assert {type(error) for error in found[1::2]} == {TooBusy}
    assert [len(batch) for batch in work.batches] == [1, MOST, 19 - MOST]
    assert not gathered._waiting


def test_who_waited_for_a_moment_only_is_not_asked_whether_he_gave_up() -> None:
    work = Doubling()
    work.go.set()

    async def asked() -> bool:
        raise AssertionError("nobody asks")

    assert run(_ask_as(Gathered(work), 4, asked)) == 8


async def _ask_as(gathered: Gathered[int, int], item: int, gone: Callable[[], Awaitable[bool]]) -> int:
    return await gathered(item, gone=gone)
