"""Owns the doors of a vLLM server: page caches as what its requests hold, checked before they leave.

A family whose positions have rows and columns goes in as image embeds: the server finds positions by the grid, and
writes the chat itself. Every other family's prompt goes in whole as prompt embeds, words as rows of the model's own
table: number for number what the in-process decoder reads, tags between tiles included. Where the server reads our
store itself (the connector in connectors/vllm), image embeds carry names instead of numbers.
Formats: vLLM 0.33, `vllm/renderers/chat_utils/types.py` and `vllm/entrypoints/openai/completion/protocol.py`.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from compressor.decoders.openai import Fields, RemoteModel, list_models, stream
from compressor.errors import (
    CacheDamaged,
    ContextTooLong,
    RemoteNonsense,
    RemoteOtherModel,
    RemoteRefused,
    UnknownCodec,
)
from compressor.said import Said
from compressor.vlm.codec import PageCodec
from compressor.vlm.layout import lay_out
from compressor.vlm.load import read_config
from compressor.vlm.page import PageCache
from compressor.vlm.prompt import plain_text, prompt_parts
from compressor.vlm.table import read_embeddings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENT_BYTES = 2 << 30  # of numbers in one request: what vLLM decodes of one tensor (VLLM_MAX_EMBED_DECODE_BYTES)
_PLACEHOLDER = "<prompt_embeds>"  # vLLM's own mark, which it refuses in text
_REFUSALS = {  # what vLLM answers where a door is closed -> how it is opened
    "--enable-mm-embeds": "--enable-mm-embeds",
    "--enable-prompt-embeds": "--enable-prompt-embeds",
    # Door C with a server that has no consumer of an encoder cache: it misses the numbers.
    "but only found the following keys": "the encoder-cache connector of percel-vllm (connectors/vllm), or leave "
    "PERCEL_VLLM_SENDS at embeds",
}
_TOO_LONG = re.compile(r"maximum (?:model|context) length")


@dataclass(frozen=True, slots=True)
class Served:
    """A server's model that is the one whose caches are sent."""

    id: str  # that requests name
    max_tokens: int | None  # of its context; None where the server does not say


@dataclass(frozen=True, slots=True)
class Expected:
    """What page caches of a model must be, by its settings."""

    codec: str
    width: int  # of a row of features and of each deepstack level
    levels: int  # of deepstack
    merge: int  # patches on a side that became one feature; 1 without a grid
    grid: bool

    @property
    def row_bytes(self) -> int:
        """Of one feature with its levels, as sent."""
        return 2 * self.width * (1 + self.levels)


def expect_pages(codec: PageCodec) -> Expected:
    """What a codec's pages must be. Raises ModelError."""
    config = read_config(codec.directory)
    vision = getattr(config, "vision_config", None)
    levels = getattr(vision, "deepstack_visual_indexes", None) or ()
    merge = getattr(vision, "spatial_merge_size", 1) if codec.family.grid else 1
    width: int = config.get_text_config().hidden_size
    return Expected(codec.model, width, len(levels), merge, codec.family.grid)


def find_served(remote: RemoteModel, model: str) -> Served:
    """The model of that name among those that a server lists, by id or by what it was started with.

    Raises RemoteOtherModel with those that it serves, RemoteUnreachable, RemoteSlow, RemoteNonsense.
    """
    listed = list_models(remote)
    for one in listed:
        if _last(model) in (_last(str(one["id"])), _last(str(one.get("root") or ""))):
            most = one.get("max_model_len")
            return Served(str(one["id"]), most if isinstance(most, int) and most > 0 else None)
    names = ", ".join(repr(one["id"]) for one in listed) or "nothing"
    raise RemoteOtherModel(f"{remote.url} serves {names}, not {model}, whose page caches would be sent")


def _last(name: str) -> str:
    """The model's own part of a path, "owner/model" or "owner/model@revision"."""
    return name.partition("@")[0].rstrip("/").rpartition("/")[2]


def page_name(model: str, blob: str, entry: str) -> str:
    """What a server calls a stored page: its keys to what it keeps, and for the connector where the page lies.

    It names the model's and the encoder's fingerprint, the tenant (in the blob's key) and the content.
    """
    return f"percel:{model}:{blob}:{entry}"


def image_part(page: PageCache, expected: Expected, name: str) -> Fields:
    """A page as image embeds with its numbers. Raises UnknownCodec, CacheDamaged."""
    rows = _rows(page, expected)
    narrow = rows.half()
    sent = narrow if bool(torch.isfinite(narrow).all()) else rows  # beyond float16's range: as it is
    file = io.BytesIO()
    np.save(file, sent.numpy(), allow_pickle=False)
    embeds = {"image_embeds": base64.b64encode(file.getvalue()).decode(), "image_grid_thw": _grid(page.grid, expected)}
    return {"type": "image_embeds", "uuid": name, "image_embeds": embeds}


