"""Owns the picture of a training run: held-out accuracy by kind, and the loss."""

import json
from pathlib import Path


def draw_curve(log: Path, out: Path, title: str) -> Path:
    """Draws `log.jsonl` of a run; the share of characters read wrong is on a log scale, 1e-5 stands for none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    probes = [row for row in rows if "prose" in row or "random" in row]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    wrong, loss = figure.subplots(1, 2)
    for kind in (key for key in (probes[-1] if probes else {}) if key not in ("step", "loss", "chars_per_s")):
        points = [(row["step"], max(1 - row[kind], 1e-5)) for row in probes if kind in row]
        wrong.plot(*zip(*points, strict=True), marker="o", markersize=3, label=kind)
    wrong.set(yscale="log", xlabel="step", title="held out, read wrong")
    if probes:
        wrong.legend()
    loss.plot([row["step"] for row in rows], [row["loss"] for row in rows])
    loss.set(yscale="log", xlabel="step", title="training loss")
    figure.suptitle(title)
    figure.savefig(out, dpi=120)
    return out
