"""Owns the price sheet: list prices with their date and source, and the decoder that is reckoned with."""

import tomllib
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import BadPrices


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DecoderShape(_Part):
    """What of a language model decides FLOPs and the bytes of keys and values."""

    name: str
    source: str = ""
    parameters: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_width: int = Field(gt=0)
    number_bytes: int = Field(gt=0)

    @property
    def kv_bytes(self) -> int:
        """That one position leaves behind."""
        return 2 * self.layers * self.kv_heads * self.head_width * self.number_bytes

    def prefill_flops(self, new: int, before: int = 0) -> float:
        """Of reading `new` positions after `before` others: two a weight, and causal attention over all before."""
        pairs = (before + new) ** 2 - before**2
        return 2.0 * self.parameters * new + 2.0 * self.layers * self.heads * self.head_width * pairs


class _Price(_Part):
    name: str
    date: str
    source: str

    def __str__(self) -> str:
        return f"{self.name}, {self.date}: {self.source}"


class Storage(_Price):
    """What keeping bytes costs."""

    gigabyte_month: float = Field(ge=0)


class ModelPrice(_Price):
    """What a vendor takes for a million input tokens."""

    input_million: float = Field(ge=0)
    cached_input_million: float = Field(ge=0)  # of a prefix that was sent before


class Prices(_Part):
    """A price sheet."""

    currency: str
    decoder: DecoderShape
    storage: Storage
    model: tuple[ModelPrice, ...] = Field(min_length=1)


def load_prices(path: Path | None = None) -> Prices:
    """The sheet in a TOML file, or the one that comes with Percel. Raises BadPrices, with the file and the field."""
    name = "the price sheet" if path is None else str(path)
    try:
        text = files("api").joinpath("prices.toml").read_text("utf-8") if path is None else path.read_text("utf-8")
        return Prices.model_validate(tomllib.loads(text))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadPrices(f"{name} is no price sheet: {faults}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadPrices(f"{name} cannot be read as a price sheet: {error}") from error
