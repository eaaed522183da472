"""Owns the training of the layers that embed queries: few, narrow ones, which learn the vectors of the published six.

    python -m compressor.distil --text FILE... [--run runs/queries] [--out FILE]

The method is LEAF's (Vujanic and Rueckstiess, arXiv:2509.12539): whatever the teacher makes of a text the student
should make of it, so nobody has to have asked anything. It is shown runs of words out of the text, some of them behind
words that questions begin with. The embeddings stay the teacher's; the layers begin as its first and its last two. Once
they are trained, the last one asks once for a query instead of once for each of its tokens, of the others those heads
and inner dimensions that say least are left out, and what is left learns to do without.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from compressor.codec.corpus import load_texts
from compressor.codec.train import learning_rate, resume, save, weights_digest
from compressor.codec.weights import write_tensors
from compressor.embed import QUERY_LAYERS, installed_weights, load_tokenizer
from compressor.errors import CompressorError, ModelError
from compressor.layers import HEAD, POOL, Block, PlainLinear, Weights, make_layers
from compressor.minilm import MiniLM, batches, cut

KINDS = {"prose": 0.6, "tech": 0.3, "spanish": 0.1}  # shares of the kinds of text
WORDS, SPREAD, MOST_WORDS = 8, 0.6, 40  # of a query: the median, the deviation of its logarithm
MOST_TOKENS = 48
SENTENCE_WORDS = 60  # how far before a place its sentence may begin
AT_A_SENTENCE = 0.5  # share of queries that begin where a sentence does
ASKED = 0.45  # share that begins as a question does
ASKING = (  # noqa: SIM905 - thirty lines otherwise
    "what;who;when;where;why;how;which;how many;how much;what is;what was;who was;when did;where did;what did;why did;"
    "how did;how do i;how to;what are;what kind of;in what year;which of;what is the name of;who is;is;does;can;"
    "what does;how long;what type of"
).split(";")
HELD_OUT = 512  # queries
LAYERS = (0, 4, 5)  # of the published ones, which the three begin as
LOOKED_AT = 512  # queries that tell what says least


@dataclass(frozen=True, slots=True)
class Shape:
    """What is left of a layer that tokens pass through."""

    heads: int = 8  # of the published 12
    inner: int = 512  # dimensions, of the published 1,536


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run; a step takes one to two seconds on two CPU cores without bf16."""

    steps: int
    queries: int = 128  # in a batch
    learning_rate: float = 8e-4
    warm_up: int = 100
    decay_from: float = 0.4  # share of the steps after which the rate falls linearly to 2 %
    weight_decay: float = 0.01
    checkpoint_every: int = 250
    seed: int = 1


WIDE, NARROW = Recipe(steps=2200), Recipe(steps=1800, seed=2)


@dataclass(frozen=True, slots=True)
class Texts:
    """Documents as their words, by kind."""

    words: dict[str, list[list[str]]]
    digest: str  # of everything that was read


def read_texts(paths: list[Path]) -> Texts:
    """Raises DamagedDocument for lines that cannot be read, ModelError where there is nothing to learn from."""
    words: dict[str, list[list[str]]] = {}
    digest = hashlib.sha256()
    for kind, text in load_texts(paths):
        digest.update(f"{kind}\0{text}\0".encode())
        if kind in KINDS and len(its := text.split()) > MOST_WORDS:
            words.setdefault(kind, []).append(its)
    if not words:
        raise ModelError(f"the text holds no document of {' or '.join(KINDS)} with more than {MOST_WORDS} words")
    return Texts(words, digest.hexdigest())


def queries(texts: Texts, *, seed: int) -> Iterator[str]:
    """Endless random queries; a seed repeats them."""
    rng = np.random.default_rng(seed)
    kinds = list(texts.words)
    shares = np.array([KINDS[kind] for kind in kinds])
    ends = {kind: np.cumsum([len(words) for words in texts.words[kind]]) for kind in kinds}
    while True:
        kind = kinds[rng.choice(len(kinds), p=shares / shares.sum())]
        place = int(rng.integers(ends[kind][-1]))
        number = int(np.searchsorted(ends[kind], place, side="right"))
        words = texts.words[kind][number]
        start = place - int(ends[kind][number]) + len(words)
        if rng.random() < AT_A_SENTENCE:
            start = _sentence_of(words, start)
        count = int(np.clip(round(rng.lognormal(np.log(WORDS), SPREAD)), 1, MOST_WORDS))
        said = words[start : start + count]
        if rng.random() < ASKED:
            yield f"{ASKING[rng.integers(len(ASKING))]} {' '.join(word.strip('.,;:()') for word in said)}?"
        else:
            yield " ".join(said)


