"""Owns `percel demo`: the main job on examples/, shown from end to end."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli.documents import AsJson, ingest_files, open_resources, show_reports
from api.cli.output import Exit, Output
from api.cli.questions import show_answer

EXAMPLES = Path(__file__).parents[2] / "examples"
COLLECTION = "demo"


def demo(
    examples: Annotated[Path, typer.Option(help="Folder with corpus/ and questions.json.", exists=True)] = EXAMPLES,
    keep: Annotated[
        bool, typer.Option(help="Keep the collection 'demo' in PERCEL_HOME; else a scratch home is used.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ingests examples/, asks its questions, and prints answers, citations and compression figures."""
    from api.answer import ask
    from api.library import files_below

    output = Output(as_json)
    questions = json.loads((examples / "questions.json").read_text("utf-8"))
    answers = []
    with (
        tempfile.TemporaryDirectory(prefix="percel-demo-") as scratch,
        open_resources(home=None if keep else Path(scratch)) as resources,
    ):
        output.console.print(f"[bold]Ingesting[/] {examples.name}/corpus")
        reports = ingest_files(resources, COLLECTION, list(files_below([examples / "corpus"])), output)
        show_reports(output, reports, COLLECTION, as_document=False)
        for item in questions:
            answer = ask(resources, resources.settings.tenant, item["question"], collection=COLLECTION)
            found = answer.abstained if item["answer"] is None else item["answer"] in answer.answer
            answers.append({"question": item["question"], "expected": item["answer"], "found": found, **asdict(answer)})
            show_answer(output, answer, question=item["question"])
    output.document({"documents": [asdict(report) for report in reports], "answers": answers})
    right = sum(bool(answer["found"]) for answer in answers)
    output.console.print(f"\n{right} of {len(questions)} questions were answered as expected.")
    if any(report.state != "ready" for report in reports):
        raise typer.Exit(Exit.FAILED)
