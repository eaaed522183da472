"""Owns the step from what indexes find to what is live: of several rankings at once, no more rows than are wanted."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as AbstractCollection

from sqlalchemy.orm import Session

from store import catalog
from store.types import LivePassage

Ranking = Mapping[int, float]  # vector id -> score, best first
# Rankings by their numbers, made anew: of at least so many rows, or of all there are.
Deeper = Callable[[Sequence[int], int], Sequence[Ranking]]
DEEPER = 4  # times as many rows, where too few are live, or of too few chunks
_SPARE = 7  # one hit more for so many that are wanted: until an index is made anew, some of its hits are not live


def with_spare(wanted: int) -> int:
    """How many hits to ask an index for; where they hold too few live ones, ask again for more."""
    return wanted + -(-wanted // _SPARE)


class Live:
    """The live passages of a collection, looked up each once; with document_ids only those of them."""

    def __init__(
        self, session: Session, collection_id: str, document_ids: AbstractCollection[str] | None = None
    ) -> None:
        self._session = session
        self._collection_id = collection_id
        self._document_ids = document_ids
        self._known: dict[int, LivePassage | None] = {}  # None: not live

    def leading(
        self, rankings: Sequence[Sequence[int]], chunks: int, *, needed: Sequence[Sequence[int]]
    ) -> list[list[LivePassage] | None]:
        """Of each ranking of vector ids the first passages: all there are, or as many as have so many chunks (or more).

        None where one of them is not live, or one of those that are `needed` beside: then others come up.
        """
        step = chunks + chunks // 2  # some have several passages
        found: list[list[LivePassage] | None] = [[] for _ in rankings]
        numbers, begin = list(range(len(rankings))), 0
        while numbers:
            parts = [rankings[number][begin : begin + step] for number in numbers]
            self._look_up([*parts, *(needed[number] for number in numbers)])
            going = []
            for number, part in zip(numbers, parts, strict=True):
                passages = [*(found[number] or ()), *filter(None, map(self._known.get, part))]
                if len(passages) < begin + len(part) or not all(map(self._known.get, needed[number])):
                    found[number] = None
                    continue
                found[number] = passages
                if len(part) == step and len({passage.chunk_id for passage in passages}) < chunks:
                    going.append(number)
            numbers, begin = going, begin + step
        return found

    def best(self, rankings: Sequence[Ranking], k: int, deeper: Deeper) -> list[list[tuple[LivePassage, float]]]:
        """Of each ranking, of at least k rows or of all there are, the k best live passages with their scores."""
        found: list[list[tuple[LivePassage, float]]] = [[] for _ in rankings]
        numbers, asked = list(range(len(rankings))), k
        while numbers:
            firsts = self.first([list(ranking) for ranking in rankings], k)
            for number, passages, ranking in zip(numbers, firsts, rankings, strict=True):
                found[number] = [(passage, ranking[passage.vector_id]) for passage in passages]
            held = dict(zip(numbers, map(len, rankings), strict=True))
            numbers = [number for number in numbers if len(found[number]) < k and held[number] >= asked]
            asked *= DEEPER
            rankings = deeper(numbers, asked) if numbers else ()
        return found

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
