"""Owns blocks -> chunks: contiguous text of about one image, with places, headings and passages."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.sentences import split_sentences
from compressor.styles import Style, heading_style, runs_of, styles_of
from compressor.types import Block, BlockKind, Box, Chunk, Passage, Span

CountTokens = Callable[[list[str]], list[int]]

PASSAGE_TOKENS = 150
MAX_PASSAGE_TOKENS = 220  # the embedding model reads 256 word pieces
_FULL = 1.2  # of the target: a chunk never grows past it
_ENOUGH = 0.7  # of the target: from here on a chunk may end before a heading
_CHARACTERS_PER_TOKEN = 8  # at most; English has 4 to 5
_SPACE = re.compile(r"\s+")
_BATCH = 512  # texts counted at once
_PLAIN = np.zeros(1, np.uint8)  # of the line feed between two blocks
_LINE = re.compile(r"[^\n]*\n+|[^\n]+")


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, a line or a part of one: what is never divided between passages or chunks."""

    text: str  # with the white space that follows it
    tokens: int
    block: Block
    offset: int  # in the block's text
    styles: NDArray[np.uint8]  # (characters,) as the text

    @property
    def starts_block(self) -> bool:
        return self.offset == 0

    @property
    def size(self) -> int:
        return _size(self.text, self.tokens)


def chunk_blocks(blocks: Iterable[Block], *, count_tokens: CountTokens, target_tokens: int = 1000) -> Iterator[Chunk]:
    """Chunks of 0.7 to 1.2 times `target_tokens`, the last may be shorter; `count_tokens` counts many texts at once.

    Counts must add up: the sum over a text's pieces is the text's count, without special tokens. A chunk's text is its
    blocks joined with line feeds. The spans of all chunks, in order, hold every block's text; where a block is divided,
    the white space at the cut is left out.
    """
    filling = _Filling(target_tokens)
    ordinal = 0
    for units in _units_of(blocks, count_tokens):
        block_size = sum(unit.size for unit in units)
        for unit in units:
            if filling.should_close(unit, block_size=block_size):
                yield filling.chunk(ordinal)
                ordinal += 1
                filling.clear()
            filling.add(unit)
    if filling.units:
        yield filling.chunk(ordinal)


class _Filling:
    """The chunk that is being filled, and the headings above the place it has reached."""

    def __init__(self, target: int) -> None:
        self.units: list[_Unit] = []
        self._tokens = 0
        self._size = 0
        self._target = target
        self._headings: list[tuple[int, str]] = []
        self._above = ""
        self._opening = True  # nothing but headings so far; they belong to the path

    def should_close(self, unit: _Unit, *, block_size: int) -> bool:
        """Whether the chunk ends before `unit`, which belongs to a block of `block_size`."""
        if not self.units:
            return False
        after = self._size + unit.size
        if after > self._target * _FULL:
            return True
        if not unit.starts_block:
            return self._size >= self._target
        if self.units[-1].block.kind is BlockKind.HEADING:
            return False  # a heading stays with what it heads
        if unit.block.kind is BlockKind.HEADING:
            return self._size >= self._target * _ENOUGH
        whole = self._size + block_size
        if self._size >= self._target * _ENOUGH and whole > self._target:
            return whole - self._target > self._target - self._size or whole > self._target * _FULL
        return self._size >= self._target

    def add(self, unit: _Unit) -> None:
        if unit.starts_block and unit.block.kind is BlockKind.HEADING:
            level = unit.block.level or 1
            self._headings = [h for h in self._headings if h[0] < level] + [(level, _title(unit.block.text))]
        if self._opening:
            self._above = " > ".join(title for _, title in self._headings)
            self._opening = unit.block.kind is BlockKind.HEADING
        self.units.append(unit)
        self._tokens += unit.tokens
        self._size += unit.size

    def clear(self) -> None:
        self.units = []
        self._tokens = 0
        self._size = 0
        self._opening = True

    def chunk(self, ordinal: int) -> Chunk:
        parts: list[str] = []
        styles: list[NDArray[np.uint8]] = []
        spans: list[Span] = []
        ranges: list[tuple[int, int]] = []  # of every unit in the chunk's text
        length = start = 0
        first = self.units[0]
        for i, unit in enumerate(self.units):
            if i and unit.starts_block:
                parts.append("\n")
                styles.append(_PLAIN)
                length += 1
            if i == 0 or unit.starts_block:
                start, first = length, unit
            ends_span = i + 1 == len(self.units) or self.units[i + 1].starts_block
            text = unit.text.rstrip() if i + 1 == len(self.units) else unit.text
            parts.append(text)
            styles.append(unit.styles[: len(text)])
            ranges.append((length, length + len(text)))
            length += len(text)
            if ends_span:
                spans.append(_span(start, length, first.block, first.offset))
        passages = tuple(_passages(self.units, ranges))
        runs = tuple(runs_of(np.concatenate(styles)))
        return Chunk(ordinal, "".join(parts), self._above, self._tokens, tuple(spans), passages, runs)


