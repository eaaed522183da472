"""Owns the making of a rate's code book: what the tokens of much text have in common, learnt once its weights are."""

from pathlib import Path

import numpy as np

from compressor.codebook import book_name, book_path, make_book
from compressor.codec.corpus import Corpus, Sampler
from compressor.codec.model import CODES
from compressor.codec.native import NativeCodec
from compressor.codec.train import DOCUMENTS
from compressor.codec.typography import STRIP_CELLS, TextGrid
from compressor.codec.weights import RATES

CHUNKS = 1000
CHUNK_STRIPS = 80  # as long as ingestion makes them; whole tokens at every rate
BATCH_CHUNKS = 20


def write_book(codec: NativeCodec, corpus: Corpus, directory: Path, *, seed: int, chunks: int = CHUNKS) -> Path:
    """Encodes chunks of the training text and writes their code book beside the weights.

    Another one that is there stays under its name: caches that need it are still read.
    """
    sampler = Sampler(corpus, DOCUMENTS, strips=CHUNK_STRIPS, strings=0.0, seed=seed)
    samples = []
    for _ in range(-(-chunks // BATCH_CHUNKS)):
        grids = [
            TextGrid(
                codes=row.reshape(-1, STRIP_CELLS),
                counts=np.full(CHUNK_STRIPS, STRIP_CELLS, np.uint8),
                styles=np.zeros((CHUNK_STRIPS, STRIP_CELLS), np.uint8),
            )
            for row in sampler.batch(BATCH_CHUNKS)
        ]
        samples += codec.draw_and_encode(grids)[-1]
    code = CODES[RATES.index(codec.rate)]
    cell = code.own // code.digits  # stored numbers
    data = make_book(codec.name, samples, own=codec.strips_per_token * STRIP_CELLS * cell, cell=cell)
    path = book_path(codec.name, directory)
    if path.exists() and path.read_bytes() != data:
        path.rename(book_path(book_name(codec.name, path.read_bytes()), directory))
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    return partial.replace(path)
