"""Owns the native codec: text to verified caches, caches back to exactly their text and styles.

Every cache is read back from its quantised form before it leaves `encode`; what the reader got wrong travels
with it as the residual, so `read` returns the text bit for bit. A "cell" here is a code point with its style bits
above it, as `TextGrid.cells` has it.
"""

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.cache import Cache, Reading, text_digest
from compressor.codec.cuda import CudaReader, fits
from compressor.codec.exact import verify_read
from compressor.codec.glyphs import as_one, load_glyphs, load_tab, own_numbers, packed
from compressor.codec.model import Level
from compressor.codec.residual import CODE, STYLE_SURE, SURE, Coded, Doubt, apply_residual
from compressor.codec.rounded import round_linears
from compressor.codec.settle import UNREADABLE, Choice, settle, tell_tabs
from compressor.codec.typography import (
    BLANK,
    CONTINUATION,
    STRIP_CELLS,
    STYLE_SHIFT,
    TextGrid,
    characters_of,
    grid_of,
    read_grid,
    read_styles,
    set_text,
    stack,
)
from compressor.codec.weights import DIRECTORY, RATES, fingerprint, load_levels
from compressor.codec.writing import FixedWriter, drawn_kinds, stored_kinds, write_levels
from compressor.device import choose_device, free_memory, has_native_bf16, pad_rows, side_by_side
from compressor.errors import CacheDamaged, UnknownCodec
from compressor.formats import INT4
from compressor.packed import can_pack, pack_linears
from compressor.quantise import recall
from compressor.styles import STYLE_BITS

BATCH_STRIPS = 32_768  # strips in one pass of the network on a GPU, if a quarter of its free memory holds them
STRIP_BYTES = 270_000  # that a strip takes there
STEP_STRIPS = 64  # of which a GPU's batches are made: whole tokens at every rate
CPU_BATCH_STRIPS = 64  # activations of this many nearly fit a core's cache


class _Begun(NamedTuple):
    """A reading that is under way on the device."""

    choice: Choice
    style: Tensor  # (strips, 56, 6) logits
    levels: Tensor  # (tokens, width) that are read


