"""Owns how a command speaks: tables for people, one JSON document for programs, errors and exit codes."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

LEAST_TEXT = 12  # characters of a column of text that does not fit
JSON_HELP = "Print one JSON document on stdout and nothing else there."


@dataclass(frozen=True, slots=True)
class Exit:
    """Exit codes, the same for every command."""

    FAILED = 1  # the work was done and something failed: a document, a check
    USAGE = 2  # wrong arguments or settings
    NOT_FOUND = 3  # no such collection or document
    NO_ANSWER = 4  # the decoder abstained


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command writes; people's output goes to stdout too, progress and errors to stderr."""

    as_json: bool

    @property
    def console(self) -> Console:
        """For people; silent under --json."""
        return Console(quiet=self.as_json, highlight=False)

    def document(self, value: Mapping[str, object]) -> None:
        """The one JSON document of a --json run; nothing otherwise."""
        if self.as_json:
            sys.stdout.write(_json(value, indent=2) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
        """A table for people; numbers are set to the right.

        Where it is wider than the terminal, text gives way, and never a number: part of one is another number.
        """
        cells = [[shown(cell) for cell in row] for row in rows]
        numeric = [
            bool(rows) and all(isinstance(row[index], int | float | Figure) for row in rows)
            for index in range(len(columns))
        ]
        console = self.console
        widths = _widths(columns, cells, numeric, room=console.width if console.is_terminal else None)
        table = Table(title=title, title_justify="left", header_style="bold", box=None, padding=(0, 1, 0, 0))
        for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
            folds = numeric[index] or index == len(columns) - 1  # numbers all fit: of them only the header does
            table.add_column(
                column,
                justify="right" if numeric[index] else "left",
                no_wrap=not folds,
                overflow="fold" if folds else "ellipsis",
                width=width,
            )
        for row in cells:
            table.add_row(*row)
        wide = max(console.width, sum(widths) + len(widths))
        Console(quiet=self.as_json, highlight=False, width=wide).print(table)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress bars on stderr; none under --json or where stderr is no terminal."""
        console = Console(stderr=True, quiet=self.as_json)
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=self.as_json or not console.is_terminal,
        ) as bars:
            yield bars

    @contextmanager
    def status(self, text: str) -> Iterator[None]:
        """A spinner on stderr for what takes seconds; none under --json or where stderr is no terminal."""
        with Console(stderr=True, quiet=self.as_json).status(text):
            yield


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its own way of being shown."""

    text: str

    def __str__(self) -> str:
        return self.text


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool], *, room: int | None
) -> list[int]:
    """Of columns, a space each aside: as wide as what is in them, or less where they are wider together than `room`."""
    inside = [
        max((cell_len(line) for row in rows for line in row[at].split("\n")), default=0) for at in range(len(columns))
    ]
    widths = [max(cell_len(column), width) for column, width in zip(columns, inside, strict=True)]

    def too_wide() -> bool:
        return room is not None and sum(widths) + len(widths) > room

    if too_wide():
        for at, column in enumerate(columns):
            if numeric[at]:
                widths[at] = max(inside[at], *(cell_len(word) for word in column.split()))
    while too_wide():
        texts = [at for at in range(len(columns)) if not numeric[at] and widths[at] > LEAST_TEXT]
        if not texts:
            break  # the terminal breaks the lines
        widths[max(texts, key=widths.__getitem__)] -= 1
    return widths


def shown(cell: object) -> str:
    """A table cell as people read it."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.2f}"
    return "" if cell is None else str(cell)


def size(count: int) -> Figure:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return Figure(f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}")
        value /= 1000
    raise AssertionError


def by_rate(rates: Mapping[str, int]) -> Figure:
    """Chunks by rate, "5@40 1@20", the highest first; of native codecs alone."""
    codecs = {name.removeprefix("native-"): count for name, count in rates.items() if name.startswith("native-")}
    return Figure(" ".join(f"{codecs[rate]:,}@{rate}" for rate in sorted(codecs, key=int, reverse=True)))


def share(value: float | None) -> Figure:
    """A share of 0..1 with the digits that matter near one."""
    return Figure("-" if value is None else f"{value:.4f}")


def step_bars(bars: Progress) -> Callable[[str, int, int], None]:
    """A bar for each step that says what it has done and what is due."""
    tasks: dict[str, TaskID] = {}
    totals: dict[str, int] = {}

    def progress(step: str, done: int, due: int) -> None:
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=0, note="")
        totals[step] = totals.get(step, 0) + due
        bars.update(tasks[step], total=totals[step], advance=done)

    return progress


def print_error(error: Exception, *, as_json: bool) -> None:
    """Says what went wrong: on stderr for people, as the JSON document for programs."""
    if as_json:
        fault = {"error": {"type": type(error).__name__, "message": str(error)}}
        try:
            sys.stdout.write(_json(fault) + "\n")
            sys.stdout.flush()
            return
        except OSError:  # a full disk, say: it is told on stderr then
            pass
    Console(stderr=True, highlight=False).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)


def _json(value: object, *, indent: int | None = None) -> str:
    """As readable as the output can hold: escapes where it is not UTF-8."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not utf8, indent=indent)


def usage(message: str) -> typer.BadParameter:
    """Wrong arguments, in Typer's own words; exit code 2."""
    return typer.BadParameter(message)
