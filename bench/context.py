"""Time to the first token and peak memory, as contexts grow: raw text, page caches, keys and values of pages.

    python -m bench.context [--model qwen3-vl-8b]... [--tokens 8192 32768 131072 524288] [--device cuda] [--layers N]

Models have their real shapes and random weights; on a CPU a small one is measured unless `--model` names another, of
which `--layers` can take a part, and seconds are those of processor time, with those by the clock beside. A page's
cache is read from disk, checked and dequantised within the time that is told, as are keys and values. Text stands for
the same pages at ten tokens a vision token. Eight different pages, and their files, come in turn. What does not fit by
the plan of memory is left out, as is what would take longer than `--patience` seconds by what came before. Positions go
beyond what a model was trained for where `--tokens` does: that changes no cost.
"""

import argparse
import ctypes
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.report import OUT, new_plot, save_plot, show, write
from bench.shapes import CODEC, IMAGE, SHAPES, BenchShape, build_model, page_decoder, page_encoder, with_layers
from compressor.device import choose_device, free_memory, has_native_bf16
from compressor.vlm.blockfile import BlockFile, write_blocks
from compressor.vlm.blocks import Block, assemble, read_block
from compressor.vlm.decode import Context, PageDecoder
from compressor.vlm.memory import Shape, plan_memory
from compressor.vlm.page import PageCache, PageTokens, store_page
from compressor.vlm.pagefile import PageFile, write_pages
from compressor.vlm.shape import model_shape

PAGES = 8  # different ones
TEXT_PER_VISION = 10
QUESTION = list(range(20, 60))  # tokens
START = [1, 5]
ENCODED = 16  # pages
WARM = 5  # loads of the files, the fastest counts
GOALS = {"caches": 10.0, "page KV": 40.0}  # times as fast as text at 32k vision tokens on a GPU


@dataclass(frozen=True, slots=True)
class Row:
    """One context read."""

    model: str
    vision_tokens: int
    way: str  # "text", "caches", "page KV"
    positions: int
    load_s: float  # from disk, checked
    first_token_s: float  # loading included
    clock_s: float  # the same by the clock, where others may use the processor as well
    peak_GB: float  # noqa: N815, a unit
    planned_GB: float  # noqa: N815
    against_plan: float


class Peak:
    """The most memory in use since it was made, in bytes: of the GPU, or of this process beyond what it held then.

    A process holds libraries and what they keep beside the model, so its weights are counted instead of measured.
    """

    def __init__(self, device: str, weights: int) -> None:
        self._device = device
        gc.collect()
        if device == "cpu":
            ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back, or its use again would not be seen
            Path("/proc/self/clear_refs").write_text("5")  # the kernel's mark of the most begins anew
            self._base = resident() - weights
        else:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> int:
        """Bytes."""
        if self._device == "cpu":
            return resident("VmHWM") - self._base
        return torch.cuda.max_memory_allocated(self._device)


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(found[field].split()[0]) * 1024


