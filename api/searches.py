"""Owns searches over HTTP: those that come at once are embedded together, and looked up together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from api.access import named_home
from api.find import embed_queries
from api.gathered import Gathered
from api.search import Hit, Sought, search_together
from workers.resources import Resources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class _Asked:
    """A search on its way."""

    tenant: str
    collection: str
    sought: Sought
    vector: "NDArray[np.float32]"  # (d,) of the query


class Searches:
    """Answers the searches of one event loop. While some are embedded, those before them are looked up."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._embed = Gathered(partial(embed_queries, resources))
        self._look_up = Gathered(partial(_look_up, resources))

    async def __call__(
        self, tenant: str, collection: str, query: str, *, k: int, where: Mapping[str, object] | None
    ) -> list[Hit]:
        """As `api.search.search`. Raises NotFound, BadFilter."""
        with self._resources.timings.step("search"):
            asked = _Asked(tenant, collection, Sought(query, k, where), await self._embed(query))
            if self._resources.engine.dialect.name != "sqlite":  # a server works on several by itself
                return (await run_in_threadpool(_look_up, self._resources, [asked]))[0]
            # Of one collection each: another one whose indexes are being opened, for seconds, keeps nobody waiting.
            return await self._look_up(asked, place=(tenant, collection))


def _look_up(resources: Resources, asked: Sequence[_Asked]) -> list[list[Hit]]:
    """The hits of each; all ask one collection."""
    import numpy as np

    home = named_home(resources, asked[0].tenant, asked[0].collection)
    vectors = np.stack([one.vector for one in asked])
    return search_together(resources, home, [one.sought for one in asked], vectors)
