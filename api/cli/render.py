"""Owns the command `tune-render`: a search for the typography of page images that suits a model."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from api.cli.output import JSON_HELP, Exit, Figure, Output, share, usage

if TYPE_CHECKING:
    from compressor.vlm.codec import PageCodec
    from compressor.vlm.recipe import Recipe
    from compressor.vlm.tune import Goal, Search, Trial

SHOWN = 10  # trials in the table


def tune_render(
    model: Annotated[str, typer.Argument(help="hf:<model>, which will answer out of the pages.")],
    text: Annotated[
        list[Path], typer.Option(help="UTF-8 text like yours; repeat for more.", exists=True, dir_okay=False)
    ],
    fidelity: Annotated[
        float | None, typer.Option(help="Share of characters to be read back right, at least.", min=0.01, max=1)
    ] = None,
    tokens: Annotated[float | None, typer.Option(help="Vision tokens for 1,000 text tokens, at most.", min=1)] = None,
    trials: Annotated[int, typer.Option(help="Typographies to try, those of earlier runs included.", min=1)] = 40,
    random: Annotated[int, typer.Option(help="So many of them at random, then steps from the best.", min=0)] = 12,
    chars: Annotated[int, typer.Option(help="Characters to read back, shared by the files.", min=100)] = 8800,
    prompt: Annotated[
        str | None, typer.Option(help="What the model is told; default: to write out the text of the page.")
    ] = None,
    run: Annotated[Path, typer.Option(help="Log and plot; what is there is resumed.")] = Path("runs/tune-render"),
    out: Annotated[Path, typer.Option(help="Where the recipe goes.")] = Path("page-recipe.json"),
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Looks for the typography that costs a model the fewest tokens and is still read, and writes it as a recipe.

    With --tokens alone: the one that is read best within them. Exit code 1 if none reaches the goal; resumes.
    """
    from compressor.decoders.names import check_page_codec
    from compressor.vlm.codec import open_codec
    from compressor.vlm.readback import PROMPT
    from compressor.vlm.recipefile import write_recipe
    from compressor.vlm.tune import Goal, Search, ranked
    from compressor.vlm.tuneplot import draw_trials
    from compressor.vlm.tunerun import LOG, PLOT

    if fidelity is None and tokens is None:
        raise usage("say what is wanted: --fidelity 0.98, --tokens 400, or both")
    check_page_codec(model)
    output, goal = Output(as_json), Goal(fidelity, tokens)
    wanted = Search(goal, trials=trials, random=random, seed=seed)
    tried = _search(output, wanted, run, open_codec(model), _read_texts(text, chars), prompt or PROMPT, device)
    best = next(iter(ranked(tried, goal)), None)
    met = best is not None and goal.shortfall(best.got) == 0
    if best is not None and met:
        write_recipe(best.recipe, out)
    plot = draw_trials(tried, goal, f"typographies for {model}", run / PLOT)
    output.document(
        {
            "model": model,
            "goal": asdict(goal),
            "met": met,
            "best": None if best is None else asdict(best),
            "recipe": str(out) if met else None,
            "log": str(run / LOG),
            "plot": str(plot),
            "trials": [asdict(trial) for trial in tried],
        }
    )
    _show(output, tried, goal)
    output.console.print(f"log    {run / LOG}\nplot   {plot}")
    if not met:
        output.console.print(Text(f"no recipe was written: {_why(tried, best)}", style="yellow"))
        raise typer.Exit(Exit.FAILED)
    output.console.print(f"recipe {out}\n\nexport PERCEL_PAGE_RECIPE={out.absolute()}  # before ingesting")


def _read_texts(paths: Sequence[Path], chars: int) -> list[str]:
    """The beginning of each file, cut as long as chunks are."""
    from compressor.codec.measure import chunks_of

    each = max(1, chars // len(paths))
    texts = [path.read_text("utf-8", errors="replace")[:each] for path in paths]
    chunks = [chunk for text in texts for chunk in chunks_of(text) if chunk.strip()]
    if not chunks:
        raise usage("the files hold no text to read back")
    return chunks


def _search(
    output: Output, wanted: "Search", run: Path, codec: "PageCodec", texts: Sequence[str], prompt: str, device: str
) -> "list[Trial]":
    """All trials of the search, with a bar that says how far it is and what is best so far."""
    from compressor.embed import reference_counter
    from compressor.vlm.readback import ReadBack
    from compressor.vlm.tunerun import about_search, run_search

    with output.progress() as bars:
        bar = bars.add_task("trials", total=wanted.trials, note="loading the model")
        best = ""

        def show_pages(done: int, pages: int) -> None:
            bars.update(bar, note=f"page {done + 1} of {pages}{best}")

        def show(tried: "Sequence[Trial]") -> None:
            nonlocal best
            best = _best_so_far(tried, wanted.goal)
            bars.update(bar, completed=len(tried), note=best.removeprefix("; "))
            if tried and not sys.stderr.isatty() and not output.as_json:
                sys.stderr.write(f"{len(tried)} of {wanted.trials}{best}\n")

        model = ReadBack(codec, texts, count_tokens=reference_counter(), prompt=prompt, device=device, note=show_pages)
        about = about_search(codec, texts, prompt, wanted)
        return run_search(run, about, model.measure, wanted, show=show)


def _best_so_far(tried: "Sequence[Trial]", goal: "Goal") -> str:
    from compressor.vlm.tune import ranked

    best = next(iter(ranked(tried, goal)), None)
    if best is None:
        return ""
    return f"; best {best.got.fidelity:.4f} right, {best.got.tokens:,.0f} tokens"


def _show(output: Output, tried: "Sequence[Trial]", goal: "Goal") -> None:
    """The best trials, and the built-in recipe to compare with."""
    from compressor.vlm.tune import frontier, ranked

    best = ranked(tried, goal)
    shown = best[:SHOWN] + [trial for trial in best[SHOWN:] if trial.number == 0]
    front = {trial.number for trial in frontier(tried)}
    rows = [
        (
            Figure("built-in" if trial.number == 0 else str(trial.number)),
            Figure(f"{trial.got.tokens:,.0f}"),
            Figure(f"{1000 / trial.got.tokens:.2f}"),
            share(trial.got.fidelity),
            goal.shortfall(trial.got) == 0,
            trial.number in front,
            _described(trial.recipe),
        )
        for trial in shown
    ]
    faults = sum(trial.measured is None for trial in tried)
    title = f"the best of {len(tried)} typographies" + (f"; {faults} could not be measured" if faults else "")
    columns = ("trial", "tokens", "text/vision", "right", "goal", "frontier", "typography")
    output.table(columns, rows, title=title)
    output.console.print("tokens: vision tokens for 1,000 text tokens; right: share of characters read back right")


def _described(recipe: "Recipe") -> str:
    """A typography in a line."""
    size = f"{recipe.font} {recipe.font_size:g}/{recipe.line_height:g}"
    page = f"{recipe.page_width}x{recipe.page_height}-{recipe.margin}"
    return f"{recipe.dpi} dpi, {size}, {page}, {recipe.ink} on {recipe.paper}"


def _why(tried: "Sequence[Trial]", best: "Trial | None") -> str:
    """Why there is no recipe."""
    if best is None:
        return f"none of {len(tried)} typographies could be measured; of the last: {tried[-1].fault}"
    nearest = f"the nearest is read {best.got.fidelity:.4f} right, in {best.got.tokens:,.0f} tokens"
    return f"none of {len(tried)} typographies reaches the goal; {nearest}"
