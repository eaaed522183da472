"""Owns a model's language model at work: page caches into its context, an answer out of it.

The language model is called directly, chunk by chunk, with ready embeddings and explicit positions. So no vision
tower runs or need exist, no position depends on what was asked before, and activations stay as large as those of one
chunk, however many pages there are.
"""

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from compressor.device import device_faults, keep_no_holes
from compressor.errors import ContextTooLong, UnknownCodec
from compressor.vlm.choose import Chooser, greedy
from compressor.vlm.families import Family
from compressor.vlm.layout import Layout, Part, lay_out
from compressor.vlm.memory import chunk_of
from compressor.vlm.page import PageCache

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel
    from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a context to go back to."""

    tokens: int
    next_position: int
    logits: Tensor
    states: Mapping[int, object]  # layers that cannot forget their last tokens, by number, as they were there


@dataclass(slots=True)
class Context:
    """What a decoder has read: its keys and values, and what it would say next. Using it changes it."""

    kv: "Cache"
    tokens: int
    next_position: int
    logits: Tensor  # (vocabulary,) float32, after the last token
    answering: bool = False  # tokens of an answer stand at its end

    def copy(self) -> "Context":
        """An independent context, to ask several questions about what was read once."""
        return copy.deepcopy(self)

    def mark(self) -> Mark:
        """This place, for `PageDecoder.rewind`; not within an answer."""
        assert not self.answering, "a mark stands before an answer"
        states = {n: copy.deepcopy(layer) for n, layer in enumerate(self.kv.layers) if not _goes_back(layer)}
        return Mark(self.tokens, self.next_position, self.logits, states)


class PageDecoder:
    """One language model on one device. One caller at a time."""

    def __init__(self, model: "PreTrainedModel", family: Family, *, codec: str) -> None:
        self.family = family
        self.codec = codec
        self.config = model.config
        self.device = model.device
        self.dtype = model.dtype
        keep_no_holes(self.device.type)  # or more would be held than is planned
        self.language = getattr(model.model, family.decoder) if family.decoder else model.model
        self._embedding = self.language.get_input_embeddings()
        self.head = model.lm_head
        text = model.config.get_text_config()
        self.max_tokens: int = text.max_position_embeddings
        self.stop_tokens = _ids(model.generation_config.eos_token_id if model.generation_config else text.eos_token_id)
        # An answer that holds a placeholder would be read as a page by whoever feeds it back.
        marks = [_ids(getattr(model.config, name, None)) for name in ("image_token_id", "video_token_id")]
        self._never = torch.tensor([*marks[0], *marks[1]], dtype=torch.int64, device=self.device)

    def lay_out(self, parts: Sequence[Part], *, start: int = 0) -> Layout:
        """Text ids and pages as a stretch of a prompt. Raises UnknownCodec for a page that another model made."""
        for part in parts:
            if isinstance(part, PageCache) and part.codec != self.codec:
                raise UnknownCodec(f"this page was encoded by {part.codec}; the decoder at hand reads {self.codec}")
        return lay_out(parts, grid=self.family.grid, start=start)

    def new_context(self, tokens: int = 0) -> Context:
        """A context that nothing was read into yet, where the next `tokens` come as part of the prompt."""
        from transformers import DynamicCache

        from compressor.vlm.room import make_room

        context = Context(DynamicCache(config=self.config), 0, 0, torch.empty(0))
        make_room(context.kv)
        _announce(context, tokens)
        return context

    def read(self, layout: Layout, context: Context | None = None, *, chunk: int | None = None) -> Context:
        """Reads a layout, after what a context has read already; that context changes and is returned.

        Raises ContextTooLong; ValueError for an empty layout, or a context that holds a part of an answer.
        """
        if context is not None and context.answering:
            raise ValueError(
                "this context holds a part of an answer; copy it before it answers, and read on in the copy"
            )
        context = context or self.new_context(len(layout))
        last = torch.empty(0)
        for hidden in self._hidden(layout, context, chunk):
            last = hidden[-1]
        context.logits = self._logits(last)
        context.next_position = layout.next_position
        return context

    def rewind(self, context: Context, mark: Mark) -> None:
        """Forgets what was read and answered since a mark: for the next question on the same pages, without a copy.

        Keys and values are cut off; of layers with a running state, which is small, those of the mark come back.
        """
        layers = cast("list[DynamicLayer]", context.kv.layers)
        for number, layer in enumerate(layers):
            if number in mark.states:
                layers[number] = cast("DynamicLayer", copy.deepcopy(mark.states[number]))
                continue
            _drop_answer(layer)
            surplus = layer.get_seq_length() - mark.tokens  # layers differ where a read broke off between two
            if surplus > 0:
                layer.crop(-surplus)
        context.tokens, context.next_position, context.logits = mark.tokens, mark.next_position, mark.logits
        context.answering = False

    def logits(self, layout: Layout, *, chunk: int | None = None) -> Tensor:
        """Logits after every token of a layout, (tokens, vocabulary) float32: for measuring."""
        context = self.new_context(len(layout))
        return torch.cat([self._logits(hidden) for hidden in self._hidden(layout, context, chunk)])

    def generate(
        self, context: Context, *, limit: int, choose: Chooser = greedy, stop: Collection[int] | None = None
    ) -> Iterator[int]:
        """Tokens of the answer, one by one as they are made, up to a stop token, which is not among them.

        `stop` is what the model's own settings say where it is None. Raises ContextTooLong once the context is full.
        """
        stops = self.stop_tokens if stop is None else stop
        context.answering = True
        token = 0
        for number in range(limit):
            if number:
                self._step(token, context)
            token = choose(context.logits.index_fill(0, self._never, -torch.inf))
            if token in stops:
                return
            yield token

    @torch.no_grad()
    def embed(self, layout: Layout, start: int, end: int) -> tuple[Tensor, list[Tensor]]:
        """Embeddings of tokens [start, end), (tokens, width), and per deepstack level what is added at its features.

        Caches are dequantised here, on the device, and only those rows that the stretch needs.
        """
        embeddings = self._embedding(layout.ids[start:end].to(self.device))
        visual = layout.visual[start:end]
        if not bool(visual.any()):
            return embeddings, []
        features, *deepstack = self._features(layout, start, end, self.dtype)
        embeddings[visual.to(self.device)] = features
        return embeddings, deepstack

    def _features(self, layout: Layout, start: int, end: int, dtype: torch.dtype) -> list[Tensor]:
        """Features within tokens [start, end), then those of each deepstack level: (features, width) each."""
        first = int(layout.visual[:start].sum())
        last = first + int(layout.visual[start:end].sum())
        parts: list[list[Tensor]] = []  # by page, of all levels
        begin = 0
        for page in layout.pages:
            rows = max(first - begin, 0), min(last - begin, page.vision_tokens)
            begin += page.vision_tokens
            if rows[0] < rows[1]:
                levels = (page.features, *page.deepstack)
                parts.append([level.unpack(*rows, device=self.device, dtype=dtype) for level in levels])
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    @torch.no_grad()  # not inference_mode: layers with recurrent state could not go on from such a cache
    def _hidden(self, layout: Layout, context: Context, chunk: int | None) -> Iterator[Tensor]:
        """Last hidden states of each chunk, (tokens, width); the context moves along."""
        if not len(layout):
            raise ValueError("there is nothing to read: the layout is empty")
        self._check_room(context.tokens + len(layout))
        _announce(context, len(layout))
        step = chunk or chunk_of(context.tokens + len(layout))
        for start in range(0, len(layout), step):
            end = min(start + step, len(layout))
            with device_faults(self.device.type):
                embeddings, deepstack = self.embed(layout, start, end)
                positions, visual = layout.positions[:, start:end], layout.visual[start:end]
                hidden = self._forward(layout.ids[start:end], embeddings, positions, context, visual, deepstack)
            context.tokens += end - start
            yield hidden

    @torch.no_grad()
    def _step(self, token: int, context: Context) -> None:
        """Reads one token of the answer."""
        self._check_room(context.tokens + 1)
        ids = torch.tensor([token], device=self.device)
        axes = [context.tokens] + 3 * [context.next_position] if self.family.grid else [context.next_position]
        with device_faults(self.device.type):
            hidden = self._forward(ids, self._embedding(ids), torch.tensor(axes)[:, None], context)
        context.logits = self._logits(hidden[-1])
        context.tokens += 1
        context.next_position += 1

    def _forward(
        self,
        ids: Tensor,
        embeddings: Tensor,
        positions: Tensor,
        context: Context,
        visual: Tensor | None = None,
        deepstack: Sequence[Tensor] = (),
    ) -> Tensor:
        """Embeddings (tokens, width) of `ids` at positions (axes, tokens) -> last hidden states (tokens, width)."""
        positions = positions.to(self.device)
        extra: dict[str, object] = {}
        if deepstack and visual is not None:
            extra = {"visual_pos_masks": visual[None].to(self.device), "deepstack_visual_embeds": list(deepstack)}
        output = self.language(
            inputs_embeds=embeddings[None],
            position_ids=positions[:, None] if self.family.grid else positions,
            cache=context.kv,
            use_cache=True,
            **extra,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    @torch.no_grad()
    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden).float()
        return logits

    def _check_room(self, tokens: int) -> None:
        if tokens > self.max_tokens:
            raise ContextTooLong(
                f"{tokens} tokens do not fit the context of {self.max_tokens} tokens of {self.family.label}: "
                "ask about fewer pages, or about pages with fewer tokens"
            )


def _announce(context: Context, tokens: int) -> None:
    """Says how much more prompt comes: Unlimited-OCR keeps prompts whole, and lets answers slide out of a window."""
    for layer in context.kv.layers:
        if hasattr(layer, "announced"):
            setattr(layer, "announced", context.tokens + tokens)  # noqa: B010, its class needs transformers
        read = getattr(layer, "prefill_cumulative_length", None)
        if read is not None:
            setattr(layer, "prefill_length", read + tokens)  # noqa: B010, no class that mypy knows has it


def _goes_back(layer: object) -> bool:
    """Whether a layer is keys and values of all tokens; Unlimited-OCR's is, with those of an answer apart."""
    from compressor.vlm.room import RoomyLayer

    return isinstance(layer, RoomyLayer) or hasattr(layer, "prefill_cumulative_length")


def _drop_answer(layer: object) -> None:
    """Empties Unlimited-OCR's window of an answer, which cannot go back by itself once it has slid."""
    if not getattr(layer, "prefill_cumulative_length", 0):
        return
    for name in ("keys", "values"):
        setattr(layer, name, getattr(layer, name).new_empty(0))
    setattr(layer, "cumulative_length", 0)  # noqa: B010, no class that mypy knows has it


def _ids(value: int | list[int] | None) -> tuple[int, ...]:
    """Token ids as configurations write them: one, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)
