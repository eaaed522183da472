"""Ingest of born-digital PDF, everything included: chunks per second, where the time goes, memory over the run.

    python -m bench.ingest [--text FILE...] [--documents 40] [--pages 8] [--codec native-20]

Makes two-column PDFs of real text (the standard library's prose where no text is given), ingests them into an empty
home with the direct runner, and watches the memory of this process and its parser.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import OUT, count, new_plot, save_plot, show, write
from compressor.codec.corpus import load_texts, standard_library
from workers.events import Event, Stage
from workers.ingest import Offer, accept
from workers.resources import Resources
from workers.runner import run_due_jobs
from workers.settings import load_settings

PAGE_CHARACTERS = 3_300  # what a two-column page of 9.5 point text holds


def make_pdfs(folder: Path, texts: Iterator[str], documents: int, pages: int) -> list[Path]:
    """Writes PDFs with a text layer, a heading a page and two columns of text."""
    import pymupdf

    stream = ""
    paths = []
    for number in range(documents):
        pdf = pymupdf.open()
        for page_number in range(pages):
            while len(stream) < PAGE_CHARACTERS:
                text = next(texts, None)
                if text is None:
                    sys.exit(f"the text ends at page {page_number + 1} of document {number + 1} of {documents}")
                stream += " ".join(text.split()) + " "
            part, stream = stream[:PAGE_CHARACTERS], stream[PAGE_CHARACTERS:]
            page = pdf.new_page(width=595, height=842)
            page.insert_text((50, 60), f"{number}.{page_number + 1} {part[:40]}", fontsize=15, fontname="hebo")
            cut = part.rfind(" ", 0, PAGE_CHARACTERS // 2)
            for column, text in enumerate((part[:cut], part[cut:])):
                left = 50 + 255 * column
                page.insert_textbox((left, 80, left + 240, 800), text, fontsize=9.5, fontname="helv")
        path = folder / f"report-{number:04}.pdf"
        pdf.save(path, deflate=True)
        paths.append(path)
    return paths


class MemoryWatch(threading.Thread):
    """Samples the resident memory of this process and its children, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.samples: list[tuple[float, float]] = []
        self._stop_asked = threading.Event()
        self._start = time.perf_counter()

    def run(self) -> None:
        while not self._stop_asked.wait(0.25):
            pids = [os.getpid(), *_children(os.getpid())]
            self.samples.append((time.perf_counter() - self._start, sum(map(_resident, pids)) / 1e6))

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return [int(line) for line in found.stdout.split()]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="*", default=[])
    parser.add_argument("--documents", type=count, default=40)
    parser.add_argument("--pages", type=count, default=8)
    parser.add_argument("--codec", default="auto")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    source = load_texts(arguments.text) if arguments.text else standard_library()
    texts = (text for kind, text in source if kind != "spanish")
    with tempfile.TemporaryDirectory() as folder:
        pdfs = make_pdfs(Path(folder), texts, arguments.documents, arguments.pages)
        os.environ["PERCEL_HOME"] = str(Path(folder) / "home")
        with Resources(load_settings({"codec": arguments.codec})) as resources:
            facts = ingest(resources, pdfs)
    pages = arguments.documents * arguments.pages
    facts["pages"] = pages
    facts["pages_per_s"] = pages / float(str(facts["seconds"]))
    show("Ingest of born-digital PDF", [{k: v for k, v in facts.items() if k not in ("steps", "memory")}])
    steps = facts["steps"]
    assert isinstance(steps, dict)
    show("Where the time goes (parsing runs beside the rest)", [{"step": k, "seconds": v} for k, v in steps.items()])
    print(write("ingest", facts, arguments.out))
    print(draw(facts, arguments.out))


def ingest(resources: Resources, pdfs: list[Path]) -> dict[str, object]:
    """Ingests the files; -> figures."""
    done = 0
    failed: list[str] = []

    def listen(event: Event) -> None:
        nonlocal done
        done += event.done if event.stage is Stage.ENCODE else 0
        if event.error:
            failed.append(f"{event.title}: {event.error}")

    # Loading the models is the price of a cold start, not of a document.
    resources.codecs[-1].encode(["warm"])
    resources.embedder.embed(["warm"])
    watch = MemoryWatch()
    watch.start()
    start = time.perf_counter()
    for path in pdfs:
        accept(resources, resources.settings.tenant, "bench", Offer(path, path.name, external_id=path.name))
    run_due_jobs(resources, listen)
    seconds = time.perf_counter() - start
    watch.stop()
    if failed:
        sys.exit("\n".join(failed))
    memory = [value for _, value in watch.samples] or [0.0]
    return {
        "documents": len(pdfs),
        "chunks": done,
        "seconds": seconds,
        "chunks_per_s": done / seconds,
        "peak_MB": max(memory),
        "MB_at_a_quarter": memory[len(memory) // 4],
        "MB_at_the_end": memory[-1],
        "steps": resources.timings.seconds,
        "memory": watch.samples,
    }


def draw(facts: dict[str, object], out: Path) -> Path:
    """Seconds by step, and memory over the run."""
    figure = new_plot(11)
    left, right = figure.subplots(1, 2)
    steps, memory = facts["steps"], facts["memory"]
    assert isinstance(steps, dict)
    assert isinstance(memory, list)
    left.barh(list(steps), list(steps.values()))
    left.set(xlabel="seconds", title=f"{facts['chunks']} chunks at {facts['chunks_per_s']:.1f} a second")
    right.plot(*zip(*memory, strict=True))
    right.set(xlabel="seconds", ylabel="MB resident", title="memory, parser included", ylim=(0, None))
    return save_plot(figure, "ingest", out)


if __name__ == "__main__":
    main()
