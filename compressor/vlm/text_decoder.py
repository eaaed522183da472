"""Owns decoders that never saw an image: pages through a projector into a text model's context. Experimental.

DeepSeek V4's first layers choose experts by token id, and a page has none. Each feature therefore goes under the id
of the vocabulary row that its embedding is nearest to: a surrogate. Which surrogates serve best is for the training
of a projector to find out.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compressor.device import choose_device
from compressor.errors import ModelError, UnknownCodec
from compressor.vlm.decode import Context, PageDecoder
from compressor.vlm.families import Family
from compressor.vlm.fingerprint import read_fingerprint, read_model_type
from compressor.vlm.layout import Layout, Part, lay_out
from compressor.vlm.load import load_whole
from compressor.vlm.page import PageCache
from compressor.vlm.projector import Projector, load_projector

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DEEPSEEK_V4 = Family("deepseek_v4", "DeepSeek V4 (experimental)", "DeepseekV4ForCausalLM", decoder="", page_kv="prefix")
ROWS_AT_ONCE = 512  # features whose likeness to every vocabulary row is held at a time


class TextDecoder(PageDecoder):
    """A text model that reads pages of the codec that its projector was trained on. One caller at a time."""

    def __init__(self, model: "PreTrainedModel", projector: Projector, *, codec: str, place: int) -> None:
        """`place` is an id of the vocabulary that stands for a feature in layouts, and in no text."""
        super().__init__(model, DEEPSEEK_V4, codec=codec)
        width = self._embedding.weight.shape[1]
        if projector.width != width:
            raise ModelError(f"the projector gives {projector.width} numbers a token; this decoder takes {width}")
        self.projector = projector.to(self.device)
        self.place = place
        self._never = torch.cat([self._never, torch.tensor([place], device=self.device)])
        self._row_sizes = self._embedding.weight.detach().float().norm(dim=-1).clamp_min(1e-12)  # (vocabulary,)

    def lay_out(self, parts: Sequence[Part], *, start: int = 0) -> Layout:
        """As `PageDecoder.lay_out`, for pages of the projector's codec; of a page only the features are read."""
        return lay_out([self._foreign(part) for part in parts], grid=False, start=start)

    @torch.no_grad()
    def embed(self, layout: Layout, start: int, end: int) -> tuple[Tensor, list[Tensor]]:
        """Embeddings of tokens [start, end), (tokens, width): of features, what the projector makes of them."""
        embeddings = self._embedding(layout.ids[start:end].to(self.device))
        visual = layout.visual[start:end]
        if bool(visual.any()):
            features = self._features(layout, start, end, torch.float32)[0]
            embeddings[visual.to(self.device)] = self.projector(features).to(self.dtype)
        return embeddings, []

    def _foreign(self, part: Part) -> Part:
        """A page under ids of this vocabulary, without what only its own model's layers could take."""
        if not isinstance(part, PageCache):
            return part
        if part.codec != self.projector.codec:
            raise UnknownCodec(f"this page was encoded by {part.codec}; the projector reads {self.projector.codec}")
        ids = torch.full((part.vision_tokens,), self.place, dtype=torch.int32)
        return dataclasses.replace(part, ids=ids, image_token=self.place, deepstack=(), grid=None)

    def _forward(
        self,
        ids: Tensor,
        embeddings: Tensor,
        positions: Tensor,
        context: Context,
        visual: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        surrogates = ids.to(self.device)
        if visual is not None and bool(visual.any()):
            surrogates = surrogates.clone()
            marked = visual.to(self.device)
            surrogates[marked] = self.nearest_rows(embeddings[marked])
        with _given_ids(self.language.layers, surrogates[None]):
            return super()._forward(ids, embeddings, positions, context)

    @torch.no_grad()
    def nearest_rows(self, embeddings: Tensor) -> Tensor:
        """The vocabulary rows that point most nearly the same way: (tokens, width) -> (tokens,) int64."""
        table = self._embedding.weight
        parts = [(part @ table.T).float().div(self._row_sizes).argmax(-1) for part in embeddings.split(ROWS_AT_ONCE)]
        return torch.cat(parts)


def load_text_decoder(
    directory: Path, projector: Path, *, place: int, device: str = "auto", dtype: torch.dtype | None = None
) -> TextDecoder:
    """A DeepSeek V4 directory with a projector file. Raises ModelError, DeviceFull."""
    model_type = read_model_type(directory)
    if model_type != DEEPSEEK_V4.model_type:
        raise ModelError(f"{directory.name} holds a {model_type} model; only {DEEPSEEK_V4.label} reads pages as text")
    codec = read_fingerprint(directory, DEEPSEEK_V4)
    model = load_whole(directory, DEEPSEEK_V4, choose_device(device), dtype)
    return TextDecoder(model, load_projector(projector), codec=codec, place=place)


@contextmanager
def _given_ids(layers: Iterable[nn.Module], ids: Tensor) -> Iterator[None]:
    """Gives ids to layers of a model that has none to give, because it was called with embeddings."""

    def give(
        layer: nn.Module, positional: tuple[object, ...], named: dict[str, object]
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        return positional, {**named, "input_ids": ids}

    hooks = [layer.register_forward_pre_hook(give, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
