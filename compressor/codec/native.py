"""Owns the native codec: text to verified caches, caches back to exactly their text.

Every cache is read back from its quantised form before it leaves `encode`; what the reader got wrong travels
with it as the residual, so `read` returns the text bit for bit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.cache import Cache, Reading, text_digest
from compressor.codec.residual import SURE, apply_residual, write_residual
from compressor.codec.typography import (
    CONTINUATION,
    STRIP_CELLS,
    TextGrid,
    draw,
    read_grid,
    set_text,
    strip_pixels,
)
from compressor.codec.weights import DIRECTORY, RATES, Levels, fingerprint, load_levels
from compressor.device import choose_device, has_native_bf16, pad_rows, side_by_side
from compressor.errors import CacheDamaged, UnknownCodec
from compressor.formats import INT4, Format
from compressor.quantise import dequantise, quantise

BATCH_STRIPS = 512  # strips in one pass of the network: about 25,000 cells
CPU_BATCH_STRIPS = 64  # activations of this many nearly fit a core's cache
UNREADABLE = 0x1FFFF  # the class of a continuation


class NativeCodec:
    """One rate of the native codec on one device. Not thread-safe on CUDA; on a CPU it may be shared."""

    def __init__(self, rate: int, levels: Levels, format: Format, device: torch.device, directory: Path) -> None:
        self.rate = rate
        self.name = f"native-{rate}"
        self.fingerprint = fingerprint(rate, format, directory)
        self.format = format
        self.device = device
        self._batch = CPU_BATCH_STRIPS if device.type == "cpu" else BATCH_STRIPS
        self._levels = levels
        # All in bf16, the residual stream too: 1.7 times as fast as autocast, which copies every activation.
        self._dtype = torch.bfloat16 if has_native_bf16(device.type) else torch.float32
        for module in (levels.base, *levels.octaves):
            module.to(self._dtype)
        self._reader = levels.octaves[-1].reader if levels.octaves else levels.base.reader
        self.strips_per_token = 2 ** len(levels.octaves)

    def encode(self, texts: Sequence[str]) -> list[Cache]:
        """Draws, encodes, quantises and verifies chunks. Raises ValueError for text that is not Unicode."""
        grids = [set_text(text) for text in texts]
        pixels = [self._pixels(grid) for grid in grids]
        sizes = [len(part) for part in pixels]
        levels, codes, close = self._encode_pixels(np.concatenate(pixels)) if sum(sizes) else self._nothing()
        caches = []
        start = 0
        for text, grid, size in zip(texts, grids, sizes, strict=True):
            strips = slice(start, start + len(grid.codes))
            tokens = slice(start // self.strips_per_token, (start + size) // self.strips_per_token)
            found = codes[strips]
            characters = _characters(grid)
            right = int(((found == grid.codes) & characters).sum())
            caches.append(
                Cache(
                    codec=self.fingerprint,
                    format=self.format.name,
                    levels=levels[tokens],
                    counts=grid.counts,
                    residual=write_residual(grid.codes, found, close[strips]),
                    digest=text_digest(text),
                    raw_char_accuracy=right / max(1, int(characters.sum())),
                )
            )
            start += size
        for text, replayed in zip(texts, self._replay(caches, codes, sizes), strict=True):
            if replayed != text:
                raise CacheDamaged(f"a fresh cache of {self.name} does not read back to its text; it was not kept")
        return caches

    def read(self, caches: Sequence[Cache]) -> list[str]:
        """The texts of whole caches. Raises CacheDamaged where one does not read back to its text."""
        texts = self.read_ranges([Reading(cache, 0, cache.characters) for cache in caches])
        for cache, text in zip(caches, texts, strict=True):
            if text_digest(text) != cache.digest:
                raise CacheDamaged("a cache does not read back to its text: run `percel doctor --repair`")
        return texts

    def right_characters(self, text: str, cache: Cache) -> NDArray[np.bool_]:
        """Which characters of a cache's text the network alone reads right, (characters,): for measuring."""
        self._check(cache)
        grid = set_text(text)
        codes, _ = self._read_levels(cache.levels)
        right: NDArray[np.bool_] = (codes[: len(grid.codes)] == grid.codes)[_characters(grid)]
        return right

    def read_ranges(self, readings: Sequence[Reading]) -> list[str]:
        """Characters [start, end) of caches; only the tokens that hold them are read, all in one batch."""
        plans = []
        for reading in readings:
            self._check(reading.cache)
            ends = np.cumsum(reading.cache.counts, dtype=np.int64)
            first, last = np.searchsorted(ends, [reading.start, max(reading.start, reading.end - 1)], side="right")
            first -= first % self.strips_per_token
            plans.append((int(first), min(int(last) + 1, len(ends)), ends))
        tokens = [
            reading.cache.levels[first // self.strips_per_token : -(-last // self.strips_per_token)]
            for reading, (first, last, _) in zip(readings, plans, strict=True)
        ]
        codes, _ = self._read_levels(np.concatenate(tokens)) if tokens else (np.zeros((0, STRIP_CELLS), np.int32), None)
        texts = []
        start = 0
        for reading, part, (first, last, ends) in zip(readings, tokens, plans, strict=True):
            found = codes[start : start + last - first].copy()
            start += len(part) * self.strips_per_token
            apply_residual(found, reading.cache.residual, first * STRIP_CELLS)
            text = read_grid(TextGrid(found, reading.cache.counts[first:last]))
            before = int(ends[first - 1]) if first else 0
            texts.append(text[reading.start - before : reading.end - before])
        return texts

    def _check(self, cache: Cache) -> None:
        if cache.codec != self.fingerprint:
            raise UnknownCodec(f"this cache was made by {cache.codec}; the codec at hand is {self.fingerprint}")

    def _pixels(self, grid: TextGrid) -> NDArray[np.uint8]:
        """Pixels of a chunk's image, blank strips added up to a whole number of tokens."""
        pixels = strip_pixels(draw(grid))[: len(grid.codes)]
        missing = -len(pixels) % self.strips_per_token
        return np.pad(pixels, ((0, missing), (0, 0), (0, 0)))

    def _nothing(self) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
        return (
            np.zeros((0, self._levels.shape.width), np.uint8),
            np.zeros((0, STRIP_CELLS), np.int32),
            np.zeros((0, STRIP_CELLS), np.bool_),
        )

    def _encode_pixels(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
        """Pixels (strips, 56, 128) -> levels (tokens, width), codes read back (strips, 56), close calls."""
        parts = torch.from_numpy(pixels).split(self._batch)
        levels, codes, close = zip(*side_by_side(self._encode_part, parts, device=self.device.type), strict=True)
        return np.concatenate(levels), np.concatenate(codes), np.concatenate(close)

    @torch.inference_mode()
    def _encode_part(self, pixels: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
        whole = pad_rows(pixels, self._batch)
        tokens = self._levels.base.encode(whole.to(self.device, self._dtype))
        for octave in self._levels.octaves:
            tokens = octave.merge(dequantise(quantise(tokens, self.format), self.format).to(self._dtype))
        levels = quantise(tokens, self.format)[: len(pixels) // self.strips_per_token].cpu()
        return levels.numpy(), *self._read_part(levels)

    def _read_levels(self, levels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Levels (tokens, width) -> codes (strips, 56) and where the choice was close."""
        if not len(levels):
            return self._nothing()[1:]
        parts = torch.from_numpy(np.ascontiguousarray(levels)).split(self._batch // self.strips_per_token)
        codes, close = zip(*side_by_side(self._read_part, parts, device=self.device.type), strict=True)
        return np.concatenate(codes), np.concatenate(close)

    @torch.inference_mode()
    def _read_part(self, levels: Tensor) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        padded = pad_rows(levels, self._batch // self.strips_per_token)
        low, high = self._reader(dequantise(padded.to(self.device), self.format).to(self._dtype))
        strips = len(levels) * self.strips_per_token
        low_best, low_close = _choose(low[:strips])
        high_best, high_close = _choose(high[:strips])
        found = low_best + 256 * high_best
        codes = torch.where(found == UNREADABLE, CONTINUATION, found).to(torch.int32)
        return codes.cpu().numpy(), (low_close | high_close).cpu().numpy()

    def _replay(self, caches: list[Cache], codes: NDArray[np.int32], sizes: list[int]) -> list[str]:
        """What `read` would return for fresh caches, from the codes that were just read."""
        texts = []
        start = 0
        for cache, size in zip(caches, sizes, strict=True):
            found = codes[start : start + len(cache.counts)].copy()
            apply_residual(found, cache.residual)
            texts.append(read_grid(TextGrid(found, cache.counts)))
            start += size
        return texts


def load_codec(name: str, *, device: str = "auto", format: Format = INT4, directory: Path = DIRECTORY) -> NativeCodec:
    """Loads a native codec by name ("native-20") or fingerprint ("native-20@0123456789ab").

    Raises UnknownCodec for a name that is none or a fingerprint that the installed weights do not have.
    """
    rate_name, _, wanted = name.partition("@")
    rates = {f"native-{rate}": rate for rate in RATES}
    if rate_name not in rates:
        raise UnknownCodec(f"{name} is not a native codec; choose from {', '.join(rates)}")
    where = torch.device(choose_device(device))
    codec = NativeCodec(rates[rate_name], load_levels(rates[rate_name], where, directory), format, where, directory)
    if wanted and codec.fingerprint != name:
        raise UnknownCodec(
            f"caches of {name} cannot be read here, where the codec is {codec.fingerprint}; "
            "`percel doctor --repair` makes them anew from their documents"
        )
    return codec


def _choose(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (..., classes) -> the best class, and whether its probability is below SURE."""
    best, chosen = logits.max(-1)
    return chosen, (logits - best[..., None]).exp_().sum(-1, dtype=torch.float32) > 1 / SURE


def _characters(grid: TextGrid) -> NDArray[np.bool_]:
    """Cells that hold a character: neither a continuation nor the blanks that end a strip."""
    characters: NDArray[np.bool_] = grid.codes != CONTINUATION
    characters &= np.cumsum(characters, axis=1) <= grid.counts[:, None]
    return characters
