"""Search over 1k, 10k and 100k chunks: latency warm and cold, memory, disk.

    python -m bench.scale [--text FILE...] [--chunks 1000 10000 100000] [--questions 200]

`find` ranks chunks by meaning and words; `embed` (the query's vector), `words` (full text) and `vectors` (the nearest,
with their rows) are parts of it. `search` also ranks again by the texts of the best passages and returns them; `half`
and `hundredth` are searches with a filter that leaves as many documents; `ask` answers, out of caches. Homes are filled
as `bench.filled` says; every size is searched in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.filled import COLLECTION, PASSAGES, fill, passages_of, questions_of
from bench.report import OUT, new_plot, save_plot, show, write
from store import catalog
from store.database import reading
from workers.resources import Resources
from workers.settings import Settings


def search_times(resources: Resources, texts: Iterator[str], count: int) -> dict[str, float]:
    """Cold start, then each step on questions that were not asked before: warm latency, CPU of all cores, in ms."""
    from api.answer import ask
    from api.find import POOL, find_chunks, find_words
    from api.search import search

    tenant = resources.settings.tenant
    with reading(resources.engine) as session:
        home = catalog.find_collection(session, tenant, COLLECTION).id
        documents = catalog.count_ready(session, home)

    def find(question: str) -> object:
        return find_chunks(resources, home, question, k=8)

    def words(question: str) -> object:
        with reading(resources.engine) as session:
            return find_words(resources, session, home, [question], 2 * POOL)

    def filtered(question: str, share: float) -> object:
        where = {"number": {"lt": max(1, share * documents)}}
        return search(resources, tenant, question, collection=COLLECTION, where=where)

    @cache
    def vector() -> NDArray[np.float32]:
        embedded: NDArray[np.float32] = resources.embedder.embed_queries(["warm"])[0]
        return embedded

    steps: dict[str, Callable[[str], object]] = {
        "find": find,
        "embed": lambda question: resources.embedder.embed_queries([question]).any(),
        "words": words,
        "vectors": lambda question: resources.index(home).search(vector(), POOL),
        "search": lambda question: search(resources, tenant, question, collection=COLLECTION),
        "half": lambda question: filtered(question, 0.5),
        "hundredth": lambda question: filtered(question, 0.01),
        "ask": lambda question: ask(resources, tenant, question, collection=COLLECTION),
    }
    questions = questions_of(texts)
    figures: dict[str, float] = {}
    for name, step in steps.items():
        times, cores = [], []
        for question in islice(questions, count):
            start, busy = time.perf_counter(), time.process_time()
            assert step(question)
            times.append(1000 * (time.perf_counter() - start))
            cores.append(1000 * (time.process_time() - busy))
        figures |= {} if figures else {"first_ms": times[0]}
        figures[f"{name}_ms"] = float(np.median(times[1:]))
        figures[f"{name}_p95_ms"] = float(np.quantile(times[1:], 0.95))
        figures[f"{name}_cpu_ms"] = float(np.median(cores[1:]))
    return figures


def measure(home: Path, chunks: int, paths: list[Path], questions: int) -> dict[str, object]:
    """Fills a home in this process; searches it in a fresh one."""
    with Resources(Settings(home=home)) as resources:
        start = time.perf_counter()
        fill(resources, chunks, passages_of(paths))
        filled = time.perf_counter()
    command = [sys.executable, "-m", "bench.scale", "--search", str(home), "--text", *map(str, paths)]
    command += ["--questions", str(questions)]
    begun = time.perf_counter()
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    facts = json.loads(found.stdout.splitlines()[-1])
    return {
        "chunks": chunks,
        "vectors": chunks * PASSAGES,
        **facts,
        "process_s": time.perf_counter() - begun,
        "publish_ms_per_chunk": 1000 * (filled - start) / chunks,
        "disk_MB": sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) / 1e6,
    }


def show_size(row: dict[str, object]) -> None:
    """Two tables: a step of a search a line, and what is left."""
    names = [key.removesuffix("_p95_ms") for key in row if key.endswith("_p95_ms")]
    steps = [{"step": name, **{key: row[f"{name}_{key}"] for key in ("ms", "p95_ms", "cpu_ms")}} for name in names]
    rest = {key: value for key, value in row.items() if not key.startswith(tuple(f"{name}_" for name in names))}
    show(f"Search over {row['chunks']:,} chunks", steps)
    show("All of it", [rest])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--chunks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--questions", type=int, default=200, help="of each step")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)  # the fresh process of `measure`
    arguments = parser.parse_args()
    if arguments.search:
        with Resources(Settings(home=arguments.search)) as resources:
            times = search_times(resources, passages_of(arguments.text), arguments.questions)
        print(json.dumps({**times, "memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}))
        return
    rows = []
    for chunks in arguments.chunks:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder) / "home", chunks, arguments.text, arguments.questions))
            show_size(rows[-1])
    print(write("scale", {"figures": rows}, arguments.out))
    figure = new_plot()
    axes = figure.subplots()
    for name in ("find_ms", "search_ms", "ask_ms", "first_ms"):
        axes.plot(arguments.chunks, [float(str(row[name])) for row in rows], marker="o", label=name)
    axes.set(xscale="log", xlabel="chunks", ylabel="milliseconds", title="questions at scale", ylim=(0, None))
    axes.legend()
    print(save_plot(figure, "scale", arguments.out))


if __name__ == "__main__":
    main()
