"""Owns the retriever for LangChain."""

import asyncio
from collections.abc import Mapping
from typing import TypedDict

from percel_client.async_client import AsyncPercel
from percel_client.client import Percel
from percel_client.hits import hit_id, hit_metadata
from percel_client.models import Hit

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict
except ImportError as error:
    raise ImportError("percel_client.langchain needs LangChain: pip install 'percel-client[langchain]'") from error


class PercelRetriever(BaseRetriever):
    """Percel's search as a LangChain retriever. `invoke(query, k=3, filter={...})` overrules its own k and filter.

    Asynchronous calls use `async_client` where there is one, else the other in a thread.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    client: Percel
    async_client: AsyncPercel | None = None
    collection: str
    k: int = 8
    filter: Mapping[str, object] | None = None

    # LangChain drops what a call gives besides the query, unless these methods take it.

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
    ) -> list[Document]:
        return self._found(query, k, filter)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Mapping[str, object] | None = None,
    ) -> list[Document]:
        if self.async_client is None:
            return await asyncio.to_thread(self._found, query, k, filter)
        hits = await self.async_client.search(query, collection=self.collection, **self._asked(k, filter))
        return [_document(hit) for hit in hits]

    def _found(self, query: str, k: int | None, filter: Mapping[str, object] | None) -> list[Document]:
        hits = self.client.search(query, collection=self.collection, **self._asked(k, filter))
        return [_document(hit) for hit in hits]

    def _asked(self, k: int | None, filter: Mapping[str, object] | None) -> "_Asked":
        return {"k": self.k if k is None else k, "filter": self.filter if filter is None else filter}


class _Asked(TypedDict):
    k: int
    filter: Mapping[str, object] | None


def _document(hit: Hit) -> Document:
    return Document(id=hit_id(hit), page_content=hit.text, metadata=hit_metadata(hit))
