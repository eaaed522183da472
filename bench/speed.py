"""Characters a second that processes encode and verify, and read, side by side on one device.

    python -m bench.speed --text train-text.jsonl.xz [--codec native-20]... [--processes 3] [--seconds 10]

A GPU waits for what Python does between its batches, so workers share one; a CPU is filled by one process.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import torch

from bench.codec import held_out_texts
from bench.report import OUT, count, show, write
from compressor.codec.measure import chunks_of
from compressor.codec.native import load_codec
from compressor.device import choose_device

PATIENCE = 300.0  # seconds that processes wait for one that does not begin
CHUNKS = {"cpu": 32, "cuda": 1000}  # that are handed over at once


def work(
    codec: str, device: str, chunks: list[str], seconds: float, together: Barrier, results: "SimpleQueue[list[float]]"
) -> None:
    """One process: its characters a second at both, each begun by all processes together."""
    loaded = load_codec(codec, device=device)
    caches = loaded.encode(chunks)  # the first pass of a network pays for its set-up
    found = []
    for step in (lambda: loaded.encode(chunks), lambda: loaded.read(caches)):
        together.wait()
        found.append(_rate(step, sum(map(len, chunks)), seconds))
    results.put(found)


def _rate(step: Callable[[], object], characters: int, seconds: float) -> float:
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        done += characters
    return done / (time.perf_counter() - start)


def measure(codec: str, device: str, chunks: list[str], seconds: float, processes: int) -> dict[str, object]:
    """A codec's speeds, of all processes together."""
    context = multiprocessing.get_context("spawn")  # a CUDA context does not survive a fork
    together, results = context.Barrier(processes, timeout=PATIENCE), context.SimpleQueue()
    arguments = (codec, device, chunks, seconds, together, results)
    running = [context.Process(target=work, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise SystemExit("a process failed")
    found = [results.get() for _ in running]
    return {
        "codec": codec,
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "processes": processes,
        "encode and verify, chars/s": round(sum(encoded for encoded, _ in found)),
        "read, chars/s": round(sum(read for _, read in found)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--kind", default="prose")
    parser.add_argument("--codec", action="append", help="repeat for more; default: native-20")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--processes", type=count, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if not arguments.seconds > 0:
        parser.error("--seconds must be more than 0")
    device = choose_device(arguments.device)
    texts = held_out_texts(arguments.text, 5_000_000)
    if arguments.kind not in texts:
        parser.error(f"the text has no kind {arguments.kind!r}; it has {', '.join(sorted(texts))}")
    chunks = [chunk for text in texts[arguments.kind] for chunk in chunks_of(text)][: CHUNKS[device.partition(":")[0]]]
    if not chunks:
        parser.error(f"the held-out documents of the kind {arguments.kind!r} are empty")
    rows = [
        measure(codec, device, chunks, arguments.seconds, arguments.processes)
        for codec in arguments.codec or ["native-20"]
    ]
    show("Speed of the codec", rows)
    print(write("speed", {"chunks": len(chunks), "rows": rows}, arguments.out))


if __name__ == "__main__":
    main()
