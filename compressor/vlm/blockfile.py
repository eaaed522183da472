"""Owns the block file: keys and values of pages read apart, in one sealed file.

Layout, version 1. Parts of an entry, both uint8: `keys` and `values`, (layers, heads, tokens, bytes of a vector)
little-endian as the model computed them. The facts hold codec, number type, start and span. A later version must
still read this one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import ModelError
from compressor.ranges import ByteRanges, ReadFile, owned
from compressor.sealed import Kind, Parts, SealedFile, seal
from compressor.vlm.blocks import Block

VERSION = "1"
PARTS = ("keys", "values")
NUMBERS = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}


class Facts(TypedDict):
    """What the header says of a block."""

    codec: str
    numbers: str
    start: int
    span: int
    sha256: str


def _kind() -> Kind:
    return Kind(
        name="block file",
        version_key="percel_blocks",
        version=VERSION,
        parts=PARTS,
        remedy="delete it, blocks are read anew from their pages",
    )


def write_blocks(blocks: Mapping[str, Block]) -> bytes:
    """The bytes of a block file that holds these blocks by entry name.

    Raises ModelError for a block whose layers differ in shape: no family of the list has such.
    """
    return seal(_kind(), {entry: (_facts(block), _parts(block)) for entry, block in blocks.items()})


def _facts(block: Block) -> dict[str, object]:
    names = {dtype: name for name, dtype in NUMBERS.items()}
    return {"codec": block.codec, "numbers": names[block.keys[0].dtype], "start": block.start, "span": block.span}


def _parts(block: Block) -> Parts:
    return {"keys": _stacked(block.keys), "values": _stacked(block.values)}


def _stacked(layers: Sequence[Tensor]) -> NDArray[np.uint8]:
    if len({layer.shape for layer in layers}) != 1:
        raise ModelError("the layers of this block differ in shape: it cannot be stored")
    stored: NDArray[np.uint8] = torch.cat(list(layers)).cpu().contiguous().view(torch.uint8).numpy()
    return stored


def _check(entry: str, facts: Mapping[str, Any], keys: tuple[int, ...], values: tuple[int, ...]) -> None:
    """Raises ValueError for a block without its facts, or with parts of other shapes than a model's."""
    if facts.get("numbers") not in list(NUMBERS):
        raise ValueError(f"the numbers of {entry} are of no type of {', '.join(NUMBERS)}")
    start, span = facts.get("start"), facts.get("span")
    if not isinstance(facts.get("codec"), str) or type(start) is not int or type(span) is not int:
        raise ValueError(f"codec, start or span of {entry} is not told")
    if min(start, span) < 0:
        raise ValueError(f"start or span of {entry} is below 0")
    if len(keys) != 4 or len(values) != 4 or keys[::2] != values[::2]:  # heads and widths may differ
        raise ValueError(f"keys and values of {entry} are not of the same layers and tokens")
    if any(shape[3] % NUMBERS[facts["numbers"]].itemsize for shape in (keys, values)):
        raise ValueError(f"a vector of {entry} is cut off within a number")


class BlockFile(SealedFile[Block]):
    """A block file, local where it is a path, read in ranges elsewhere; a context manager, safe for several threads.

    Opening checks the header, loading a block checks that block. Raises CacheDamaged with the file's name.
    """

    _local = ReadFile
    _at_once = True

    def __init__(self, source: Path | ByteRanges) -> None:
        super().__init__(source, _kind())
        with self._opening():
            header = self._header()
            for entry, facts in header.facts.items():
                _check(entry, facts, *(header.places[f"{entry}.{part}"].shape for part in PARTS))

    def facts(self, entry: str) -> Facts:
        """What the header says of a block. Touches only the header."""
        return cast("Facts", self._header().facts[entry])

    def _entry(self, entry: str, parts: Parts) -> Block:
        facts = self.facts(entry)
        dtype = NUMBERS[facts["numbers"]]
        keys, values = (torch.from_numpy(owned(parts[name])).view(dtype) for name in PARTS)
        return Block(
            codec=facts["codec"],
            keys=keys.split(1),
            values=values.split(1),
            start=facts["start"],
            span=facts["span"],
        )
