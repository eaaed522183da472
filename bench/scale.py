"""Search over 1k, 10k and 100k chunks: latency warm and cold, memory, disk.

    python -m bench.scale [--text FILE...] [--chunks 1000 10000 100000]

Encoding 100,000 chunks takes hours and changes nothing about a search, so chunks are published with the text of real
passages in the full-text index, and vectors that are embeddings of real passages, each moved by a little noise so that
none is twice there. Their caches are not made. Every size runs in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.report import OUT, new_plot, save_plot, show, write
from compressor.codec.corpus import load_texts, standard_library
from store import catalog
from store.database import transaction
from store.types import EncodedChunk, NewCache, NewChunk, NewVector, Parsed
from workers.resources import Resources
from workers.settings import Settings

PASSAGES = 7  # a chunk, as ingestion makes them
PASSAGE_CHARACTERS = 640
DOCUMENT_CHUNKS = 50
EMBEDDED = 2_000  # passages that are embedded for real
QUESTIONS = 200


def passages_of(paths: list[Path]) -> Iterator[str]:
    """Passages of real text, over and over."""
    while True:
        for _, text in load_texts(paths) if paths else standard_library():
            for start in range(0, len(text) - PASSAGE_CHARACTERS, PASSAGE_CHARACTERS):
                yield text[start : start + PASSAGE_CHARACTERS]


def fill(resources: Resources, chunks: int, texts: Iterator[str]) -> None:
    """Publishes chunks by the catalog's own functions."""
    rng = np.random.default_rng(0)
    known = [next(texts) for _ in range(EMBEDDED)]
    embedded = resources.embedder.embed(known)
    for number in range(chunks // DOCUMENT_CHUNKS):
        with transaction(resources.engine) as session:
            home = catalog.ensure_collection(session, resources.settings.tenant, "scale")
            key = f"{number:064x}"
            document = catalog.accept_document(
                session, home, title=f"{number}.txt", sha256=key, size=1, blob=f"{key[:2]}/{key[2:4]}/{key}"
            ).document
            found = Parsed("text/plain", None, 1, (), document.blob, tuple(map(_chunk, range(DOCUMENT_CHUNKS))))
            catalog.record_parsed(session, document.id, found)
            pending = catalog.pending_chunks(session, document_id=document.id)
            encoded = []
            for chunk in pending:
                vectors = _moved(embedded, rng)
                passages = tuple(
                    NewVector(resources.embedder.fingerprint, 640 * i, 640 * i + 640, vectors[i].tobytes(), next(texts))
                    for i in range(PASSAGES)
                )
                cache = NewCache("native-20@none", document.blob, f"{chunk.ordinal:06}", 47, 1.0, 0, 12_000)
                encoded.append(EncodedChunk(chunk.id, (cache,), passages))
            catalog.publish(session, encoded)


def _chunk(ordinal: int) -> NewChunk:
    passages = [[640 * i, 640 * i + 640] for i in range(PASSAGES)]
    return NewChunk(ordinal, "", 640 * PASSAGES, 1000, "0" * 64, [[0, 640 * PASSAGES, 1, 0, 0, 1, 1, 1, 90]], passages)


def _moved(embedded: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float16]:
    vectors = embedded[rng.integers(len(embedded), size=PASSAGES)]
    vectors = vectors + rng.normal(0, 0.02, vectors.shape).astype(np.float32)
    moved: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    return moved


def search_times(resources: Resources, texts: Iterator[str]) -> dict[str, float]:
    """Cold start, then warm latency of hybrid searches, in milliseconds."""
    from api.answer import find_chunks
    from store.database import reading

    questions = [" ".join(next(texts).split()[5:17]) for _ in range(QUESTIONS)]
    times = []
    for question in questions:
        start = time.perf_counter()
        with reading(resources.engine) as session:
            home = catalog.find_collection(session, resources.settings.tenant, "scale")
            assert find_chunks(resources, session, home.id, question, k=8)
        times.append(1000 * (time.perf_counter() - start))
    return {
        "first_ms": times[0],
        "median_ms": float(np.median(times[1:])),
        "p95_ms": float(np.quantile(times[1:], 0.95)),
    }


def measure(home: Path, chunks: int, paths: list[Path]) -> dict[str, object]:
    """Fills a home in this process; searches it in a fresh one."""
    with Resources(Settings(home=home)) as resources:
        start = time.perf_counter()
        fill(resources, chunks, passages_of(paths))
        filled = time.perf_counter()
        with transaction(resources.engine) as session:
            home_id = catalog.find_collection(session, resources.settings.tenant, "scale").id
        resources.index(home_id).compact(force=True)
        indexed = time.perf_counter()
    command = [sys.executable, "-m", "bench.scale", "--search", str(home), "--text", *map(str, paths)]
    begun = time.perf_counter()
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(found.stdout.splitlines()[-1])
    return {
        "chunks": chunks,
        "vectors": chunks * PASSAGES,
        **facts,
        "process_s": time.perf_counter() - begun,
        "publish_ms_per_chunk": 1000 * (filled - start) / chunks,
        "index_s": indexed - filled,
        "disk_MB": sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)  # the fresh process of `measure`
    arguments = parser.parse_args()
    if arguments.search:
        with Resources(Settings(home=arguments.search)) as resources:
            times = search_times(resources, passages_of(arguments.text))
        print(json.dumps({**times, "memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))
        return
    rows = []
    for chunks in arguments.chunks:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder) / "home", chunks, arguments.text))
            show("Search at scale", rows)
    print(write("scale", {"figures": rows}, arguments.out))
    figure = new_plot()
    axes = figure.subplots()
    for name in ("median_ms", "p95_ms", "first_ms"):
        axes.plot(arguments.chunks, [float(str(row[name])) for row in rows], marker="o", label=name)
    axes.set(xscale="log", xlabel="chunks", ylabel="milliseconds", title="hybrid search", ylim=(0, None))
    axes.legend()
    print(save_plot(figure, "scale", arguments.out))


if __name__ == "__main__":
    main()
