"""Owns searches over HTTP: those that come at once are embedded together, and looked up together."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from starlette.concurrency import run_in_threadpool

from api.access import named_home
from api.errors import TooBusy
from api.find import embed_queries
from api.gathered import Gathered
from api.search import Hit, Sought, search_together
from store.commits import Commits, Remembered
from store.models import Collection
from workers.resources import Resources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Batch = TypeVar("Batch")
Outcome = TypeVar("Outcome")

# Searches under way in a process. That is work for seconds: with more, nobody would be answered before giving up.
MOST = 256
THREADS = 8  # batches at once, each of another collection: one whose indexes are opened takes its thread for seconds


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search on its way."""

    tenant: str
    collection: str
    sought: Sought


class SearchThreads:
    """Threads with one core each, for one event loop; the one that was through last is taken first.

    A batch's vectors are made in its own thread. Handed to other threads and back, batches of several processes come to
    lie on one core, beside one that the system left to whoever gives way.
    """

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(THREADS)
        self._idle: list[Executor] = []
        self._count = 0

    async def __call__(self, work: Callable[[Batch], Outcome], batch: Batch, /) -> Outcome:
        """What `work` makes of a batch. Raises as `work`."""
        async with self._turns:
            if not self._idle:
                self._count += 1
                self._idle.append(await run_in_threadpool(one_core_thread, f"search {self._count}"))
            thread = self._idle.pop()
            try:
                return await asyncio.get_running_loop().run_in_executor(thread, work, batch)
            finally:
                self._idle.append(thread)


def one_core_thread(name: str) -> Executor:
    """A thread of this process under a name. The import takes a while."""
    from compressor.device import one_core_threads

    return one_core_threads(name, 1)


class Searches:
    """Answers the searches of one event loop; close it at the end.

    Which collection a name means holds until anything is committed to the database: one that is deleted, by whatever
    process, is not found from that commit on.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._commits = Commits(resources.engine)
        self._homes: Remembered[tuple[str, str], Collection] = Remembered()
        self._lock = threading.Lock()  # around what is remembered: batches of several collections look at once
        self._under_way = 0  # counted by the event loop alone
        threads = SearchThreads()
        self._embed = Gathered(partial(embed_queries, resources), in_thread=threads)
        self._look_up = Gathered(self._look_up_together, in_thread=threads)

    async def __call__(
        self,
        tenant: str,
        collection: str,
        query: str,
        *,
        k: int,
        where: Mapping[str, object] | None,
        gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> list[Hit]:
        """As `api.search.search`; `gone` tells whether the caller gave up. Raises NotFound, BadFilter, TooBusy."""
        if self._under_way >= MOST:
            raise TooBusy
        asked = _Asked(tenant, collection, Sought(query, k, where))
        with self._resources.timings.step("search"), self._counted():
            if self._resources.engine.dialect.name == "sqlite":
                # Of one collection each: another one whose indexes are being opened, for seconds, keeps nobody waiting.
                return await self._look_up(asked, place=(tenant, collection), gone=gone)
            vector = await self._embed(query, gone=gone)  # a server works on several by itself
            return (await run_in_threadpool(self._look_up_together, [asked], vector[None]))[0]

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Lets go of what it holds open."""
        self._commits.close()

    def _look_up_together(
        self, asked: Sequence[_Asked], vectors: "NDArray[np.float32] | None" = None
    ) -> list[list[Hit]]:
        """The hits of each; all ask one collection. Vectors (n, d) of the queries where they are known."""
        home = self._home(asked[0].tenant, asked[0].collection)
        return search_together(self._resources, home, [one.sought for one in asked], vectors)

    def _home(self, tenant: str, name: str) -> Collection:
        """A tenant's collection, read or remembered. Raises NotFound."""
        with self._lock:
            mark = self._commits.mark()
            home = self._homes.recall((tenant, name), mark)
        if home is None:
            home = named_home(self._resources, tenant, name)
            with self._lock:
                self._homes.keep((tenant, name), home, mark)
        return home