class Bench:
    """One model, its pages on disk, and the ways to read them."""

    def __init__(self, shape: BenchShape, folder: Path, *, most: int, device: str, patience: float) -> None:
        self.shape = shape
        self.device = device
        self.patience = patience
        # Others may be using a CPU as well; what this process itself spent is what can be compared.
        self._clock = time.process_time if device == "cpu" else time.perf_counter
        self.dtype = torch.bfloat16 if has_native_bf16(device) else torch.float32
        check_fits(shape, device=device, dtype=self.dtype)
        model = build_model(shape, tokens=TEXT_PER_VISION * most + 4096, device=device, dtype=self.dtype)
        self.encoding = self._encode(page_encoder(model, shape))
        self.decoder: PageDecoder = page_decoder(model, shape)
        self.memory: Shape = model_shape(model)
        self._pages = folder / "pages"
        self._blocks = folder / "blocks"
        self.stored = self._store()
        self.page_tokens = self._load(1)[0].vision_tokens
        self._took: dict[str, tuple[int, float]] = {}

    def _encode(self, encoder: object) -> dict[str, object]:
        """Page images to tokens, image processor included; keeps the first pages."""
        rng, side = np.random.default_rng(0), self.shape.side
        images = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(ENCODED)]
        encode = encoder.encode  # type: ignore[attr-defined]
        tokens: list[PageTokens] = [encode(images[0])]  # kernels are chosen and compiled in the first
        count = ENCODED if self.device != "cpu" else 2
        self._settle()
        start = self._clock()
        tokens += [encode(image) for image in images[:count]]
        self._settle()
        seconds = self._clock() - start
        self._first = tokens[-1]
        return {"pages": count, "tokens_per_page": len(self._first.features), "pages_per_s": count / seconds}

    def _store(self) -> dict[str, int]:
        """Writes page caches and, read each by itself, keys and values; -> bytes of one of each."""
        first = self._first
        noise = [torch.randn_like(first.features) for _ in range(PAGES - 1)]
        tokens = [
            first,
            *(PageTokens(features, first.deepstack, first.grid, first.ids) for features in noise),
        ]
        stored = [store_page(one, codec=CODEC, image_token=IMAGE) for one in tokens]
        self._pages.write_bytes(write_pages({f"{n:06}": page for n, page in enumerate(stored)}))
        blocks = {f"{n:06}": read_block(self.decoder, [page]) for n, page in enumerate(stored)}
        self._blocks.write_bytes(write_blocks(blocks))
        self._settle()
        return {"page": stored[0].stored_bytes, "block": blocks["000000"].stored_bytes}

    def _load(self, count: int) -> list[PageCache]:
        """Pages from disk, checked; the same again after eight."""
        pages: list[PageCache] = []
        with PageFile(self._pages) as file:
            while len(pages) < count:
                pages += file.load_many([f"{n:06}" for n in range(min(PAGES, count - len(pages)))])
        return pages

    def warm_up(self, vision_tokens: int) -> None:
        """Kernels are chosen in the first reading of each kind; a CPU has few, and one page is enough."""
        if self.device != "cpu":
            self.measure(vision_tokens)
            return
        self._read_caches(1)
        self._read_blocks(1)

    def measure(self, vision_tokens: int) -> list[Row]:
        """Each way with so many vision tokens, as far as it fits."""
        count = max(1, vision_tokens // self.page_tokens)
        ways: dict[str, tuple[Callable[[int], tuple[Context, float]], int]] = {
            "caches": (self._read_caches, count * (self.page_tokens + 2)),
            "page KV": (self._read_blocks, count * (self.page_tokens + 2)),
            "text": (self._read_text, TEXT_PER_VISION * count * self.page_tokens),
        }
        rows = [self._row(way, read, count, positions) for way, (read, positions) in ways.items()]
        return [row for row in rows if row is not None]

    def _row(self, way: str, read: Callable[[int], tuple[Context, float]], count: int, positions: int) -> Row | None:
        total = positions + len(START) + len(QUESTION)
        apart = way == "page KV" and self.device == "cpu"  # else what was loaded lies in the machine's memory
        plan = plan_memory(self.memory, total, number_bytes=self.dtype.itemsize, apart=apart)
        held = self._held(way, count)
        before, seconds = self._took.get(way, (0, 0.0))
        expected = seconds * (positions / before) ** 2 if before else 0.0
        if plan.total + held - plan.weights > 0.9 * free_memory(self.device) or expected > self.patience:
            print(
                f"{self.shape.name}, {count * self.page_tokens:,} vision tokens as {way}: left out "
                f"({plan}; {expected:.0f} s expected)"
            )
            return None
        peak = Peak(self.device, plan.weights)
        self._settle()
        start, began = self._clock(), time.perf_counter()
        context, loading = read(count)
        int(context.logits.argmax())  # the first token
        self._settle()
        took, clock = self._clock() - start, time.perf_counter() - began
        used = peak.read()
        self._took[way] = positions, clock
        planned = plan.total + held
        positions = context.tokens
        del context
        return Row(
            model=self.shape.name,
            vision_tokens=count * self.page_tokens,
            way=way,
            positions=positions,
            load_s=loading,
            first_token_s=took,
            clock_s=clock,
            peak_GB=used / 1e9,
            planned_GB=planned / 1e9,
            against_plan=used / planned,
        )

    def _held(self, way: str, count: int) -> int:
        """Bytes of page caches, where they lie in the memory that is measured; the plan counts keys and values."""
        return count * self.stored["page"] if (way, self.device) == ("caches", "cpu") else 0

    def _read_text(self, count: int) -> tuple[Context, float]:
        words = (np.arange(TEXT_PER_VISION * count * self.page_tokens) % 1000 + 100).tolist()
        return self.decoder.read(self.decoder.lay_out([START, words, QUESTION])), 0.0

    def _read_caches(self, count: int) -> tuple[Context, float]:
        start = self._clock()
        pages = self._load(count)
        loading = self._clock() - start
        return self.decoder.read(self.decoder.lay_out([START, *pages, QUESTION])), loading

    def _read_blocks(self, count: int) -> tuple[Context, float]:
        start = self._clock()
        blocks: list[Block] = []
        with BlockFile(self._blocks) as file:
            while len(blocks) < count:
                blocks += file.load_many([f"{n:06}" for n in range(min(PAGES, count - len(blocks)))])
        loading = self._clock() - start
        context = assemble(self.decoder, [read_block(self.decoder, [START]), *blocks])
        del blocks
        question = self.decoder.lay_out([QUESTION], start=context.next_position)
        return self.decoder.read(question, context), loading

    def _settle(self) -> None:
        """Waits for the device."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)


def check_fits(shape: BenchShape, *, device: str, dtype: torch.dtype) -> None:
    """Ends the program for a model whose weights, vision tower included, do not fit: it would be ended half way."""
    empty = build_model(shape, tokens=1, device="meta", dtype=dtype)
    weights, free = sum(weight.nbytes for weight in empty.parameters()), free_memory(device)
    if weights > free:
        raise SystemExit(
            f"{shape.name}: its weights take {weights / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {device}: "
            "measure a part of its layers with --layers"
        )


def measure_storing(shape: BenchShape, folder: Path) -> dict[str, object]:
    """Bytes of a page of the published model by format, and how fast they come from a warm disk, checksums verified."""
    deepstack = shape.vision.get("deepstack_visual_indexes")
    width = shape.text["hidden_size"]
    generator = torch.Generator().manual_seed(0)

    def tokens() -> PageTokens:
        rows = torch.randn(shape.page_tokens, width, generator=generator)
        levels = torch.stack([rows.flip(0)] * len(deepstack)) if deepstack else None
        return PageTokens(rows, levels, None, torch.full((shape.page_tokens,), IMAGE))

    pages = {f"{n:06}": store_page(tokens(), codec=CODEC, image_token=IMAGE) for n in range(PAGES)}
    wide = store_page(tokens(), codec=CODEC, image_token=IMAGE, format="bf16").stored_bytes
    path = folder / "stored"
    path.write_bytes(write_pages(pages))
    seconds, processor = [], []
    for _ in range(WARM):
        start, busy = time.perf_counter(), time.process_time()
        with PageFile(path) as file:
            file.load_many(list(pages))
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    narrow = pages["000000"].stored_bytes
    return {
        "model": shape.name,
        "tokens_per_page": shape.page_tokens,
        "page_bytes_int8": narrow,
        "page_bytes_bf16": wide,
        "int8_of_bf16": narrow / wide,
        "GB_per_s": PAGES * narrow / min(seconds) / 1e9,
        "GB_per_processor_s": PAGES * narrow / min(processor) / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(SHAPES), action="append", default=[])
    parser.add_argument("--tokens", type=int, nargs="+", default=[])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--layers", type=int, help="Only so many layers of each model's language model.")
    parser.add_argument("--patience", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    names = arguments.model or (["small"] if device == "cpu" else ["qwen3-vl-8b", "deepseek-ocr-2"])
    try:
        shapes = [with_layers(SHAPES[name], arguments.layers) if arguments.layers else SHAPES[name] for name in names]
    except ValueError as error:
        parser.error(str(error))
    sizes = sorted(arguments.tokens or ([1024, 2048] if device == "cpu" else [8192, 32768, 131_072, 524_288]))
    with tempfile.TemporaryDirectory() as folder:
        storing = [measure_storing(shape, Path(folder)) for shape in SHAPES.values() if shape.context]
    show("Page caches of published shapes: goals 0.51 of bf16, 1 GB/s", storing)
    rows: list[Row] = []
    facts: list[dict[str, object]] = []
    for shape in shapes:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(shape, Path(folder), most=sizes[-1], device=device, patience=arguments.patience)
            facts.append({"model": shape.name, "device": device, "dtype": str(bench.dtype), **bench.encoding})
            bench.warm_up(sizes[0])
            for size in sizes:
                rows += bench.measure(size)
            del bench
            gc.collect()
    show("Page images encoded, image processor included", facts)
    show("A context read, up to the first token", [asdict(row) for row in rows])
    show("Against raw text", compare(rows))
    print(
        write(
            "context",
            {"storing": storing, "pages": facts, "contexts": [asdict(row) for row in rows], "ratios": compare(rows)},
            arguments.out,
        )
    )
    print(draw(rows, arguments.out))


def compare(rows: Sequence[Row]) -> list[dict[str, object]]:
    """How many times as fast as text each way is; where text was left out nothing is claimed."""
    texts = {(row.model, row.vision_tokens): row.first_token_s for row in rows if row.way == "text"}
    found = []
    for row in rows:
        text = texts.get((row.model, row.vision_tokens))
        if row.way != "text":
            times = "text was left out" if text is None else text / row.first_token_s
            goal = GOALS[row.way]
            found.append(
                {"model": row.model, "vision_tokens": row.vision_tokens, "way": row.way, "times": times, "goal": goal}
            )
    return found


def draw(rows: Sequence[Row], out: Path) -> Path:
    """Seconds to the first token, and memory, over vision tokens."""
    figure = new_plot(11)
    left, right = figure.subplots(1, 2)
    for model in dict.fromkeys(row.model for row in rows):
        for way in ("text", "caches", "page KV"):
            mine = [row for row in rows if (row.model, row.way) == (model, way)]
            tokens = [row.vision_tokens for row in mine]
            left.plot(tokens, [row.first_token_s for row in mine], marker="o", label=f"{model}, {way}")
            right.plot(tokens, [row.peak_GB for row in mine], marker="o", label=f"{model}, {way}")
    left.set(xscale="log", yscale="log", xlabel="vision tokens", ylabel="seconds", title="to the first token")
    right.set(xscale="log", yscale="log", xlabel="vision tokens", ylabel="GB", title="peak memory")
    left.legend(fontsize=7)
    return save_plot(figure, "context", out)


if __name__ == "__main__":
    main()
