"""Owns a run of the search for a typography in a folder: one process at a time, from where its log ends."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from compressor.errors import ModelError
from compressor.vlm import recipe
from compressor.vlm.codec import FORMAT, PageCodec
from compressor.vlm.triallog import append_trial, open_log
from compressor.vlm.tune import Evaluate, Search, Trial, search

LOG = "trials.jsonl"
PLOT = "trials.png"


def about_search(codec: PageCodec, texts: Sequence[str], prompt: str, wanted: Search) -> dict[str, object]:
    """What makes trials comparable, and the search the same: for the head of its log. Goal and numbers may change."""
    return {
        "model": codec.model,
        "text": _digest("\0".join(texts)),
        "prompt": prompt,
        "drawing": recipe.VERSION,
        "number format": FORMAT,
        "typographies": _digest(repr(asdict(wanted.space))),
        "seed": wanted.seed,
    }


def run_search(
    folder: Path,
    about: Mapping[str, object],
    evaluate: Evaluate,
    wanted: Search,
    *,
    show: Callable[[Sequence[Trial]], None] = lambda tried: None,
) -> list[Trial]:
    """Tries until the folder's log holds so many trials, and gives them all; `show` is told of them after each.

    A trial is in the log before the next begins: a run that is killed goes on after its last one, also for another
    goal. Raises ModelError for a folder with another search, or where another process is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            tried = open_log(folder / LOG, about)
            show(tried)
            for trial in search(evaluate, wanted, tried):
                append_trial(folder / LOG, trial)
                tried.append(trial)
                show(tried)
            return tried
    except Timeout as error:
        raise ModelError(f"another search is at work in {folder}: wait for it, or choose another --run") from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
