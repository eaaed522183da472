"""Owns the training of the layers that embed queries: three, which learn the vectors of the published model's six.

    python -m compressor.distil --text FILE... [--run runs/queries] [--out FILE]

The method is LEAF's (Vujanic and Rueckstiess, arXiv:2509.12539): whatever the teacher makes of a text the student
should make of it, so nobody has to have asked anything. It is shown runs of words out of the text, some of them behind
words that questions begin with. The embeddings stay the teacher's; the layers begin as its first and its last two.
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
from transformers import BertConfig, BertModel

from compressor.codec.corpus import load_texts
from compressor.codec.train import learning_rate, resume, save
from compressor.codec.weights import write_tensors
from compressor.embed import QUERY_LAYERS, installed_weights, load_tokenizer
from compressor.errors import CompressorError, ModelError
from compressor.minilm import MiniLM, cut

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
TOGETHER = 16  # queries of about one length, which are padded to the longest


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run; a step takes one to two seconds on two CPU cores without bf16."""

    steps: int = 2200
    queries: int = 128  # in a batch
    learning_rate: float = 8e-4
    warm_up: int = 100
    decay_from: float = 0.4  # share of the steps after which the rate falls linearly to 2 %
    weight_decay: float = 0.01
    layers: tuple[int, ...] = (0, 4, 5)  # of the teacher's, which the student's begin as
    checkpoint_every: int = 250
    seed: int = 1


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


def make_student(layers: Sequence[int]) -> BertModel:
    """The published model with those of its layers only, which are what is trained."""
    config = BertConfig.from_pretrained(installed_weights(), num_hidden_layers=len(layers), attn_implementation="sdpa")
    student = BertModel(config, add_pooling_layer=False)
    published = load_file(installed_weights() / "model.safetensors")
    places = "embeddings.position_ids"  # 0, 1, 2 ... and no weight
    own = {name: value for name, value in published.items() if name.startswith("embeddings.") and name != places}
    for number, layer in enumerate(layers):
        prefix = f"encoder.layer.{layer}."
        own |= {
            f"encoder.layer.{number}.{name.removeprefix(prefix)}": value
            for name, value in published.items()
            if name.startswith(prefix)
        }
    student.load_state_dict(own)
    student.embeddings.requires_grad_(False)
    student.eval()  # without dropout: the teacher had none
    return student


def alike(student: BertModel, teacher: MiniLM, ids: Sequence[Sequence[int]]) -> Tensor:
    """(queries,) cosines of what both make of token ids, shortest first."""
    ordered = sorted(ids, key=len)
    asked = torch.from_numpy(teacher.embed(ordered))
    given = [_embed(student, ordered[start : start + TOGETHER]) for start in range(0, len(ordered), TOGETHER)]
    return cosine_similarity(torch.cat(given), asked)


def _embed(student: BertModel, ids: Sequence[Sequence[int]]) -> Tensor:
    """Mean vectors (queries, 384), of whatever length."""
    longest = max(map(len, ids))
    tokens = torch.tensor([[*its, *[0] * (longest - len(its))] for its in ids])
    seen = (torch.arange(longest) < torch.tensor([[len(its)] for its in ids])).long()
    x = student(tokens, attention_mask=seen).last_hidden_state
    mean: Tensor = (x * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
    return mean


def train(
    recipe: Recipe,
    texts: Texts,
    run: Path,
    *,
    progress: Callable[[int, dict[str, float]], None] = lambda step, facts: None,
) -> dict[str, Tensor]:
    """The layers, by the names that layers have in the published file; resumes `run`, where checkpoints and a log go.

    Raises ModelError where `run` is of another recipe or text.
    """
    teacher = MiniLM(installed_weights() / "model.safetensors")
    tokenizer = load_tokenizer(installed_weights())
    torch.manual_seed(recipe.seed)
    student = make_student(recipe.layers)
    optimizer = torch.optim.AdamW(
        student.encoder.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    identity = json.dumps({**asdict(recipe), "text": texts.digest})
    run.mkdir(parents=True, exist_ok=True)
    step = resume(run, student.encoder, optimizer, identity)
    held_out = _batch(tokenizer, queries(texts, seed=0), HELD_OUT)
    asked = queries(texts, seed=recipe.seed + step)
    while step < recipe.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss = 1 - alike(student, teacher, _batch(tokenizer, asked, recipe.queries)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        step += 1
        facts = {"cosine": 1 - float(loss.detach())}
        if step % recipe.checkpoint_every == 0 or step == recipe.steps:
            with torch.no_grad():
                cosines = alike(student, teacher, held_out)
            facts |= {"held out": float(cosines.mean()), "lowest tenth": float(cosines.quantile(0.1))}
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": step, **facts}) + "\n")
            save(run, student.encoder, optimizer, step, identity)
        progress(step, facts)
    return {f"encoder.{name}": value.detach() for name, value in student.encoder.state_dict().items()}


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
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--out", type=Path, default=QUERY_LAYERS)
    arguments = parser.parse_args()
    recipe = replace(Recipe(), steps=arguments.steps)
    try:
        texts = read_texts(arguments.text)
        with Progress(console=Console(stderr=True)) as bars:
            bar = bars.add_task("training", total=recipe.steps)

            def show(step: int, facts: dict[str, float]) -> None:
                bars.update(bar, completed=step)
                if len(facts) > 1:
                    shown = (f"{name} {value:.4f}" for name, value in facts.items())
                    bars.console.print(f"{step:>6}  {'  '.join(shown)}")

            layers = train(recipe, texts, arguments.run, progress=show)
        save_layers(layers, arguments.out, sources=", ".join(sorted(path.name for path in arguments.text)))
    except (CompressorError, OSError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"{arguments.out}\n")


if __name__ == "__main__":
    main()
