"""Owns the retriever for LlamaIndex."""

import asyncio
from collections.abc import Mapping

from percel_client.async_client import AsyncPercel
from percel_client.client import Percel
from percel_client.hits import PLACES, hit_id, hit_metadata
from percel_client.models import Hit

try:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise ImportError("percel_client.llama_index needs LlamaIndex: pip install 'percel-client[llama-index]'") from error


class PercelRetriever(BaseRetriever):
    """Percel's search as a LlamaIndex retriever.

    Asynchronous calls use `async_client` where there is one, else the other in a thread.
    """

    def __init__(
        self,
        client: Percel,
        *,
        collection: str,
        async_client: AsyncPercel | None = None,
        k: int = 8,
        filter: Mapping[str, object] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager=callback_manager)
        self._client = client
        self._async_client = async_client
        self._collection = collection
        self._k = k
        self._filter = filter

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str
        hits = self._client.search(query, collection=self._collection, k=self._k, filter=self._filter)
        return [_node(hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._async_client is None:
            return await asyncio.to_thread(self._retrieve, query_bundle)
        query = query_bundle.query_str
        hits = await self._async_client.search(query, collection=self._collection, k=self._k, filter=self._filter)
        return [_node(hit) for hit in hits]


def _node(hit: Hit) -> NodeWithScore:
    node = TextNode(
        id_=hit_id(hit),
        text=hit.text,
        metadata=hit_metadata(hit),
        excluded_llm_metadata_keys=list(PLACES),
        excluded_embed_metadata_keys=list(PLACES),
    )
    return NodeWithScore(node=node, score=hit.score)
