"""Owns the nouns of a page: its tokens as the model gives them, and its cache as stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.vlm.rows import RowFormat, Rows, pack_rows


@dataclass(frozen=True, slots=True)
class PageTokens:
    """What a model's vision tower and projector make of one page image."""

    features: Tensor  # (tokens, width) float, learned separators and line ends included
    deepstack: Tensor | None  # (levels, tokens, width) float: added after the first layers of the decoder
    grid: tuple[int, int] | None  # rows and columns of tokens, in families whose positions have them
    ids: Tensor  # (positions,) int32 the page's stretch of the prompt: the image token at each feature, tags between


@dataclass(frozen=True, slots=True)
class PageCache:
    """One page's tokens as stored; immutable."""

    codec: str  # fingerprint of what made it, "hf:qwen3_vl@0123456789ab"
    features: Rows
    deepstack: tuple[Rows, ...]  # a level each, with as many rows as features
    grid: tuple[int, int] | None
    ids: Tensor  # (positions,) int32
    image_token: int  # the id in `ids` that stands for a feature

    @property
    def vision_tokens(self) -> int:
        """Feature rows."""
        return len(self.features)

    @property
    def positions(self) -> int:
        """Tokens of the decoder's context that the page occupies, tags included."""
        return len(self.ids)

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes in a page file, the header left out."""
        return self.ids.nbytes + self.features.stored_bytes + sum(rows.stored_bytes for rows in self.deepstack)


def store_page(tokens: PageTokens, *, codec: str, image_token: int, format: RowFormat = "int8") -> PageCache:
    """Quantises a page's tokens. Raises ModelError where they are not finite or do not fit together."""
    deepstack = () if tokens.deepstack is None else tuple(pack_rows(level, format) for level in tokens.deepstack)
    return PageCache(
        codec=codec,
        features=pack_rows(tokens.features, format),
        deepstack=deepstack,
        grid=tokens.grid,
        ids=tokens.ids.to("cpu", torch.int32),
        image_token=image_token,
    )
