"""Owns the step from what indexes find to what is live: of several rankings at once, no more rows than are wanted."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from store import catalog
from store.types import LivePassage

_SPARE = 7  # one hit more for so many that are wanted: until an index is made anew, some of its hits are not live


def with_spare(wanted: int) -> int:
    """How many hits to ask an index for; where they hold too few live ones, ask again for more."""
    return wanted + -(-wanted // _SPARE)


class Live:
    """The live passages of a collection, looked up each once; with document_ids only those of them.

    `known` are some of them, so many less are looked up.
    """

    def __init__(
        self,
        session: Session,
        collection_id: str,
        document_ids: AbstractCollection[str] | None = None,
        *,
        known: Iterable[LivePassage] = (),
    ) -> None:
        self._session = session
        self._collection_id = collection_id
        self._document_ids = document_ids
        self._known: dict[int, LivePassage | None] = {passage.vector_id: passage for passage in known}  # None: not live

    def first(self, rankings: Sequence[Sequence[int]], k: int) -> list[list[LivePassage]]:
        """Of each ranking of vector ids the first k live passages, fewer where it has fewer.

        A row costs more than finding it did, so the first k are looked up, and more only where some are not live.
        """
        found: list[list[LivePassage]] = [[] for _ in rankings]
        most = max(map(len, rankings), default=0)
        for begin in range(0, most, k):
            parts = [ids[begin : begin + k] if len(its) < k else () for ids, its in zip(rankings, found, strict=True)]
            self._look_up(parts)
            for part, its in zip(parts, found, strict=True):
                its += filter(None, map(self._known.get, part))
        return [its[:k] for its in found]

    def _look_up(self, parts: Sequence[Sequence[int]]) -> None:
        missing = dict.fromkeys(vector_id for part in parts for vector_id in part if vector_id not in self._known)
        if missing:
            self._known |= dict.fromkeys(missing)
            passages = catalog.passages_by_vector_ids(
                self._session, self._collection_id, list(missing), document_ids=self._document_ids
            )
            self._known |= {passage.vector_id: passage for passage in passages}
