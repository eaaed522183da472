"""Owns the forward pass of all-MiniLM-L6-v2: token ids to vectors. Knows nothing of text.

Texts of a batch are laid end to end, so nothing is spent on padding; only attention looks at them one by one.
Native bf16 is 2.7 times as fast as fp32 on one core and moves a vector by less than 1e-4 in cosine.
"""

import copy
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import embedding, normalize

from compressor.device import has_native_bf16, rounded, side_by_side
from compressor.layers import Layers, Weights, make_layers, norm_of
from compressor.packed import can_pack

MAX_TOKENS = 256  # special tokens included; what the model was trained to read
BATCH_TOKENS = 1024  # activations of this many still fit a core's cache
STEP_TOKENS = 32  # batches are padded to whole steps,
SMALL_TOKENS, SMALL_STEP_TOKENS = 256, 16  # and small ones, such as a few questions, to smaller ones


class MiniLM:
    """The model on one device. Safe to call from several threads."""

    def __init__(self, path: Path, *, device: str = "cpu") -> None:
        weights = load_file(path, device=device)
        self._device = device
        self._words = weights["embeddings.word_embeddings.weight"]
        # every text is of the first token type
        self._positions = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = norm_of(weights, "embeddings.LayerNorm", torch.float32)
        self._layers = self._make_layers(weights)

    def with_layers(self, path: Path) -> "MiniLM":
        """The same embeddings with another file's layers on them. Raises KeyError where it lacks some."""
        other = copy.copy(self)
        other._layers = self._make_layers(load_file(path, device=self._device))
        return other

    def _make_layers(self, weights: Weights) -> Layers:
        dtype = torch.bfloat16 if has_native_bf16(self._device) else torch.float32
        return make_layers(weights, dtype=dtype, packed=can_pack(self._device, dtype))

    def embed(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Token ids with special tokens, one sequence a text -> (texts, 384) float32 of length 1."""
        device = torch.device(self._device).type
        return np.concatenate(side_by_side(self._embed, batches(texts), device=device))

    @torch.inference_mode()
    def _embed(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        return normalize(self.through(self._layers, texts), dim=-1).cpu().numpy()

    def through(self, layers: Layers, texts: Sequence[Sequence[int]]) -> Tensor:
        """What layers on this model's embeddings make of a batch: (texts, 384) float32, of whatever length."""
        lengths = [len(ids) for ids in texts]
        total = sum(lengths)
        tokens = rounded(total, SMALL_STEP_TOKENS if total <= SMALL_TOKENS else STEP_TOKENS)
        ids, places = np.zeros((2, tokens), np.int64)  # padding is of token 0 at place 0
        ids[:total] = np.fromiter(chain.from_iterable(texts), np.int64, total)
        places[:total] = np.concatenate([np.arange(length) for length in lengths])
        words = embedding(torch.from_numpy(ids).to(self._device), self._words)
        positions = embedding(torch.from_numpy(places).to(self._device), self._positions)
        return layers(self._norm(words + positions), lengths)


def cut(ids: Sequence[int], most: int = MAX_TOKENS) -> Sequence[int]:
    """At most so many token ids, the special ones at both ends among them."""
    return [*ids[: most - 1], ids[-1]] if len(ids) > most else ids


def batches(texts: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
    """The texts in order, each cut to what the model reads, in runs of at most BATCH_TOKENS tokens."""
    shown = [cut(ids) for ids in texts]
    start, tokens = 0, 0
    for index, ids in enumerate(shown):
        if index > start and tokens + len(ids) > BATCH_TOKENS:
            yield shown[start:index]
            start, tokens = index, 0
        tokens += len(ids)
    yield shown[start:]
