"""Owns the retriever component for Haystack, and the way from Haystack's filters to Percel's."""

import asyncio
from collections.abc import Mapping

from percel_client.client import Percel
from percel_client.hits import hit_id, hit_metadata
from percel_client.models import Hit

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret, deserialize_secrets_inplace
except ImportError as error:
    raise ImportError("percel_client.haystack needs Haystack: pip install 'percel-client[haystack]'") from error

_ORDER = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "!=": "ne", "in": "in"}


@component
class PercelRetriever:
    """Percel's search as a Haystack component. `filters` are Haystack's; of those Percel has comparisons and AND.

    Its pipeline can be written to YAML, and the key stays outside. To load one, Haystack 3 wants to be told that this
    module is trusted: `Pipeline.loads(text, allowed_modules=["percel_client.haystack"])`.
    """

    def __init__(
        self,
        base_url: str,
        collection: str,
        api_key: Secret | None = None,
        top_k: int = 8,
        filters: dict[str, object] | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.base_url = base_url
        self.collection = collection
        self.api_key = api_key
        self.top_k = top_k
        self.filters = filters
        self.timeout = timeout
        self._client: Percel | None = None

    def __getstate__(self) -> dict[str, object]:
        """All but the connections, which no copy can have; pipelines are copied and sent to other processes."""
        return {**self.__dict__, "_client": None}

    def warm_up(self) -> None:
        """Opens the client; the first run does so too."""
        self._opened()

    def close(self) -> None:
        """Closes the connections; a later run opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def to_dict(self) -> dict[str, object]:
        """What a pipeline writes down of it."""
        return dict(
            default_to_dict(
                self,
                base_url=self.base_url,
                collection=self.collection,
                api_key=None if self.api_key is None else self.api_key.to_dict(),
                top_k=self.top_k,
                filters=self.filters,
                timeout=self.timeout,
            )
        )

    @classmethod
    def from_dict(cls, data: dict[str, object]) -> "PercelRetriever":
        """The component that a pipeline wrote down."""
        parameters = data.get("init_parameters")
        if isinstance(parameters, dict) and isinstance(parameters.get("api_key"), dict):
            deserialize_secrets_inplace(parameters, keys=["api_key"])
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, object] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """The chunks that fit the query; filters and top_k take the place of the component's own."""
        chosen = self.filters if filters is None else filters
        hits = self._opened().search(
            query,
            collection=self.collection,
            k=self.top_k if top_k is None else top_k,
            filter=percel_filter(chosen) if chosen else None,
        )
        return {"documents": [_document(hit) for hit in hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, object] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, in a thread: a component outlives event loops, and connections of asyncio do not."""
        self.warm_up()  # here: several threads at once would each open a client
        return await asyncio.to_thread(self.run, query, filters, top_k)

    def _opened(self) -> Percel:
        if self._client is None:
            key = None if self.api_key is None else self.api_key.resolve_value()
            self._client = Percel(self.base_url, key, timeout=self.timeout)
        return self._client


def percel_filter(filters: Mapping[str, object]) -> dict[str, object]:
    """Percel's filter for one of Haystack's. Raises ValueError for what Percel cannot filter by."""
    merged: dict[str, dict[str, object]] = {}
    for field, name, value in _comparisons(filters):
        conditions = merged.setdefault(field, {})
        if name in conditions:
            raise ValueError(f"Percel cannot ask {field!r} the same twice; combine the two conditions into one.")
        conditions[name] = value
    return dict(merged)


def _comparisons(filters: Mapping[str, object]) -> list[tuple[str, str, object]]:
    operator = filters.get("operator")
    if "field" in filters:
        field = str(filters["field"]).removeprefix("meta.")
        value = filters.get("value")
        if operator == "==":
            return [(field, "exists", False) if value is None else (field, "in", [value])]
        if operator == "!=" and value is None:
            return [(field, "exists", True)]
        if operator in _ORDER:
            return [(field, _ORDER[str(operator)], value)]
    conditions = filters.get("conditions")
    if operator == "AND" and isinstance(conditions, list):
        return [each for condition in conditions for each in _comparisons(condition)]
    raise ValueError(
        f"Percel has no filter {operator!r}: use ==, !=, >, >=, <, <= and in, joined by AND, "
        'like {"field": "meta.year", "operator": ">=", "value": 2020}.'
    )


def _document(hit: Hit) -> Document:
    return Document(id=hit_id(hit), content=hit.text, meta=hit_metadata(hit), score=hit.score)