def _sentence_of(words: Sequence[str], place: int) -> int:
    """Where the sentence of a place begins; the place itself where that is far off."""
    for start in range(place, max(place - SENTENCE_WORDS, 0), -1):
        if words[start - 1].endswith((".", "?", "!", ":")):
            return start
    return place if place >= SENTENCE_WORDS else 0


def published_layers(numbers: Sequence[int] = LAYERS) -> dict[str, Tensor]:
    """Some of the published model's layers, numbered from 0 on, by the names that layers have in its file."""
    published = load_file(installed_weights() / "model.safetensors")
    own: dict[str, Tensor] = {}
    for number, layer in enumerate(numbers):
        before, after = f"encoder.layer.{layer}.", f"encoder.layer.{number}."
        own |= {after + name.removeprefix(before): its for name, its in published.items() if name.startswith(before)}
    return own


class _Watched(PlainLinear):
    """Notes how large each of the dimensions is that it adds from."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__(weight, bias)
        self._weighs = weight.norm(dim=0)
        self._squares: list[Tensor] = []  # (dimensions,) means, of each batch

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        self._squares.append(x.square().mean(0))
        return super().add_to(residual, x)

    @property
    def added(self) -> Tensor:
        """(dimensions,) how much comes of each."""
        added: Tensor = torch.stack(self._squares).mean(0).sqrt() * self._weighs
        return added


def narrowed(layers: Weights, shape: Shape, teacher: MiniLM, ids: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Layers of which the last asks once for a text, and of the others what adds most to what comes of token ids."""
    *others, last = sorted({name.rsplit("attention.", 1)[0] for name in layers if "attention.self.query" in name})
    watched = make_layers(layers, dtype=torch.float32, packed=False)
    notes = []
    for number, prefix in enumerate(others):
        into, out = (
            _Watched(layers[f"{prefix}{name}.dense.weight"], layers[f"{prefix}{name}.dense.bias"])
            for name in ("attention.output", "output")
        )
        block: Block = replace(watched.layers[number].block, attention=into, narrow=out)
        watched.layers[number] = replace(watched.layers[number], block=block)
        notes.append((prefix, into, out))
    with torch.no_grad():
        for batch in batches(ids):
            teacher.through(watched, batch)
    own = {name.replace(last, POOL): value for name, value in layers.items()}
    del own[f"{POOL}attention.self.key.bias"]  # the same for every token
    for prefix, into, out in notes:
        heads = into.added.view(-1, HEAD).norm(dim=1).topk(shape.heads).indices.sort().values
        dimensions = (heads[:, None] * HEAD + torch.arange(HEAD)).flatten()
        _keep(own, [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")], dimensions)
        own[f"{prefix}attention.output.dense.weight"] = own[f"{prefix}attention.output.dense.weight"][:, dimensions]
        inner = out.added.topk(shape.inner).indices.sort().values
        _keep(own, [f"{prefix}intermediate.dense"], inner)
        own[f"{prefix}output.dense.weight"] = own[f"{prefix}output.dense.weight"][:, inner]
    return own


def _keep(layers: dict[str, Tensor], names: Sequence[str], outputs: Tensor) -> None:
    for name in names:
        for part in ("weight", "bias"):
            layers[f"{name}.{part}"] = layers[f"{name}.{part}"][outputs]


def alike(layers: Weights, teacher: MiniLM, ids: Sequence[Sequence[int]]) -> Tensor:
    """(queries,) cosines of what layers and their teacher make of token ids; gradients pass to the layers."""
    asked = torch.from_numpy(teacher.embed(ids))
    student = make_layers(layers, dtype=torch.float32, packed=False)
    return cosine_similarity(torch.cat([teacher.through(student, batch) for batch in batches(ids)]), asked)


def train(
    recipe: Recipe,
    layers: Weights,
    texts: Texts,
    run: Path,
    *,
    shape: Shape | None = None,
    progress: Callable[[int, dict[str, float]], None] = lambda step, facts: None,
) -> dict[str, Tensor]:
    """What layers become, by the same names; with `shape` they are narrowed to that first.

    Resumes `run`, where checkpoints and a log go. Raises ModelError where that is of another recipe or text, or began
    with other layers.
    """
    teacher = MiniLM(installed_weights() / "model.safetensors")
    tokenizer = load_tokenizer(installed_weights())
    kept = None if shape is None else asdict(shape)
    identity = json.dumps({**asdict(recipe), "text": texts.digest, "layers": weights_digest([layers]), "shape": kept})
    if shape is not None:
        looked_at = _batch(tokenizer, queries(texts, seed=recipe.seed), LOOKED_AT)
        layers = narrowed(layers, shape, teacher, looked_at)
    student = _Student(layers)
    optimizer = torch.optim.AdamW(
        student.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    run.mkdir(parents=True, exist_ok=True)
    step = resume(run, student, optimizer, identity)
    held_out = _batch(tokenizer, queries(texts, seed=0), HELD_OUT)
    asked = queries(texts, seed=recipe.seed + step)
    while step < recipe.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss = 1 - alike(student.layers, teacher, _batch(tokenizer, asked, recipe.queries)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        facts = {"cosine": 1 - float(loss.detach())}
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            with torch.no_grad():
                cosines = alike(student.layers, teacher, held_out)
            facts |= {"held out": float(cosines.mean()), "lowest tenth": float(cosines.quantile(0.1))}
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": step, **facts}) + "\n")
            save(run, student, optimizer, step, identity)
        progress(step, facts)
    return {name: value.detach() for name, value in student.layers.items()}


class _Student(nn.Module):
    """Layers as parameters, for a checkpoint."""

    def __init__(self, layers: Weights) -> None:
        super().__init__()
        self.layers = {name: nn.Parameter(value.clone()) for name, value in layers.items()}
        for name, parameter in self.layers.items():
            self.register_parameter(name.replace(".", "/"), parameter)  # a dot would name a module


def train_both(
    texts: Texts,
    run: Path,
    recipes: tuple[Recipe, Recipe] = (WIDE, NARROW),
    *,
    shape: Shape = Shape(),
    progress: Callable[[int, dict[str, float]], None] = lambda step, facts: None,
) -> dict[str, Tensor]:
    """The narrow layers out of the published ones; steps of the second training count on from the first one's."""
    wide, narrow = recipes
    layers = train(wide, published_layers(), texts, run / "wide", progress=progress)

    def further(step: int, facts: dict[str, float]) -> None:
        progress(wide.steps + step, facts)

    return train(narrow, layers, texts, run / "narrow", shape=shape, progress=further)


def _batch(tokenizer: Tokenizer, asked: Iterator[str], count: int) -> list[Sequence[int]]:
    """Token ids of the next queries, with special tokens."""
    return [cut(encoding.ids, MOST_TOKENS) for encoding in tokenizer.encode_batch_fast(list(islice(asked, count)))]


def save_layers(layers: dict[str, Tensor], path: Path, *, sources: str) -> None:
    """Writes layers as bf16, for `MiniLM.with_layers`. Raises ModelError where the disk is full."""
    tensors = {name: value.to(torch.bfloat16) for name, value in layers.items()}
    partial = path.with_suffix(".partial")
    write_tensors(tensors, partial, {"licence": "Apache-2.0", "sources": sources})
    partial.chmod(0o644)
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/queries"), help="checkpoints and a log; resumed")
    parser.add_argument(
        "--steps",
        type=int,
        nargs=2,
        default=[WIDE.steps, NARROW.steps],
        metavar=("WIDE", "NARROW"),
        help="of each part",
    )
    parser.add_argument("--out", type=Path, default=QUERY_LAYERS)
    arguments = parser.parse_args()
    wide, narrow = arguments.steps
    recipes = replace(WIDE, steps=wide), replace(NARROW, steps=narrow)
    try:
        texts = read_texts(arguments.text)
        with Progress(console=Console(stderr=True)) as bars:
            bar = bars.add_task("training", total=wide + narrow)

            def show(step: int, facts: dict[str, float]) -> None:
                bars.update(bar, completed=step)
                if len(facts) > 1:
                    shown = (f"{name} {value:.4f}" for name, value in facts.items())
                    bars.console.print(f"{step:>6}  {'  '.join(shown)}")

            layers = train_both(texts, arguments.run, recipes, progress=show)
        save_layers(layers, arguments.out, sources=", ".join(sorted(path.name for path in arguments.text)))
    except (CompressorError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{arguments.out}\n")


if __name__ == "__main__":
    main()
