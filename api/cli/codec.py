"""Owns the commands about the codec itself: `bench codec`, `train-codec`."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import JSON_HELP, Exit, Figure, Output, share, usage

if TYPE_CHECKING:
    import torch

    from compressor.codec.corpus import Corpus
    from compressor.codec.train import Recipe

MOST_SEED = 2**32 - 1
bench = typer.Typer(no_args_is_help=True, help="Measure Percel on your own material.")


@bench.command("codec")
def bench_codec(
    text: Annotated[
        list[Path], typer.Option(help="UTF-8 text to measure on; repeat for more.", exists=True, dir_okay=False)
    ],
    codec: Annotated[str, typer.Option(help="native-10, -20, -40, -80 or a fingerprint.")] = "native-20",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Rate, fidelity, bytes and speed of a codec on any text."""
    from compressor.codec.measure import measure
    from compressor.codec.native import load_codec
    from compressor.embed import reference_counter

    output = Output(as_json)
    texts = [path.read_text("utf-8", errors="replace") for path in text]
    if not any(map(str.strip, texts)):
        raise usage("the files hold no text to measure")
    with output.status("encoding and reading back"):
        figures = measure(load_codec(codec, device=device), texts, reference_counter())
    output.document(asdict(figures))
    rows = [
        ("characters", figures.chars),
        ("text tokens", figures.text_tokens),
        ("vision tokens", figures.vision_tokens),
        ("text tokens per vision token", Figure(f"{figures.ratio:.1f}, each {figures.token_width} numbers wide")),
        ("characters read right, before the residual", share(figures.raw_char_accuracy)),
        ("words", share(figures.word_precision)),
        ("numbers", share(figures.numbers_exact)),
        ("ids", share(figures.ids_exact)),
        ("residual", Figure(f"{figures.residual_bytes:,} bytes, {figures.residual_share:.2%} of the text")),
        ("exact after the residual", figures.exact),
        ("cache bytes per 1,000 text tokens", Figure(f"{figures.cache_bytes_per_1000_text_tokens:,.0f}")),
        ("encode and verify", Figure(f"{figures.encode_chars_per_s:,.0f} characters/s")),
        ("read", Figure(f"{figures.read_chars_per_s:,.0f} characters/s")),
    ]
    output.table(("figure", figures.codec), rows)
    if not as_json:
        output.console.print(
            "A cache takes more bytes than text zipped in the same way; what it saves is decoder positions."
        )
    if not figures.exact:
        raise typer.Exit(Exit.FAILED)


def train_codec(
    text: Annotated[
        list[Path],
        typer.Option(
            help="Training text: .jsonl[.xz] with kind and text a line, or plain files.", exists=True, dir_okay=False
        ),
    ],
    rate: Annotated[
        int | None, typer.Option(help="Only this one, on the rates below that are installed; default: all, from 10 up.")
    ] = None,
    run: Annotated[Path, typer.Option(help="Checkpoints and logs, a folder a rate; what is there is resumed.")] = Path(
        "runs"
    ),
    out: Annotated[Path | None, typer.Option(help="Where the weights go; default: into the package.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: as each recipe says.", min=1)] = None,
    further: Annotated[
        bool, typer.Option("--further", help="Train the installed weights further, on your text for one.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and batches.", min=0, max=MOST_SEED)] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Trains the native codec, every rate or one; resumes, and writes weights, logs and curves."""
    import torch

    from compressor.codec.corpus import build_corpus
    from compressor.codec.train import RECIPES
    from compressor.codec.weights import DIRECTORY, RATES
    from compressor.device import choose_device

    if rate is not None and rate not in RATES:
        raise usage(f"--rate must be one of {', '.join(map(str, RATES))}")
    where = torch.device(choose_device(device))
    output = Output(as_json)
    with output.status("reading the training text"):
        corpus = build_corpus(text)
    sources = ", ".join(sorted(path.name for path in text))
    trained = []
    for level in range(len(RATES)) if rate is None else [RATES.index(rate)]:
        recipe = replace(RECIPES[level], seed=seed, steps=steps or RECIPES[level].steps)
        if further:
            recipe = recipe.trained_further()
        folder = run / f"native-{RATES[level]}"
        trained.append(_train_rate(recipe, corpus, folder, out or DIRECTORY, sources, where, output))
    output.document({"rates": trained})
    if not as_json:
        for facts in trained:
            output.console.print("\n".join(f"{name:<10} {fact}" for name, fact in facts.items()))


def _train_rate(
    recipe: "Recipe", corpus: "Corpus", run: Path, out: Path, sources: str, device: "torch.device", output: Output
) -> dict[str, str]:
    from compressor.codec.book import write_book
    from compressor.codec.curve import draw_curve
    from compressor.codec.glyphs import LEVELS, write_glyphs
    from compressor.codec.model import Shape
    from compressor.codec.native import NativeCodec
    from compressor.codec.train import last_probe, train
    from compressor.codec.weights import RATES, load_levels, save_level

    name = f"native-{RATES[recipe.level]}"
    below = load_levels(RATES[recipe.level - 1], device, out) if recipe.level else []
    out.mkdir(parents=True, exist_ok=True)  # what is no folder is refused before the training
    with output.progress() as bars:
        bar = bars.add_task(name, total=recipe.steps, note="")

        def show(step: int, facts: dict[str, float]) -> None:
            note = "  ".join(f"{key} {value:,.4g}" for key, value in facts.items())
            bars.update(bar, completed=step, note=note)
            if not sys.stderr.isatty() and not output.as_json:
                sys.stderr.write(f"{step:>6}  {note}\n")

        level = train(
            recipe,
            corpus,
            run,
            shape=below[0].shape if below else Shape(),
            below=below,
            start=load_levels(RATES[recipe.level], device, out)[-1] if recipe.further else None,
            device=device,
            progress=show,
        )
    path = save_level(level, level.shape, recipe.level, sources=sources, held_out=last_probe(run), directory=out)
    codec = NativeCodec(RATES[recipe.level], load_levels(RATES[recipe.level], device, out), device, out)
    glyphs = write_glyphs(codec, recipe.level, out) if recipe.level in LEVELS else None
    with output.status("learning what its tokens have in common"):
        book = write_book(codec, corpus, out, seed=recipe.seed)
    plot = draw_curve(run / "log.jsonl", run / "curve.png", name)
    return {
        "codec": name,
        "weights": str(path),
        "book": str(book),
        **({"glyphs": str(glyphs)} if glyphs else {}),
        "log": str(run / "log.jsonl"),
        "curve": str(plot),
    }