def named_part(grid: tuple[int, int] | None, expected: Expected, name: str) -> Fields:
    """A page as image embeds whose numbers the server reads for itself."""
    return {"type": "image_embeds", "uuid": name, "image_embeds": {"image_grid_thw": _grid(grid, expected)}}


def prompt_embeds(
    codec: PageCodec,
    tokenizer: "PreTrainedTokenizerBase",
    pages: Sequence[PageCache],
    question: str,
    *,
    expected: Expected,
) -> Tensor:
    """A whole prompt as (tokens, width), of the dtype that the model is stored in.

    Raises UnknownCodec, CacheDamaged, ModelError.
    """
    layout = lay_out(prompt_parts(tokenizer, codec.family, pages, question), grid=False)
    words = read_embeddings(codec.directory, layout.ids[~layout.visual].tolist(), width=expected.width)
    prompt = torch.empty(len(layout), expected.width, dtype=words.dtype)
    prompt[~layout.visual] = words
    if pages:
        features = torch.cat([_rows(page, expected) for page in pages]).to(words.dtype)
        if not bool(torch.isfinite(features).all()):
            raise CacheDamaged(f"a page cache of {codec.name} holds numbers beyond the range of {words.dtype}")
        prompt[layout.visual] = features
    return prompt


def ask_by_images(
    remote: RemoteModel,
    served: Served,
    parts: Sequence[Fields],
    question: str,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    salt: str,
    limit: int,
) -> Said:
    """The answer to a question about pages that go in as image embeds. Raises RemoteError's kinds."""
    asked = plain_text(tokenizer, question).replace(_PLACEHOLDER, " ")
    content = [*parts, {"type": "text", "text": asked}]
    request = {"model": served.id, "messages": [{"role": "user", "content": content}]}
    return (yield from _stream(remote, "chat/completions", request, salt=salt, limit=limit))


def ask_by_prompt(remote: RemoteModel, served: Served, prompt: Tensor, *, salt: str, limit: int) -> Said:
    """The answer to a whole prompt (tokens, width) that goes in as prompt embeds. Raises RemoteError's kinds."""
    file = io.BytesIO()
    torch.save(prompt.contiguous(), file)  # the only format that vLLM takes here; it reads no objects but tensors
    request = {"model": served.id, "prompt_embeds": base64.b64encode(file.getvalue()).decode()}
    return (yield from _stream(remote, "completions", request, salt=salt, limit=limit))


def _stream(remote: RemoteModel, path: str, request: Mapping[str, object], *, salt: str, limit: int) -> Said:
    # Marks for boxes are special tokens of some models: they are read, then taken out of the answer.
    extra = {"skip_special_tokens": False, "cache_salt": salt}
    try:
        return (yield from stream(remote, path, {**request, **extra}, limit=limit))
    except RemoteNonsense as error:
        said = str(error)
        opened = next((flag for refused, flag in _REFUSALS.items() if refused in said), None)
        if opened is not None:
            raise RemoteRefused(
                f"vLLM does not take page caches as it was started; start it with {opened}: {said}"
            ) from error
        if _TOO_LONG.search(said):
            raise ContextTooLong(f"the pages do not fit the server's context, ask about fewer: {said}") from error
        raise


def _rows(page: PageCache, expected: Expected) -> Tensor:
    """A page's numbers, (rows, width of all levels) float32: features, then each deepstack level beside them."""
    if page.codec != expected.codec:
        raise UnknownCodec(f"this page was encoded by {page.codec}; the server's model reads {expected.codec}")
    levels = (page.features, *page.deepstack)
    fault = _fault(page, expected)
    if fault is None:
        rows = torch.cat([level.unpack(0, len(level), device="cpu", dtype=torch.float32) for level in levels], 1)
        if bool(torch.isfinite(rows).all()):
            return rows
        fault = "it has numbers that are not finite"
    raise CacheDamaged(f"a page cache of {page.codec} was not sent: {fault}; make it anew (percel doctor --repair)")


def _fault(page: PageCache, expected: Expected) -> str | None:
    """What of a page's shape is not as it must be."""
    count, places = len(page.features), int((page.ids == page.image_token).sum())
    if count != places:
        return f"it has {count} rows for {places} places in the prompt"
    if expected.grid and (page.grid is None or page.grid[0] * page.grid[1] != count):
        return f"it has {count} rows and a grid of {page.grid}"
    if len(page.deepstack) != expected.levels or any(len(level) != count for level in page.deepstack):
        return (
            f"it has {[len(level) for level in page.deepstack]} rows of deepstack, not {expected.levels} times {count}"
        )
    widths = {level.width for level in (page.features, *page.deepstack)}
    if widths != {expected.width}:
        return f"its rows have {sorted(widths)} numbers, not {expected.width}"
    return None


def _grid(grid: tuple[int, int] | None, expected: Expected) -> list[int]:
    """Frames, rows and columns of patches, before the model merges them: what vLLM reckons tokens and positions by."""
    assert grid is not None, "a page of a family with grid positions has a grid"
    return [1, grid[0] * expected.merge, grid[1] * expected.merge]
