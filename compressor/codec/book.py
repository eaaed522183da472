"""Owns the making of a rate's code book: what the tokens of much text have in common, learnt once its weights are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.cache import Cache
from compressor.codebook import ESCAPE, CodeBook, book_name, book_path, make_book, streams_of, symbol_book
from compressor.codec.corpus import Corpus, Sampler
from compressor.codec.learn_habits import ReadChunk, learn_habits
from compressor.codec.model import CODES
from compressor.codec.native import NativeCodec, set_texts
from compressor.codec.residual import Coded, read_residual
from compressor.codec.train import DOCUMENTS
from compressor.codec.typography import BLANK, CONTINUATION, STRIP_CELLS, SURROGATES, TextGrid, read_grid
from compressor.codec.vocabulary import learn_pieces
from compressor.codec.weights import RATES
from compressor.formats import FORMATS
from compressor.habits import Habits
from compressor.pieces import Pieces

CHUNKS = 1000
CHUNK_STRIPS = 80  # as long as ingestion makes them; whole tokens at every rate
BATCH_CHUNKS = 20
TERSE = RATES[-1:]  # rates whose books have pieces and habits: their bytes count more than the time that these take
READ_CHUNKS = 400  # that habits are learnt of
TEXT_CELLS = 60_000_000  # that pieces are learnt of


def write_book(codec: NativeCodec, corpus: Corpus, directory: Path, *, seed: int, chunks: int = CHUNKS) -> Path:
    """Encodes chunks of the training text and writes their code book beside the weights.

    Another one that is there stays under its name: caches that need it are still read.
    """
    sampler = Sampler(corpus, DOCUMENTS, strips=CHUNK_STRIPS, strings=0.0, seed=seed)
    terse = codec.rate in TERSE
    samples: list[NDArray[np.uint8]] = []
    read: list[tuple[TextGrid, Cache]] = []
    for _ in range(-(-chunks // BATCH_CHUNKS)):
        grids = [_grid(row) for row in sampler.batch(BATCH_CHUNKS)]
        levels = codec.draw_and_encode(grids)[-1]
        samples += levels
        if terse and len(read) < READ_CHUNKS:
            read += zip(grids, codec.verify(list(map(read_grid, grids)), grids, levels), strict=True)
    code = CODES[RATES.index(codec.rate)]
    cell = code.own // code.digits  # stored numbers
    book = symbol_book(samples, own=codec.strips_per_token * STRIP_CELLS * cell, cell=cell)
    data = make_book(
        codec.name,
        samples,
        own=book.own,
        cell=cell,
        pieces=_pieces(codec, book, corpus, seed) if terse else None,
        habits=_habits(codec, book, read) if terse else None,
    )
    path = book_path(codec.name, directory)
    if path.exists() and path.read_bytes() != data:
        path.rename(book_path(book_name(codec.name, path.read_bytes()), directory))
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    return partial.replace(path)


def _grid(row: NDArray[np.int32]) -> TextGrid:
    """A chunk's cells as they are set, plain."""
    codes = row.reshape(-1, STRIP_CELLS)
    characters = (codes != CONTINUATION).sum(1)
    return TextGrid(codes, counts=characters.astype(np.uint8), styles=np.zeros(codes.shape, np.uint8))


def _pieces(codec: NativeCodec, book: CodeBook, corpus: Corpus, seed: int) -> Pieces:
    """Those of the training text as the codec writes it."""
    symbols = _symbols_by_code(codec, book, corpus)
    rng = np.random.default_rng(seed)
    size = CHUNK_STRIPS * STRIP_CELLS
    rows: list[NDArray[np.int32]] = []
    for kind, cells in corpus.train.items():
        whole = cells[: len(cells) // size * size].reshape(-1, size)
        wanted = int(TEXT_CELLS * DOCUMENTS.get(kind, 0)) // size
        rows += list(whole[rng.permutation(len(whole))[:wanted]])
    chunks = []
    for place in rng.permutation(len(rows)):
        row = rows[place].copy()
        if rng.random() < 0.5:  # a chunk's last token ends in blank cells
            row[size - rng.integers(codec.strips_per_token * STRIP_CELLS) :] = BLANK
        continued = row == CONTINUATION
        chunks.append(symbols[continued.astype(np.int64), np.where(continued, np.roll(row, 1), row)])
    # Cells that training text does not have are written out, or have a symbol all the same.
    all_named = len(book.cells) == FORMATS[book.format].levels ** book.cells.shape[1]
    return learn_pieces(chunks, range(len(book.cells) if all_named else ESCAPE + 1))


def _symbols_by_code(codec: NativeCodec, book: CodeBook, corpus: Corpus) -> NDArray[np.uint8]:
    """The symbol of each character that the training text has, and of its second cell if it is wide: (2, codes).

    A cell's own numbers are those of its glyph, whatever stands around it: so much text need not be encoded.
    """
    codes = np.unique(np.concatenate([np.unique(cells) for cells in corpus.train.values()]))
    codes = codes[(codes != CONTINUATION) & ((codes < SURROGATES.start) | (codes >= SURROGATES.stop))]
    (grid,) = set_texts(["".join(map(chr, codes.tolist()))])
    (levels,) = codec.draw_and_encode([grid])[-1]
    set_codes = grid.codes.ravel()
    written = streams_of(levels, book).symbols[: len(set_codes)]
    symbols = np.zeros((2, CONTINUATION + 1), np.uint8)
    second = np.flatnonzero(set_codes == CONTINUATION)
    symbols[1, set_codes[second - 1]] = written[second]
    narrow = set_codes != CONTINUATION
    symbols[0, set_codes[narrow]] = written[narrow]
    return symbols


def _habits(codec: NativeCodec, book: CodeBook, read: Sequence[tuple[TextGrid, Cache]]) -> Habits | None:
    """What was misread of chunks, or might be."""
    chunks = []
    for grid, cache in read:
        told = np.zeros(grid.codes.size, np.bool_)
        if cache.residual:
            coded = Coded(cache.levels, codec.name)
            told[read_residual(cache.residual, chunk_cells=told.size, coded=coded).places] = True
        chunks.append(ReadChunk(book.cell_numbers(cache.levels), grid.codes.ravel(), told))
    return learn_habits(chunks, FORMATS[book.format].levels ** book.cells.shape[1])
