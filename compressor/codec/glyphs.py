"""Owns the numbers that glyphs become: which characters of the font a cell's own numbers can stand for.

A glyph writes the same numbers wherever it stands, and at native-10 and native-20 hardly two glyphs write the same; up
to native-40 a tab, plain or styled as code, has numbers that no usual character has in any style. They lie beside a
rate's weights: worked out anew on another device, a few could be rounded the other way.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from compressor.codec.atlas import PLANES, load_atlas
from compressor.codec.lookalikes import NONE, Lookalikes, lookalikes_of, scripts_of
from compressor.codec.model import CODES
from compressor.codec.typography import BLANK, CONTINUATION, STRIP_CELLS, cell_bitmaps, characters_of, set_text
from compressor.errors import ModelError
from compressor.sealed import save_sorted
from compressor.styles import Style

if TYPE_CHECKING:
    from compressor.codec.native import NativeCodec

LEVELS = (0, 1, 2)  # of rates whose numbers tell a tab
ALL_TOLD = (0, 1)  # and all other glyphs, too: at native-40 a cell has eight bits for all of the font
MOST_ALIKE = 64  # of the committed weights at most 16 glyphs become the same numbers
_UNUSED = range(0xD800, 0xF900)  # surrogates, and code points that mean what two parties agree on
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # bytes of a cell's numbers -> these as one


@dataclass(frozen=True, slots=True)
class Listed:
    """Characters by their numbers."""

    keys: Tensor  # (n,) int64, ascending; one for each character, so those that look alike stand together
    characters: Tensor  # (n,) int64

    def find(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(m,) keys -> where the characters of each begin and end, (m,) each."""
        return torch.searchsorted(self.keys, keys), torch.searchsorted(self.keys, keys, right=True)

    def groups(self) -> list[list[int]]:
        """The characters that have the same numbers, where there are several."""
        _, sizes = self.keys.unique_consecutive(return_counts=True)
        return [members.tolist() for members in self.characters.split(sizes.tolist()) if len(members) > 1]

    def to(self, device: torch.device) -> "Listed":
        return Listed(self.keys.to(device), self.characters.to(device))


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The numbers of all glyphs at a rate, on the device of its codec."""

    first: Tensor  # (0x20000,) int64 by character: its first cell's numbers, NONE of those that are not looked up
    second: Tensor  # (0x20000,) int64: its second cell's, NONE of a narrow one
    narrow: Listed
    wide: Listed  # by both cells' numbers, one behind the other
    bits: int  # of a cell's numbers
    alike: Lookalikes
    tell_style: bool  # whether a style changes the numbers of its cells, and not what these share with others


def glyphs_path(codec: str, directory: Path) -> Path:
    """Where the numbers of the glyphs that are told lie for a codec, "native-20"."""
    return directory / f"{codec}.glyphs"


def own_numbers(levels: Tensor, level: int) -> Tensor:
    """Tokens as stored (n, width) uint8 -> the cells' own numbers as stored (strips, 56, numbers) at one of LEVELS."""
    own = CODES[level].own // CODES[level].digits
    return levels[:, : (STRIP_CELLS << level) * own].reshape(-1, STRIP_CELLS, own)


def packed(own: Tensor) -> Tensor:
    """Numbers of four bits (..., n) uint8 -> bytes (..., n / 2), the first one low."""
    return (own[..., 0::2] | own[..., 1::2] << 4).contiguous()


def as_one(stored: Tensor) -> Tensor:
    """Packed numbers of cells (..., n / 2) -> each cell's as one, (...) int64, from 0."""
    return stored.view(_WORDS[stored.shape[-1]]).squeeze(-1).long() & (1 << 8 * stored.shape[-1]) - 1


def write_glyphs(codec: "NativeCodec", level: int, directory: Path) -> Path:
    """Draws the glyphs that are told at a codec's rate, one of LEVELS, and writes down which numbers they become."""
    path = glyphs_path(codec.name, directory)
    partial = path.with_suffix(".partial")
    tensors: dict[str, NDArray[Any]] = {
        "tab": _drawn_numbers(codec, level, "\t\t", np.array([0, Style.CODE], np.uint8))[:, 0]
    }
    if level in ALL_TOLD:
        characters = _looked_up()
        scripts, letters = scripts_of(characters)
        tensors |= {"characters": characters, "scripts": scripts, "letters": letters}
        tensors["numbers"] = _drawn_numbers(codec, level, "".join(map(chr, characters.tolist())), None)
    partial.write_bytes(save_sorted(tensors, {"codec": codec.name}))
    return partial.replace(path)


