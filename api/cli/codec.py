"""Owns the commands about the codec itself: `bench codec`, `train-codec`."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import JSON_HELP, Exit, Figure, Output, share, usage

bench = typer.Typer(no_args_is_help=True, help="Measure Percel on your own material.")


@bench.command("codec")
def bench_codec(
    text: Annotated[
        list[Path], typer.Option(help="UTF-8 text to measure on; repeat for more.", exists=True, dir_okay=False)
    ],
    codec: Annotated[str, typer.Option(help="native-10, native-20, ... or a fingerprint.")] = "native-20",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Rate, fidelity, bytes and speed of a codec on any text."""
    from compressor.codec.measure import measure
    from compressor.codec.native import load_codec
    from compressor.embed import reference_counter

    output = Output(as_json)
    texts = [path.read_text("utf-8", errors="replace") for path in text]
    if not any(texts):
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
        output.console.print("A cache takes more bytes than zipped text; what it saves is decoder positions.")
    if not figures.exact:
        raise typer.Exit(Exit.FAILED)


def train_codec(
    text: Annotated[
        list[Path],
        typer.Option(
            help="Training text: .jsonl[.xz] with kind and text a line, or plain files.", exists=True, dir_okay=False
        ),
    ],
    rate: Annotated[int, typer.Option(help="10 from scratch; 20, 40, 80 as an octave on the rate below.")] = 10,
    run: Annotated[Path | None, typer.Option(help="Checkpoints and log; a run that is there is resumed.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the weights go; default: into the package.")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: as the committed weights.", min=1)] = None,
    further: Annotated[
        bool, typer.Option("--further", help="Train the installed weights of this rate further, on your text for one.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Trains one rate of the native codec; resumes, and writes its weights, log and curve."""
    import torch

    from compressor.codec.corpus import build_corpus
    from compressor.codec.curve import draw_curve
    from compressor.codec.model import Shape
    from compressor.codec.train import RECIPES, train
    from compressor.codec.weights import DIRECTORY, RATES, load_levels, save_level
    from compressor.device import choose_device

    if rate not in RATES:
        raise usage(f"--rate must be one of {', '.join(map(str, RATES))}")
    level = RATES.index(rate)
    recipe = replace(RECIPES[level], seed=seed, steps=steps or RECIPES[level].steps)
    if further:
        recipe = recipe.trained_further()
    run = run or Path("runs") / f"native-{rate}"
    out = out or DIRECTORY
    where = torch.device(choose_device(device))
    output = Output(as_json)
    below = load_levels(RATES[level - 1], where, out) if level else None
    start = load_levels(rate, where, out).top if further else None
    with output.status("reading the training text"):
        corpus = build_corpus(text)
    with output.progress() as bars:
        bar = bars.add_task(f"native-{rate}", total=recipe.steps, note="")

        def show(step: int, facts: dict[str, float]) -> None:
            note = "  ".join(f"{name} {value:,.4g}" for name, value in facts.items())
            bars.update(bar, completed=step, note=note)
            if not sys.stderr.isatty() and not as_json:
                sys.stderr.write(f"{step:>6}  {note}\n")

        shape = below.shape if below else Shape()
        frozen = (below.base, below.octaves) if below else None
        trained = train(
            recipe,
            corpus,
            run,
            shape=shape,
            below=frozen,
            start=start,
            device=where,
            progress=show,
        )
    path = save_level(trained, trained.shape, level, ", ".join(sorted(path.name for path in text)), out)
    plot = draw_curve(run / "log.jsonl", run / "curve.png", f"native-{rate}")
    output.document(
        {"codec": f"native-{rate}", "weights": str(path), "log": str(run / "log.jsonl"), "curve": str(plot)}
    )
    if not as_json:
        output.console.print(f"weights {path}\nlog     {run / 'log.jsonl'}\ncurve   {plot}")
