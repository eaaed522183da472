"""Owns the choice of a decoder by name; one file per decoder."""

from importlib import import_module
from typing import TYPE_CHECKING

from compressor.decoders.base import Decoder
from compressor.errors import ModelError

if TYPE_CHECKING:
    from compressor.embed import Embedder

DECODERS = {"extractive": "compressor.decoders.extractive:ExtractiveDecoder"}


def load_decoder(name: str, *, embedder: "Embedder") -> Decoder:
    """The decoder of that name. Raises ModelError with the names that there are."""
    if name not in DECODERS:
        raise ModelError(f"there is no decoder {name!r}; choose one of: {', '.join(sorted(DECODERS))}")
    module, _, attribute = DECODERS[name].partition(":")
    decoder: Decoder = getattr(import_module(module), attribute)(embedder)
    return decoder
