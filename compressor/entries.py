"""Owns what the layouts of cache files have in common: what each of them reads its entries as."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.sealed import Parts


@dataclass(frozen=True, slots=True)
class TokenKind:
    """What tokens must have in common to stand in one array."""

    format: str
    width: int


class Entries(Protocol):
    """The entries of one file, by name; their parts come checked. Raises ValueError for what cannot be unpacked."""

    def kinds(self, entries: Sequence[str]) -> set[TokenKind]: ...

    def tokens(self, entry: str) -> int: ...

    def digest(self, entry: str) -> str:
        """sha256 of the text's UTF-8, hex."""
        ...

    def way(self, entry: str) -> Any:  # noqa: ANN401 - only compared
        """Equal for entries that `read_numbers` can read together."""
        ...

    def cache(self, entry: str, parts: Parts) -> Cache: ...

    def read_numbers(self, entries: Sequence[str], parts: Sequence[Parts], target: NDArray[np.float16]) -> None:
        """Dequantised tokens of entries made in one way, one after the other into `target` (tokens, width)."""
        ...
