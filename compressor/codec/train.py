"""Owns training: a rate is grown on the frozen ones below it, with checkpoints, resumable, on CPU or GPU.

Everything is trained through the int4 quantiser, so what is measured here is what is stored.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from compressor.codec.classes import share_codes
from compressor.codec.corpus import HOLD_OUT, PRINTABLE, Corpus, Sampler
from compressor.codec.loss import bits_of, crowding, encode, pixels_of, reading_loss, straying, targets_of
from compressor.codec.model import Level, Shape
from compressor.codec.typography import STRIP_CELLS, set_text
from compressor.codec.weights import write_tensors
from compressor.errors import ModelError
from compressor.formats import SHARED
from compressor.quantise import through

DOCUMENTS = {"prose": 0.42, "tech": 0.26, "code": 0.21, "spanish": 0.11}  # shares of the kinds of text


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run."""

    level: int  # 0 trains native-10, 1 native-20, ...
    steps: int
    strips: int = 336  # native-10 strips in a batch, whatever the level
    learning_rate: float = 2e-3
    warm_up: int = 100
    decay_from: float = 0.5  # share of the steps after which the rate falls linearly to 2 %
    weight_decay: float = 0.01
    scripts: float = 0.35  # share of synthetic words in all scripts; the rest is documents
    seed: int = 1
    checkpoint_every: int = 250
    reader_layers: int = 2
    strings: float = 0.5  # share of batches that carry random strings and accented letters
    codes: Literal["free", "apart", "given"] = "free"  # what is asked of printable characters, see loss.py
    style_weight: float = 6  # six bits weigh as much as the two bytes of a cell: their mean would be lost beside them
    further: bool = False  # begins with the weights that are installed instead of from scratch

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the kinds of text."""
        return {kind: (1 - self.scripts) * share for kind, share in DOCUMENTS.items()} | {"scripts": self.scripts}

    def shortened(self, steps: int) -> "Recipe":
        """The same schedule in fewer steps."""
        return replace(self, steps=steps, warm_up=min(self.warm_up, steps // 5))

    def trained_further(self) -> "Recipe":
        """The schedule for weights that are good already: a gentler peak, and most of the run is decay."""
        return replace(self, learning_rate=self.learning_rate / 2, decay_from=0.25, further=True)


# One a level; a step takes .5 to .65 s on two quiet CPU cores with AMX. One of native-80 takes 35 ms on an H100, and so
# the run seven minutes; on such cores it would take a night, and a tenth of the steps read .95 of prose.
RECIPES = (
    Recipe(level=0, steps=1400, scripts=0.6),
    Recipe(level=1, steps=1000, scripts=0.5),
    Recipe(level=2, steps=1200, learning_rate=1.5e-3, scripts=0.3, strings=0.75, codes="apart"),
    Recipe(
        level=3,
        steps=12_100,
        strips=672,
        learning_rate=1.5e-3,
        warm_up=300,
        scripts=0.05,
        strings=0.1,
        checkpoint_every=1000,
        reader_layers=6,
        style_weight=0.5,
        codes="given",
    ),
)


class Schedule(Protocol):
    """What a recipe says of its learning rate; fields as in `Recipe`."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warm_up(self) -> int: ...
    @property
    def decay_from(self) -> float: ...


