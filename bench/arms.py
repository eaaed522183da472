"""What else could carry text in as many tokens or bytes: arms trained as the codec is, arms that need no training.

    python -m bench.arms --text train-text.jsonl.xz [--steps 300] [--chars 100000]

Three encoders get the same reader, quantiser, batches and number of steps, at native-10's rate and bytes: pixels
(ours), convolutions over the characters themselves, and the mean of their embeddings. Pixels are not assumed to win.
Truncation keeps what fits the same tokens or bytes; zstd keeps everything, in text's own number of decoder positions.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zstandard
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from bench.codec import held_out_texts, random_text
from bench.report import OUT, count, new_plot, save_plot, show, write
from compressor.codec.corpus import Corpus, Sampler, build_corpus
from compressor.codec.loss import pixels_of, reading_loss, targets_of
from compressor.codec.measure import Figures, chunks_of, measure
from compressor.codec.model import HIGH_CLASSES, LOW_CLASSES, Level, Shape
from compressor.codec.native import load_codec
from compressor.codec.train import RECIPES, learning_rate
from compressor.codec.typography import STRIP_CELLS, set_text
from compressor.embed import reference_counter
from compressor.formats import INT4
from compressor.quantise import through

CPU = torch.device("cpu")

# Not measured here: other systems' own figures on their own texts.
PUBLISHED = (
    ("DeepSeek-OCR, 100 tokens", "10.6x", "91.5 % word precision (claimed: 97 % at 10x)", "arXiv 2510.18234, table 2"),
    ("DeepSeek-OCR, 64 tokens", "19.7x", "59.1 % word precision", "arXiv 2510.18234, table 2"),
    ("C3, 20x / 40x", "20x / 40x", "98 % / 93 % precision", "arXiv 2511.15244"),
    ("Glyph, DPI 72", "4.0x", "72.2 of 100 in RULER without UUIDs", "arXiv 2510.17800"),
)  # fmt: skip


class Pixels(Level):
    """The codec's own encoder: sees the picture."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, 0)

    def tokens(self, codes: NDArray[np.int32]) -> Tensor:
        """Codes (strips, 56) -> tokens (strips, 512)."""
        return self.encode(pixels_of(codes, np.zeros(codes.shape, np.uint8), CPU))


class Characters(nn.Module):
    """Embeddings of the characters themselves, for encoders that see no picture."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.low, self.high = nn.Embedding(LOW_CLASSES, dim), nn.Embedding(HIGH_CLASSES, dim)

    def forward(self, codes: NDArray[np.int32]) -> Tensor:
        """Codes (strips, 56) -> (strips, 56, dim)."""
        target = targets_of(codes, CPU)
        embedded: Tensor = self.low(target % 256) + self.high(target // 256)
        return embedded


class Convolution(Level):
    """Convolutions over characters, five wide, in the place of pixels; then the codec's own code."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, 0)
        self.characters = Characters(shape.cell_dim)
        self.layers = nn.ModuleList(nn.Conv1d(shape.cell_dim, shape.cell_dim, 5, padding=2) for _ in range(3))

    def tokens(self, codes: NDArray[np.int32]) -> Tensor:
        """Codes (strips, 56) -> tokens (strips, 512)."""
        x = self.characters(codes).transpose(1, 2)
        for layer in self.layers:
            x = x + functional.relu(layer(x))
        return self.writer.number(x.transpose(1, 2))