def _drawn_numbers(codec: "NativeCodec", level: int, text: str, styles: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """What each character's cell and the next one become, (characters, 2, bytes)."""
    grid = set_text(text, styles)
    (levels,) = codec.draw_and_encode([grid])[-1]
    own = own_numbers(torch.from_numpy(levels), level).flatten(0, 1)
    places = torch.from_numpy(np.flatnonzero(characters_of(grid)))
    cells = torch.stack([own[places], own[(places + 1).clamp(max=len(own) - 1)]], 1)
    numbers: NDArray[np.uint8] = packed(cells).numpy()
    return numbers


def load_glyphs(codec: str, level: int, directory: Path, device: torch.device) -> Glyphs | None:
    """The numbers of all glyphs of a codec, "native-20"; None of one that has none. Raises ModelError."""
    with _stored(codec, directory) as stored:
        return _glyphs_of(stored, level, device) if "characters" in stored else None


def load_tab(codec: str, level: int, directory: Path, device: torch.device) -> Tensor | None:
    """A tab's numbers as one at a codec's rate, plain and styled as code, (2,) int64; None of one that has none.

    Raises ModelError.
    """
    with _stored(codec, directory) as stored:
        if "tab" not in stored:
            return None
        if stored["tab"].shape != (2, _bytes_of(level)):
            raise ValueError(f"a tab of the shape {stored['tab'].shape} is another rate's")
        return as_one(torch.from_numpy(stored["tab"])).to(device)


@contextmanager
def _stored(codec: str, directory: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """What lies in a codec's file, nothing where there is none. Raises ModelError where that, or its use, fails."""
    path = glyphs_path(codec, directory)
    try:
        yield load_file(path) if path.exists() else {}
    except (OSError, SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"the glyphs' numbers {path.name} cannot be read ({error}): reinstall Percel") from error


def _bytes_of(level: int) -> int:
    """Of a cell's own numbers as stored, two in a byte."""
    return CODES[level].own // CODES[level].digits // 2


def _glyphs_of(stored: dict[str, NDArray[Any]], level: int, device: torch.device) -> Glyphs:
    characters, numbers = stored["characters"].astype(np.int64), stored["numbers"]
    if numbers.shape != (len(characters), 2, _bytes_of(level)):
        raise ValueError(f"numbers of the shape {numbers.shape} are another rate's")
    if characters.min(initial=0) < 0:
        raise ValueError("it has characters that are none")
    keys = as_one(torch.from_numpy(numbers))  # (characters, 2)
    wide = torch.from_numpy(load_atlas().wide[characters])
    narrow = _list(keys[~wide, 0], characters[~wide.numpy()])
    first, second = torch.full((2, PLANES), NONE)
    first[characters], second[characters[wide]] = keys[:, 0], keys[wide, 1]
    pairs = _list((keys[:, 0] << (8 * numbers.shape[-1]) | keys[:, 1])[wide], characters[wide.numpy()])
    told = torch.zeros(PLANES, dtype=torch.bool)
    told[narrow.characters] = told[pairs.characters] = True
    first[~told], second[~told] = NONE, NONE
    alike = lookalikes_of(narrow.groups(), pairs.groups(), characters, stored["scripts"], stored["letters"])
    return Glyphs(
        first.to(device),
        second.to(device),
        narrow=narrow.to(device),
        wide=pairs.to(device),
        bits=8 * numbers.shape[-1],
        alike=alike.to(device),
        tell_style=not CODES[level].shared,
    )


def _looked_up() -> NDArray[np.int32]:
    """The characters whose glyphs are looked up, (n,): all that are drawn, and that Unicode does not write otherwise.

    Of those without ink only the space: which other one a blank cell is, nobody sees.
    """
    drawn = np.flatnonzero(load_atlas().first).astype(np.int32)
    drawn = drawn[(drawn < _UNUSED.start) | (drawn >= _UNUSED.stop)]
    behind = np.where(load_atlas().wide[drawn], CONTINUATION, BLANK)
    inked = cell_bitmaps(np.stack([drawn, behind], 1)).any((1, 2))
    usual = [unicodedata.is_normalized("NFC", chr(character)) for character in drawn.tolist()]
    looked_up: NDArray[np.int32] = drawn[(inked | (drawn == BLANK)) & usual]
    return looked_up


def _list(keys: Tensor, characters: NDArray[np.int64]) -> Listed:
    """Without those whose numbers are so many others', too, that they tell nothing."""
    order = keys.argsort(stable=True)
    _, which, counts = keys[order].unique_consecutive(return_inverse=True, return_counts=True)
    order = order[counts[which] <= MOST_ALIKE]
    return Listed(keys[order], torch.from_numpy(characters)[order])
