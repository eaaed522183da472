"""Owns a rate's dictionary: what the tokens of much text have in common, learnt once its weights are."""

from pathlib import Path

import numpy as np

from compressor.codec.corpus import Corpus, Sampler
from compressor.codec.native import NativeCodec
from compressor.codec.train import DOCUMENTS
from compressor.codec.typography import STRIP_CELLS, TextGrid
from compressor.coding import dictionary_number, dictionary_path, train_dictionary
from compressor.formats import INT4, pack

CHUNKS = 1000
CHUNK_STRIPS = 80  # as long as ingestion makes them; whole tokens at every rate
BATCH_CHUNKS = 20


def write_dictionary(codec: NativeCodec, corpus: Corpus, directory: Path, *, seed: int, chunks: int = CHUNKS) -> Path:
    """Encodes chunks of the training text and writes their dictionary beside the weights.

    Another one that is there stays under its number: caches that need it are still read.
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
        samples += [pack(levels, INT4) for levels in codec.draw_and_encode(grids)[-1]]
    path = dictionary_path(codec.name, directory)
    data = train_dictionary(samples)
    if path.exists() and path.read_bytes() != data:
        path.rename(path.with_stem(f"{path.stem}-{dictionary_number(path.read_bytes())}"))
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    return partial.replace(path)