def learning_rate(recipe: Schedule, step: int) -> float:
    """Warm-up, flat, then linear to 2 %: most of the last points come from the decay."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    decay = recipe.decay_from * recipe.steps
    past = max(0.0, (step - decay) / max(1.0, recipe.steps - decay))
    return recipe.learning_rate * (1 - 0.98 * past)


def held_out_codes(corpus: Corpus, strips: int) -> dict[str, NDArray[np.int32]]:
    """kind -> (strips, 56) from held-out documents, and random printable strings."""
    rng = np.random.default_rng(0)
    out = {}
    for kind, texts in corpus.held_out.items():
        text = "".join(texts)
        start = max(0, len(text) // 2 - strips * STRIP_CELLS // 2)
        codes = set_text(text[start : start + strips * STRIP_CELLS]).codes
        if len(codes) >= 16:
            out[kind] = codes[: len(codes) // 16 * 16]
    words = PRINTABLE[rng.integers(len(PRINTABLE), size=(strips, STRIP_CELLS))].astype(np.int32)
    out["random"] = words[: strips // 16 * 16]
    return out


def held_out_accuracy(
    below: list[Level],
    level: Level,
    probes: dict[str, NDArray[np.int32]],
    styled: NDArray[np.uint8],
    device: torch.device,
) -> dict[str, float]:
    """Characters read right by kind of plain text; "styles": style bits read right on the prose."""
    plain = {kind: np.zeros(probe.shape, np.uint8) for kind, probe in probes.items()}
    facts = {kind: accuracy(below, level, probe, plain[kind], device)[0] for kind, probe in probes.items()}
    return facts | {"styles": accuracy(below, level, probes["prose"], styled, device)[1]}


@torch.no_grad()
def accuracy(
    below: list[Level],
    level: Level,
    codes: NDArray[np.int32],
    styles: NDArray[np.uint8],
    device: torch.device,
) -> tuple[float, float]:
    """Shares of cells whose character, and whose style, is read right from tokens as stored."""
    right = alike = 0
    for part in (slice(start, start + 512) for start in range(0, len(codes), 512)):
        with torch.autocast(device.type, torch.bfloat16):
            tokens = encode(below, level, pixels_of(codes[part], styles[part], device))
            low, high, style = level.reader(through(tokens, SHARED[level.code.digits]))
        found = low.argmax(-1) + 256 * high.argmax(-1)
        right += int((found == targets_of(codes[part], device)).sum())
        alike += int(((style > 0) == bits_of(styles[part], device).bool()).all(-1).sum())
    return right / codes.size, alike / codes.size


def train(
    recipe: Recipe,
    corpus: Corpus,
    run: Path,
    *,
    shape: Shape,
    below: list[Level],
    start: Level | None = None,
    device: torch.device,
    progress: Callable[[int, dict[str, float]], None] = lambda step, facts: None,
) -> Level:
    """Trains one level and returns it; resumes from `run/checkpoint.safetensors` if it is there. Raises ModelError.

    Writes `run/log.jsonl` (loss and held-out accuracy by step). `below` are the levels of the rates below;
    the level begins as `start`, to be trained on, or with what the reader below it knows.
    """
    probes = held_out_codes(corpus, 512)
    if "prose" not in probes:
        raise ModelError(
            f"the text holds too little prose: every {HOLD_OUT}th document is held out to be measured on, and 1,000 "
            f"characters of them are needed; give at least {HOLD_OUT} documents, as lines of a .jsonl file for one"
        )
    torch.manual_seed(recipe.seed)
    level = Level(replace(shape, reader_layers=recipe.reader_layers), recipe.level)
    if start is not None:
        level.load_state_dict(start.state_dict())
    elif below:
        level.learn_from(below[-1].reader)
    for module in (*below, level):
        module.to(device)
    optimizer = torch.optim.AdamW(
        level.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
        fused=device.type == "cuda",
    )
    run.mkdir(parents=True, exist_ok=True)
    weights = weights_digest(each.state_dict() for each in below)
    made_of = {"cells": STRIP_CELLS, "text": corpus.digest, "below": weights}
    identity = json.dumps({**asdict(recipe), **asdict(level.shape), **made_of}, sort_keys=True)
    step = resume(run, level, optimizer, identity)
    strips = 2**recipe.level
    sampler = Sampler(corpus, recipe.shares, strips=strips, strings=recipe.strings, seed=recipe.seed + step)
    amiss = _asked_of_codes(recipe, corpus, below, level, device)
    styled = sampler.styles(probes["prose"].reshape(-1, sampler.cells)).reshape(-1, STRIP_CELLS)
    started, logged = time.monotonic(), step
    while step < recipe.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        rows = sampler.batch(recipe.strips // strips)
        codes, styles = rows.reshape(-1, STRIP_CELLS), sampler.styles(rows).reshape(-1, STRIP_CELLS)
        with torch.autocast(device.type, torch.bfloat16):
            tokens = encode(below, level, pixels_of(codes, styles, device))
            read = level.reader(through(tokens, SHARED[level.code.digits]))
            codes_loss = amiss(step)
        loss = reading_loss(read, codes, styles, recipe.style_weight) + codes_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(level.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 50 == 0 or step == recipe.steps:
            seconds = time.monotonic() - started
            facts = {"loss": float(loss.detach()), "chars_per_s": (step - logged) * codes.size / seconds}
            logged = step
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                facts |= held_out_accuracy(below, level, probes, styled, device)
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": step, **{key: round(value, 6) for key, value in facts.items()}}) + "\n")
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                save(run, level, optimizer, step, identity)  # after the log: what is logged beyond it is done again
            started = time.monotonic()
            progress(step, facts)
    return level


def weights_digest(parts: Iterable[Mapping[str, Tensor]]) -> str:
    """What tells weights from others."""
    digest = hashlib.sha256()
    for part in parts:
        for name, value in part.items():
            digest.update(name.encode())
            digest.update(value.cpu().numpy().data)
    return digest.hexdigest()


def _asked_of_codes(
    recipe: Recipe, corpus: Corpus, below: list[Level], level: Level, device: torch.device
) -> Callable[[int], Tensor | float]:
    """What a recipe asks of printable characters' codes at a step, besides being read."""
    if recipe.codes == "apart":
        return partial(crowding, below, level, device=device)
    if recipe.codes == "given":
        given = share_codes(corpus, recipe.shares, level.code.values**level.code.own)
        return lambda step: straying(below, level, given, device)
    return lambda step: 0.0