def _span(start: int, end: int, block: Block, offset: int) -> Span:
    """Where `end - start` characters of a block stand; a divided block's box and lines are divided too."""
    size = end - start
    if size >= len(block.text.rstrip()):
        return Span(start, end, block.page, block.box, block.lines)
    a, b = offset / len(block.text), (offset + size) / len(block.text)
    lines = block.lines
    if lines is not None and block.text.count("\n") == lines[1] - lines[0]:
        first = block.text.count("\n", 0, offset)
        last = block.text.count("\n", 0, offset + size)
        count = lines[1] - lines[0] + 1
        a, b = first / count, (last + 1) / count
        lines = (lines[0] + first, lines[0] + last)
    height = block.box.y1 - block.box.y0
    box = Box(block.box.x0, block.box.y0 + a * height, block.box.x1, block.box.y0 + b * height)
    return Span(start, end, block.page, box, lines)


def _passages(units: Sequence[_Unit], ranges: Sequence[tuple[int, int]]) -> Iterator[Passage]:
    """As near to PASSAGE_TOKENS as whole units allow; a heading stays with what follows it."""
    start, size = 0, 0
    for i, unit in enumerate(units):
        after = size + unit.size
        nearer = abs(size - PASSAGE_TOKENS) < abs(after - PASSAGE_TOKENS)
        after_heading = i > start and units[i - 1].block.kind is BlockKind.HEADING
        before_heading = unit.starts_block and unit.block.kind is BlockKind.HEADING and size >= 0.6 * PASSAGE_TOKENS
        if i > start and (after > MAX_PASSAGE_TOKENS or (not after_heading and (nearer or before_heading))):
            yield Passage(ranges[start][0], ranges[i - 1][1])
            start, size = i, 0
        size += unit.size
    yield Passage(ranges[start][0], ranges[-1][1])


def _units_of(blocks: Iterable[Block], count_tokens: CountTokens) -> Iterator[list[_Unit]]:
    """Every block's units; texts are counted in batches over many blocks, because that is fast."""
    batch: list[tuple[Block, list[str]]] = []
    waiting = 0
    for block in blocks:
        pieces = _pieces(block)
        if not pieces:
            continue
        batch.append((block, pieces))
        waiting += len(pieces)
        if waiting >= _BATCH:
            yield from _counted(batch, count_tokens)
            batch, waiting = [], 0
    yield from _counted(batch, count_tokens)


def _counted(batch: Sequence[tuple[Block, list[str]]], count_tokens: CountTokens) -> Iterator[list[_Unit]]:
    texts = [piece for _, pieces in batch for piece in pieces]
    counts = iter(count_tokens(texts) if texts else [])
    for block, pieces in batch:
        units: list[_Unit] = []
        styles = _styles(block)
        offset = 0
        for piece in pieces:
            for text, tokens in _fitting(piece, next(counts), count_tokens):
                units.append(_Unit(text, tokens, block, offset, styles[offset : offset + len(text)]))
                offset += len(text)
        yield units


def _styles(block: Block) -> NDArray[np.uint8]:
    """How a block's characters look, (characters,): what the file says of them, and what the block's kind does.

    Nothing stands out in code; a heading is bold as it is.
    """
    if block.kind is BlockKind.CODE:
        return np.full(len(block.text), Style.CODE, np.uint8)
    styles = styles_of(block.styles, len(block.text))
    if block.kind is BlockKind.HEADING:
        return styles & ~np.uint8(Style.BOLD) | np.uint8(heading_style(block.level))
    return styles


def _pieces(block: Block) -> list[str]:
    """Sentences of prose, lines of tables and code; [] for a block without text."""
    if not block.text.strip():
        return []
    if block.kind in (BlockKind.TABLE, BlockKind.CODE):
        return _LINE.findall(block.text)
    if block.kind is BlockKind.HEADING:
        return [block.text]
    return [block.text[start:end] for start, end in split_sentences(block.text)]


def _fitting(text: str, tokens: int, count_tokens: CountTokens) -> list[tuple[str, int]]:
    """The text in parts of at most MAX_PASSAGE_TOKENS, divided between words where there are any."""
    size = _size(text, tokens)
    if size <= MAX_PASSAGE_TOKENS or len(text) < 2:
        return [(text, tokens)]
    parts = _divided(text, -(-size // PASSAGE_TOKENS))
    fitting: list[tuple[str, int]] = []
    for part, count in zip(parts, count_tokens(parts), strict=True):
        fitting.extend(_fitting(part, count, count_tokens))
    return fitting


def _divided(text: str, count: int) -> list[str]:
    """At least two parts of similar length; each cut moves back to the nearest white space in its half."""
    step = max(len(text) // max(count, 2), 1)
    parts: list[str] = []
    start = 0
    while len(text) - start > 1.5 * step:
        cut = start + step
        space = max(text.rfind(" ", start + step // 2, cut), text.rfind("\n", start + step // 2, cut))
        cut = space + 1 if space > start else cut
        parts.append(text[start:cut])
        start = cut
    parts.append(text[start:])
    return parts


def _size(text: str, tokens: int) -> int:
    """What a text takes up, in tokens of common text.

    A word-piece tokenizer counts a run of a thousand letters as one unknown word, and white space not at all; an image
    has to hold them all the same.
    """
    return max(tokens, len(text) // _CHARACTERS_PER_TOKEN)


def _title(text: str) -> str:
    """A heading as part of a path: one line, not endless."""
    return _SPACE.sub(" ", text).strip()[:120]
