"""Stored caches to one array in a decoder's context: a million vision tokens from disk, dequantised and checked.

    python -m bench.load [--tokens 1000000] [--documents 200] [--codec native-20] [--text FILE]...

The tokens are those of real chunks (of --text, or of Python's standard library), the same few over and over: unpacking
them is part of loading. Files are written, synced and, where the system allows, dropped from its memory before the
first load.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from bench.filled import PASSAGES, passages_of
from bench.report import OUT, new_plot, save_plot, show, write
from compressor.cache import Cache
from compressor.cachefile import write_caches
from compressor.codec.native import load_codec
from compressor.context import Wanted, load_context

CHUNKS = 200  # that are encoded; their caches are written again and again


def real_caches(codec: str, paths: list[Path]) -> Iterator[Cache]:
    """Caches of chunks of real text, without end."""
    texts = passages_of(paths)
    bodies = ["".join(islice(texts, PASSAGES)) for _ in range(CHUNKS)]
    return cycle(load_codec(codec).encode(bodies))


def write_files(folder: Path, tokens: int, documents: int, ready: Iterator[Cache]) -> list[Wanted]:
    """Cache files with so many tokens in all."""
    wanted = []
    for number in range(documents):
        left = tokens // documents + (number < tokens % documents)
        caches: dict[str, Cache] = {}
        while left:
            cache = next(ready)
            levels = cache.levels[:left]
            caches[f"{len(caches):06}"] = replace(cache, levels=levels)
            left -= len(levels)
        path = folder / f"{number:04}"
        with path.open("wb") as file:
            file.write(write_caches(caches))
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        wanted.append(Wanted(path, tuple(caches)))
    return wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--codec", default="native-20")
    parser.add_argument("--text", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ready = real_caches(arguments.codec, arguments.text)
        wanted = write_files(Path(folder), arguments.tokens, arguments.documents, ready)
        stored = sum(path.stat().st_size for path in Path(folder).iterdir())
        for name in ("first", "again", "again"):
            start = time.perf_counter()
            context = load_context(wanted)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "load": name,
                    "tokens": len(context),
                    "stored_MB": stored / 1e6,
                    "array_MB": context.nbytes / 1e6,
                    "seconds": seconds,
                    "stored_GB_per_s": stored / seconds / 1e9,
                }
            )
            del context
    show("Caches to one float16 array, checksums verified", rows)
    print(write("load", {"figures": rows}, arguments.out))
    figure = new_plot(6, 4)
    axes = figure.subplots()
    axes.bar(range(len(rows)), [row["seconds"] for row in rows], tick_label=[row["load"] for row in rows])
    axes.set(ylabel="seconds", title=f"{arguments.tokens:,} vision tokens into one array")
    print(save_plot(figure, "load", arguments.out))


if __name__ == "__main__":
    main()
