"""Owns the retriever for LangChain."""

from collections.abc import Mapping

from percel_client.async_client import AsyncPercel
from percel_client.client import Percel
from percel_client.hits import hit_id, hit_metadata
from percel_client.models import Hit

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError("percel_client.langchain needs LangChain: pip install 'percel-client[langchain]'") from error


class PercelRetriever(BaseRetriever):
    """Percel's search as a LangChain retriever.

    Asynchronous calls use `async_client` where there is one, else the other in a thread.
    """

    client: Percel
    async_client: AsyncPercel | None = None
    collection: str
    k: int = 8
    filter: Mapping[str, object] | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        hits = self.client.search(query, collection=self.collection, k=self.k, filter=self.filter)
        return [_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        if self.async_client is None:
            return await super()._aget_relevant_documents(query, run_manager=run_manager)
        hits = await self.async_client.search(query, collection=self.collection, k=self.k, filter=self.filter)
        return [_document(hit) for hit in hits]


def _document(hit: Hit) -> Document:
    return Document(id=hit_id(hit), page_content=hit.text, metadata=hit_metadata(hit))