class NativeCodec:
    """One rate of the native codec on one device. Not thread-safe on CUDA; on a CPU it may be shared."""

    def __init__(self, rate: int, levels: list[Level], device: torch.device, directory: Path) -> None:
        self.rate = rate
        self.name = f"native-{rate}"
        self.fingerprint = fingerprint(rate, directory)
        self.device = device
        self._batch, self._step = CPU_BATCH_STRIPS, CPU_BATCH_STRIPS
        if device.type != "cpu":
            steps = free_memory(str(device)) // (4 * STRIP_BYTES * STEP_STRIPS)
            self._batch, self._step = min(BATCH_STRIPS, max(1, steps) * STEP_STRIPS), STEP_STRIPS
        self._levels = levels
        # All in bf16, the residual stream too: 1.7 times as fast as autocast, which copies every activation.
        self._dtype = torch.bfloat16 if has_native_bf16(device.type) else torch.float32
        self._writers = []
        for module in levels:
            module.to(self._dtype)
            self._writers.append(FixedWriter(module))
            if self._dtype is torch.float32:
                round_linears(module.writer)
            if can_pack(device.type, self._dtype):
                pack_linears(module)  # all but what is rounded
        self._cuda = CudaReader(levels[-1].reader) if fits(levels[-1].reader, device, self._dtype) else None
        self.strips_per_token = 1 << (len(levels) - 1)
        self._directory = directory
        self._glyphs = load_glyphs(self.name, len(levels) - 1, directory, device)
        self._tab = load_tab(self.name, len(levels) - 1, directory, device)
        self._blanks: list[NDArray[np.uint8]] | None = None
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], styles: Sequence[NDArray[np.uint8]] | None = None) -> list[Cache]:
        """Draws, encodes, quantises and verifies chunks; `styles` are style bits a character, (characters,) a text.

        Raises ValueError for text that is not Unicode.
        """
        grids = set_texts(texts, styles)
        return self.verify(texts, grids, self.draw_and_encode(grids, lowest=len(self._levels) - 1)[-1])

    def draw_and_encode(self, grids: Sequence[TextGrid], *, lowest: int = 0) -> list[list[NDArray[np.uint8]]]:
        """Levels of grids at every rate up to this codec's, the lowest first: (tokens, width) uint8 a grid.

        Every rate merges the stored tokens of the one below, so what comes out on the way is what that rate stores;
        `lowest` leaves out as many rates from below.
        """
        sheet = stack(grids, self.strips_per_token)
        if not len(sheet.codes):
            width = self._levels[0].shape.width
            return [[np.zeros((0, width), np.uint8) for _ in grids] for _ in self._levels[lowest:]]
        cells = torch.from_numpy(sheet.codes).split(self._batch)
        looks = torch.from_numpy(sheet.styles).split(self._batch) if sheet.styles.any() else [None] * len(cells)
        encoded = side_by_side(
            partial(self._encode_part, lowest=lowest), zip(cells, looks, strict=True), device=self.device.type
        )
        ends = np.cumsum([-(-len(grid.codes) // self.strips_per_token) for grid in grids]) * self.strips_per_token
        by_rate = []
        for level, parts in enumerate(zip(*encoded, strict=True), lowest):
            split = np.split(np.concatenate(parts), ends[:-1] >> level)
            by_rate.append([part[: -(-len(grid.codes) >> level)] for part, grid in zip(split, grids, strict=True)])
        return by_rate

    def verify(
        self, texts: Sequence[str], grids: Sequence[TextGrid], levels: Sequence[NDArray[np.uint8]]
    ) -> list[Cache]:
        """Caches of texts whose levels at this rate are at hand: read back, compared, and made exact."""
        caches: list[Cache] = []
        groups = self._groups(levels)
        for group, (cells, doubt) in zip(groups, self._read_ahead(levels, groups), strict=True):
            coded = [Coded(stored, self.name) for stored in levels[group]]
            verified = verify_read(texts[group], grids[group], coded, cells, doubt)
            caches += [
                Cache(
                    codec=self.fingerprint,
                    format=INT4.name,
                    levels=stored,
                    counts=grid.counts,
                    residual=each.residual,
                    digest=text_digest(text),
                    raw_char_accuracy=each.raw_char_accuracy,
                )
                for text, grid, stored, each in zip(texts[group], grids[group], levels[group], verified, strict=True)
            ]
        return caches

    def misread(self, grids: Sequence[TextGrid], levels: Sequence[NDArray[np.uint8]]) -> list[int]:
        """How many characters of each grid are read wrong, as far as the first tokens go that are given of it."""
        if not levels:
            return []
        cells, _ = self._read_levels(np.concatenate(levels))
        ends = np.cumsum([len(each) for each in levels])[:-1] * self.strips_per_token
        wrong = []
        for grid, found in zip(grids, np.split(cells, ends), strict=True):
            strips = min(len(found), len(grid.codes))
            part = TextGrid(grid.codes[:strips], grid.counts[:strips], grid.styles[:strips])
            wrong.append(int(((found[:strips] & CODE != part.codes) & characters_of(part)).sum()))
        return wrong

    def _groups(self, levels: Sequence[NDArray[np.uint8]]) -> list[slice]:
        """Chunks that are read together: as many as fill a GPU's batch; on a CPU all, whose batches share its cores."""
        most = sum(map(len, levels)) if self.device.type == "cpu" else self._batch // self.strips_per_token
        groups, start, filled = [], 0, 0
        for place, each in enumerate(levels):
            if filled and filled + len(each) > most:
                groups.append(slice(start, place))
                start, filled = place, 0
            filled += len(each)
        return [*groups, slice(start, len(levels))] if levels else []

    def merge(self, caches: Sequence[Cache]) -> list[NDArray[np.uint8]]:
        """Levels at this codec's rate, (tokens, width) each, of caches of the same or lower rates, out of their tokens.

        They are what encoding the text at this rate gives. Raises CacheDamaged, UnknownCodec for another codec's cache.
        """
        rates = {fingerprint(rate, self._directory): level for level, rate in enumerate(RATES) if rate <= self.rate}
        merged: list[NDArray[np.uint8]] = []
        for cache in caches:
            if cache.codec not in rates:
                raise UnknownCodec(f"{self.name} cannot merge a cache of {cache.codec}: it is of another codec")
            level = rates[cache.codec]
            _check_shape(cache, 1 << level, self._levels[level].shape.width)
            missing = -len(cache.levels) % (self.strips_per_token >> level)
            whole = np.concatenate([cache.levels, *[self._blank(level)] * missing])
            parts = torch.from_numpy(whole).split(self._batch >> level) if len(whole) else ()
            merge = partial(self._merge_part, level=level)
            merged.append(np.concatenate([cache.levels[:0], *side_by_side(merge, parts, device=self.device.type)]))
        return merged

    def read_merged(self, caches: Sequence[Cache]) -> list[str]:
        """What this rate reads of caches of the same or lower rates, wrong characters and all: no residual is used."""
        if not caches:
            return []
        merged = self.merge(caches)
        cells, _ = self._read_levels(np.concatenate(merged))
        ends = np.cumsum([len(levels) for levels in merged])[:-1] * self.strips_per_token
        return [
            read_grid(grid_of(found[: len(cache.counts)], cache.counts))
            for found, cache in zip(np.split(cells, ends), caches, strict=True)
        ]

    def read(self, caches: Sequence[Cache]) -> list[str]:
        """The texts of whole caches. Raises CacheDamaged where one does not read back to its text."""
        texts = self.read_ranges([Reading(cache, 0, cache.characters) for cache in caches])
        for cache, text in zip(caches, texts, strict=True):
            if text_digest(text) != cache.digest:
                raise CacheDamaged("a cache does not read back to its text: run `percel doctor --repair`")
        return texts

    def read_raw(self, cache: Cache) -> TextGrid:
        """What the network alone reads, wrong characters and styles and all: for measuring."""
        self._check(cache)
        cells, _ = self._read_levels(cache.levels)
        return grid_of(cells[: len(cache.counts)], cache.counts)

    def read_styles(self, caches: Sequence[Cache]) -> list[NDArray[np.uint8]]:
        """The style bits of whole caches, (characters,) each."""
        readings = [Reading(cache, 0, cache.characters) for cache in caches]
        return [read_styles(grid) for grid, _ in self._read_grids(readings)]

    def read_ranges(self, readings: Sequence[Reading]) -> list[str]:
        """Characters [start, end) of caches; only the tokens that hold them are read, all in one batch."""
        return [
            read_grid(grid)[reading.start - before : reading.end - before]
            for reading, (grid, before) in zip(readings, self._read_grids(readings), strict=True)
        ]

    def _read_grids(self, readings: Sequence[Reading]) -> list[tuple[TextGrid, int]]:
        """The strips that hold each reading's characters, corrected, and how many characters stand before them.

        Raises CacheDamaged, UnknownCodec.
        """
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
        cells, _ = self._read_levels(np.concatenate(tokens)) if tokens else (np.zeros((0, STRIP_CELLS), np.int32), None)
        grids = []
        start = 0
        for reading, part, (first, last, ends) in zip(readings, tokens, plans, strict=True):
            found = cells[start : start + last - first].copy()
            start += len(part) * self.strips_per_token
            chunk_cells = len(reading.cache.levels) * self.strips_per_token * STRIP_CELLS
            apply_residual(
                found,
                reading.cache.residual,
                chunk_cells=chunk_cells,
                first=first * STRIP_CELLS,
                coded=Coded(reading.cache.levels, self.name),
            )
            grids.append((grid_of(found, reading.cache.counts[first:last]), int(ends[first - 1]) if first else 0))
        return grids

    def _check(self, cache: Cache) -> None:
        if cache.codec != self.fingerprint:
            raise UnknownCodec(f"this cache was made by {cache.codec}; the codec at hand is {self.fingerprint}")
        _check_shape(cache, self.strips_per_token, self._levels[-1].shape.width)

    def _nothing(self) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        return np.zeros((0, STRIP_CELLS), np.int32), np.zeros((0, STRIP_CELLS), np.uint8)

    @torch.inference_mode()
    def _encode_part(self, part: tuple[Tensor, Tensor | None], *, lowest: int = 0) -> list[NDArray[np.uint8]]:
        """Codes and style bits (strips, 56) of whole tokens -> levels (tokens, width) at every rate from the lowest."""
        codes, styles = (None if cells is None else cells.to(self.device) for cells in part)
        assert codes is not None
        levels = write_levels(self._writers, drawn_kinds(codes, styles, self._dtype), cells=STRIP_CELLS)
        return [each.cpu().numpy() for each in levels[lowest:]]

    @torch.inference_mode()
    def _merge_part(self, levels: Tensor, *, level: int) -> NDArray[np.uint8]:
        """Levels as stored at the rate of `level` -> levels at this codec's."""
        if level == len(self._levels) - 1:
            return levels.numpy()
        kinds = stored_kinds(levels.to(self.device), self._levels[level], self._dtype)
        merged = write_levels(self._writers[level + 1 :], kinds, cells=STRIP_CELLS << level + 1)
        return merged[-1].cpu().numpy()

    def _blank(self, level: int) -> NDArray[np.uint8]:
        """The token of blank strips at a rate, (1, width): what stands behind the last strips of a chunk."""
        with self._lock:
            if self._blanks is None:
                nothing = torch.full((self.strips_per_token, STRIP_CELLS), BLANK, dtype=torch.int32)
                self._blanks = [levels[:1] for levels in self._encode_part((nothing, None))]
            return self._blanks[level]

    def _read_levels(self, levels: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Levels (tokens, width) -> cells (strips, 56) and bits of Doubt where the choice was close."""
        if not len(levels):
            return self._nothing()
        parts = torch.from_numpy(np.ascontiguousarray(levels)).split(self._batch // self.strips_per_token)
        cells, doubt = zip(*side_by_side(self._read_part, parts, device=self.device.type), strict=True)
        return np.concatenate(cells), np.concatenate(doubt)

    def _read_ahead(
        self, levels: Sequence[NDArray[np.uint8]], groups: Sequence[slice]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Cells and doubt of groups of chunks; a GPU begins with the next group before this one is handed out."""
        longest = max((sum(map(len, levels[group])) for group in groups), default=0) * self.strips_per_token
        if self.device.type == "cpu" or longest > self._batch:  # a chunk that is longer than a batch is read in several
            for group in groups:
                cells, doubt = self._read_levels(np.concatenate(levels[group]))
                yield torch.from_numpy(cells), torch.from_numpy(doubt)
            return
        begun = [self._begin(torch.from_numpy(np.concatenate(levels[group]))) for group in groups[:1]]
        for following in range(1, len(groups) + 1):
            done = self._finish(begun.pop())
            begun += [self._begin(torch.from_numpy(np.concatenate(levels[group]))) for group in groups[following:][:1]]
            yield done

    def _read_part(self, levels: Tensor) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        cells, doubt = self._finish(self._begin(levels))
        return cells.cpu().numpy(), doubt.cpu().numpy()

    @torch.inference_mode()
    def _begin(self, levels: Tensor) -> _Begun:
        """Has the network read levels (tokens, width): a GPU does so by and by."""
        padded = pad_rows(levels, self._step // self.strips_per_token).to(self.device)
        tokens = recall(padded, self._levels[-1].code.digits).to(self._dtype)
        choice, style = self._choose(tokens, len(levels) * self.strips_per_token)
        return _Begun(choice, style, padded[: len(levels)])

    @torch.inference_mode()
    def _finish(self, begun: _Begun) -> tuple[Tensor, Tensor]:
        """Cells (strips, 56) int32 and bits of Doubt, uint8, on the device."""
        choice = begun.choice
        if self._tab is not None or self._glyphs is not None:
            keys = as_one(packed(own_numbers(begun.levels, len(self._levels) - 1)))
            if self._tab is not None:
                tell_tabs(self._tab, choice, keys)
            if self._glyphs is not None:
                settle(self._glyphs, choice, keys)
        codes = torch.where(choice.found == UNREADABLE, CONTINUATION, choice.found).to(torch.int32)
        places = torch.arange(STYLE_BITS, device=self.device)
        styles = ((begun.style > 0) << places).sum(-1, dtype=torch.int32).masked_fill(choice.plain, 0)
        doubt = choice.doubt * int(Doubt.CHARACTER) + choice.style_doubt * int(Doubt.STYLE)
        return codes | styles << STYLE_SHIFT, doubt.to(torch.uint8)

    def _choose(self, tokens: Tensor, strips: int) -> tuple[Choice, Tensor]:
        """Tokens (n, digits * width) -> the likeliest characters of the first strips, logits of their styles."""
        if self._cuda is not None:
            low, high, style, found, spread = self._cuda.choose(tokens, strips)
        else:
            low, high, style = (logits[:strips] for logits in self._levels[-1].reader(tokens))
            found, spread = _likeliest(low)
            high_found, high_spread = _likeliest(high)
            found, spread = found + 256 * high_found, torch.maximum(spread, high_spread)
        style_doubt = (style.abs() < STYLE_SURE).any(-1)
        plain, told = torch.zeros_like(style_doubt), torch.zeros_like(style_doubt)
        return Choice(found, spread, low, high, style.amax(-1), spread > 1 / SURE, style_doubt, plain, told), style


def load_codec(name: str, *, device: str = "auto", directory: Path = DIRECTORY) -> NativeCodec:
    """Loads a native codec by name ("native-20") or fingerprint ("native-20@0123456789ab").

    Raises UnknownCodec for a name that is none or a fingerprint that the installed weights do not have.
    """
    rate_name, _, wanted = name.partition("@")
    rates = {f"native-{rate}": rate for rate in RATES}
    if rate_name not in rates:
        raise UnknownCodec(f"{name} is not a native codec; choose from {', '.join(rates)}")
    where = torch.device(choose_device(device))
    codec = NativeCodec(rates[rate_name], load_levels(rates[rate_name], where, directory), where, directory)
    if wanted and codec.fingerprint != name:
        raise UnknownCodec(
            f"caches of {name} cannot be read here, where the codec is {codec.fingerprint}; "
            "`percel doctor --repair` makes them anew from their documents"
        )
    return codec


def set_texts(texts: Sequence[str], styles: Sequence[NDArray[np.uint8]] | None = None) -> list[TextGrid]:
    """Grids of texts; `styles` are style bits a character. Raises ValueError for text that is not Unicode."""
    return [set_text(text, styles[place] if styles else None) for place, text in enumerate(texts)]


def _check_shape(cache: Cache, strips_per_token: int, width: int) -> None:
    """Raises CacheDamaged. Of strips that its own tokens do not have, the next cache's would be read."""
    strips = len(cache.levels) * strips_per_token
    if cache.levels.shape[1] != width or len(cache.counts) > strips or cache.counts.max(initial=0) > STRIP_CELLS:
        raise CacheDamaged("a cache has tokens or counts that its codec cannot have made: run `percel doctor --repair`")


def _likeliest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (..., classes) -> the best class, and one by its probability."""
    best, chosen = logits.max(-1)
    return chosen, (logits - best[..., None]).exp_().sum(-1, dtype=torch.float32)
