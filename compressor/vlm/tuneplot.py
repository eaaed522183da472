"""Owns the picture of a search for a typography: fidelity against tokens, and the frontier of both."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compressor.vlm.tune import Goal, Trial, frontier, ranked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {"built-in": ("D", "black"), "random": ("o", "tab:gray"), "local": ("o", "tab:blue")}  # by phase


def draw_trials(trials: Sequence[Trial], goal: Goal, title: str, out: Path) -> Path:
    """Draws the trials that were measured as a PNG; the best is ringed, the goal is dotted. Returns `out`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel="vision tokens for 1,000 text tokens", ylabel="characters read back right", title=title)
    best = ranked(trials, goal)
    if best:
        axes.set_xscale("log")
        _draw(axes, best, frontier(trials))
        axes.scatter([best[0].got.tokens], [best[0].got.fidelity], s=160, facecolors="none", edgecolors="tab:red")
    if goal.fidelity is not None:
        axes.axhline(goal.fidelity, color="tab:red", linestyle=":", linewidth=1)
    if goal.tokens is not None:
        axes.axvline(goal.tokens, color="tab:red", linestyle=":", linewidth=1)
    if best:
        axes.legend(loc="lower right")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120, format="png")
    return out


def _draw(axes: "Axes", measured: Sequence[Trial], best: Sequence[Trial]) -> None:
    for phase, (mark, colour) in MARKS.items():
        part = [trial.got for trial in measured if trial.phase == phase]
        if part:
            points = [one.tokens for one in part], [one.fidelity for one in part]
            axes.scatter(*points, marker=mark, c=colour, s=24, label=phase)
    steps = [trial.got.tokens for trial in best], [trial.got.fidelity for trial in best]
    axes.step(*steps, where="post", color="tab:orange", label="frontier", zorder=0)