class MeanPool(Level):
    """The mean of all embeddings of a strip, each turned by its place so that order is in it; then laid out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, 0)
        self.lay_out = nn.Linear(shape.width, shape.width)
        self.characters = Characters(shape.width)
        self.turn = nn.Parameter(1 + 0.5 * torch.randn(STRIP_CELLS, shape.width))

    def tokens(self, codes: NDArray[np.int32]) -> Tensor:
        """Codes (strips, 56) -> tokens (strips, 512)."""
        pooled = self.lay_out((self.characters(codes) * self.turn).mean(1))
        tokens: Tensor = self.code.reach * pooled.float().tanh()
        return tokens


Arm = Pixels | Convolution | MeanPool
ARMS: dict[str, Callable[[Shape], Arm]] = {
    "pixels (ours)": Pixels,
    "convolution, no pixels": Convolution,
    "mean-pooled embeddings": MeanPool,
}


def train_arm(arm: Arm, corpus: Corpus, steps: int, name: str) -> float:
    """Trains an encoder with a reader of its own by native-10's schedule; -> seconds."""
    recipe = RECIPES[0].shortened(steps)
    sampler = Sampler(corpus, recipe.shares, strips=1, strings=recipe.strings, seed=recipe.seed)
    optimizer = torch.optim.AdamW(arm.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))
    start = time.monotonic()
    for step in track(range(steps), description=name):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        codes = sampler.batch(recipe.strips)
        with torch.autocast("cpu", torch.bfloat16):
            read = arm.reader(through(arm.tokens(codes), INT4))
        loss = reading_loss(read, codes, np.zeros(codes.shape, np.uint8), recipe.style_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(arm.parameters(), 1.0)
        optimizer.step()
    return time.monotonic() - start


@torch.no_grad()
def read_right(arm: Arm, texts: list[str]) -> float:
    """Share of the characters of texts that an arm reads right from its int4 tokens."""
    right = total = 0
    for text in filter(None, texts):
        codes = set_text(text).codes
        for part in np.split(codes, range(256, len(codes), 256)):
            with torch.autocast("cpu", torch.bfloat16):
                low, high, _ = arm.reader(through(arm.tokens(part), INT4))
            right += int((low.argmax(-1) + 256 * high.argmax(-1) == targets_of(part, CPU)).sum())
            total += part.size
    return right / max(1, total)


def truncated(texts: list[str], cache: Figures) -> dict[str, float]:
    """Share of the text that stays where only as many text tokens, or UTF-8 bytes, are kept as its caches take."""
    return {
        "truncation, as many tokens": min(1.0, cache.vision_tokens / max(1, cache.text_tokens)),
        "truncation, as many bytes": min(1.0, cache.cache_bytes / max(1, sum(len(text.encode()) for text in texts))),
    }


def zstd_bytes(texts: list[str], counter: Callable[[list[str]], list[int]]) -> float:
    """Bytes that zstd at its strongest takes for 1,000 text tokens, chunk by chunk as caches are stored."""
    chunks = [chunk for text in texts for chunk in chunks_of(text)]
    packer = zstandard.ZstdCompressor(level=22)
    return 1000 * sum(len(packer.compress(chunk.encode())) for chunk in chunks) / max(1, sum(counter(chunks)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=count, default=300, help="of training, for each of the three encoders")
    parser.add_argument("--chars", type=count, default=100_000, help="characters a kind")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    corpus = build_corpus(arguments.text)
    kinds = held_out_texts(arguments.text, arguments.chars) | {"random": [random_text(arguments.chars)]}
    counter = reference_counter()
    rows: list[dict[str, object]] = []
    for name, build in ARMS.items():
        torch.manual_seed(1)
        built = build(Shape())
        seconds = train_arm(built, corpus, arguments.steps, name)
        shares = {kind: read_right(built, texts) for kind, texts in kinds.items()}
        rows.append({"arm": name, **shares, "training s": round(seconds)})
    codec = load_codec("native-10")
    kept = {kind: truncated(texts, measure(codec, texts, counter)) for kind, texts in kinds.items()}
    for name in next(iter(kept.values())):
        rows.append({"arm": name, **{kind: shares[name] for kind, shares in kept.items()}, "training s": 0})
    title = f"Characters right at native-10's rate after {arguments.steps} steps of training"
    show(title, rows)
    stored = {kind: zstd_bytes(texts, counter) for kind, texts in kinds.items()}
    show("zstd: all characters, one decoder position a text token; bytes per 1,000 text tokens", [stored])
    columns = ("system", "ratio", "figure", "source")
    show("Published, on other texts", [dict(zip(columns, row, strict=True)) for row in PUBLISHED])
    facts = {"figures": rows, "zstd_bytes_per_1000_text_tokens": stored, "steps": arguments.steps}
    print(write("arms", facts, arguments.out))
    figure = new_plot(9)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        values = [float(str(row[kind])) for kind in kinds]
        axes.bar(np.arange(len(kinds)) + 0.16 * place - 0.32, values, 0.16, label=str(row["arm"]))
    axes.set(xticks=range(len(kinds)), xticklabels=list(kinds), ylabel="characters right", title=title)
    axes.legend(fontsize=8)
    print(save_plot(figure, "arms", arguments.out))


if __name__ == "__main__":
    main()
