"""Owns what every benchmark does with its figures: print a table, write JSON, open a plot."""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUT = Path("bench/out")


def count(text: str) -> int:
    """An argument that is a number from 1 on. Raises argparse's error."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "bf16": bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def show(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """A table of rows with the same keys."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate(rows[0]):
        table.add_column(column.replace("_", " "), justify="right" if index else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console(width=200).print(table)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) <= 1 else f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def write(name: str, facts: Mapping[str, object], out: Path) -> Path:
    """Writes `<name>.json` with the machine beside the facts."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **facts}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def new_plot(width: float = 9, height: float = 4.5) -> "Figure":
    """A figure that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_plot(figure: "Figure", name: str, out: Path) -> Path:
    """Writes `<name>.png`."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.png"
    figure.savefig(path, dpi=120)
    return path