def last_probe(run: Path) -> dict[str, float]:
    """What a finished run read right of held-out text in the end, as `held_out_accuracy` tells it."""
    *_, last = (run / "log.jsonl").read_text("utf-8").splitlines()
    return {kind: value for kind, value in json.loads(last).items() if kind not in ("step", "loss", "chars_per_s")}


def save(run: Path, level: nn.Module, optimizer: torch.optim.Optimizer, step: int, identity: str) -> None:
    """Writes weights and optimiser state in one safetensors file, replaced atomically. Raises ModelError."""
    tensors = {f"model.{name}": value.detach().cpu().clone() for name, value in level.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value.cpu().clone() for name, value in state.items()}
    partial = run / "checkpoint.partial"
    write_tensors(tensors, partial, {"step": str(step), "run": identity})
    partial.replace(run / "checkpoint.safetensors")


def resume(run: Path, level: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> int:
    """Loads the run's checkpoint if there is one; -> the step to go on from. Raises ModelError for another run's."""
    path = run / "checkpoint.safetensors"
    try:
        step = _load_checkpoint(path, level, optimizer, identity) if path.exists() else 0
    except SafetensorError as error:
        raise ModelError(f"{path} cannot be read ({error}): remove it, and the run begins anew") from error
    log = run / "log.jsonl"
    if log.exists():  # what the killed run did after its checkpoint is done again
        lines = log.read_text("utf-8").splitlines(keepends=True)
        log.write_text("".join(line for line in lines if _step_of(line) <= step), "utf-8")
    return step


def _load_checkpoint(path: Path, level: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> int:
    with safe_open(path, "pt") as stored:
        metadata = stored.metadata() or {}
        if metadata.get("run") != identity:
            raise ModelError(
                f"{path.parent} holds a run of another recipe, shape or text, or on other weights: choose another "
                "--run, or remove it"
            )
        names = list(stored.keys())
        level.load_state_dict({n.removeprefix("model."): stored.get_tensor(n) for n in names if n.startswith("model.")})
        state: dict[int, dict[str, Tensor]] = {}
        for name in names:
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = stored.get_tensor(name)
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return int(metadata["step"])


def _step_of(line: str) -> float:
    """Of a line of the log; beyond any for one that was cut off, by a kill or a full disk."""
    try:
        return int(json.loads(line)["step"])
    except ValueError:
        return math.inf
