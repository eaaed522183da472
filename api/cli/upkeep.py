"""Owns the command that checks and repairs: doctor."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli.documents import AsJson, open_resources, stage_bars
from api.cli.output import Exit, Figure, Output


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte and every cache back.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; damaged caches are made anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Checks models, rows, blobs, caches and indexes of every tenant; --repair mends them.

    Exit code 1 if something stays wrong.
    """
    from api.upkeep import examine

    output = Output(as_json)
    with open_resources() as resources, output.progress() as bars:
        findings = examine(resources, deep=deep, repair=repair, listen=stage_bars(bars))
    output.document({"findings": [asdict(finding) for finding in findings]})
    state = {True: "ok", False: "WRONG"}
    output.table(
        ("check", "state", "detail"),
        [(f.check, Figure("mended" if f.repaired else state[f.ok]), f.detail) for f in findings],
    )
    if not all(finding.ok for finding in findings):
        if not repair:
            output.console.print("`percel doctor --repair` mends what can be mended.")
        raise typer.Exit(Exit.FAILED)
