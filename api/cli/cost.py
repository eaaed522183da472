"""Owns the command that reckons: cost."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli.documents import AsJson, Collection, open_resources
from api.cli.output import Figure, Output, size


def cost(
    questions: Annotated[Path, typer.Argument(help="A file of questions: one a line, or JSON.", exists=True)],
    collection: Collection = None,
    k: Annotated[int, typer.Option("-k", help="Chunks that a search loads.", min=1, max=1000)] = 8,
    prices: Annotated[Path | None, typer.Option(help="A price sheet (TOML) in the place of Percel's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compares answering questions by full text, by text RAG and by caches: positions, FLOPs, bytes and money."""
    from api.cost import read_questions, reckon
    from api.prices import load_prices

    output = Output(as_json)
    sheet = load_prices(prices)
    asked = read_questions(questions)
    with output.status("searching"), open_resources() as resources:
        report = reckon(resources, resources.settings.tenant, asked, sheet, collection=collection, k=k)
    output.document(asdict(report))
    columns = ("way", "positions", "longest", "prefill FLOPs", "keys and values", "stored", f"{report.currency}/month")
    models = [f"{report.currency} {money.model}" for money in report.ways[0].money]
    output.table(
        (*columns, *models),
        [
            (
                way.name,
                Figure(f"{way.positions:,}"),
                Figure(f"{way.longest:,}"),
                Figure(f"{way.prefill_flops:.2e}"),
                size(way.kv_bytes),
                size(way.stored_bytes),
                Figure(f"{way.stored_month:.6f}"),
                *(Figure(f"{money.amount:.4f}") for money in way.money),
            )
            for way in report.ways
        ],
        title=f"{report.questions} questions of '{report.collection}', {report.k} chunks each",
    )
    console = output.console
    console.print(f"FLOPs, keys and values are those of {report.decoder}. Answers are left out.")
    console.print("A vision token is priced as a text token.")
    for line in report.prices:
        console.print(line, style="dim")
