"""Owns the commands that ask: ask and search."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from api.cli.documents import AsJson, Collection, open_resources
from api.cli.output import Exit, Output

if TYPE_CHECKING:
    from api.answer import AnswerReport


def ask(
    question: Annotated[str, typer.Argument(help="A question, in the language of the documents.")],
    collection: Collection = None,
    decoder: Annotated[str | None, typer.Option(help="What answers: extractive. Default: PERCEL_DECODER.")] = None,
    k: Annotated[int, typer.Option("-k", help="Chunks to load.", min=1, max=1000)] = 8,
    whole: Annotated[bool, typer.Option("--whole", help="Load the whole collection instead of searching it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answers a question out of the caches, with verbatim quotes, pages and boxes. Exit code 4 if nothing fits."""
    from api.answer import ask as ask_collection

    output = Output(as_json)
    with output.status("reading the caches"), open_resources(decoder=decoder) as resources:
        answer = ask_collection(resources, resources.settings.tenant, question, collection=collection, k=k, whole=whole)
    output.document(asdict(answer))
    show_answer(output, answer)
    if answer.abstained:
        raise typer.Exit(Exit.NO_ANSWER)


def show_answer(output: Output, answer: "AnswerReport", *, question: str | None = None) -> None:
    """An answer as people read it: the quotes, where they stand, and what was loaded."""
    console = output.console
    if question is not None:
        console.print(Text.assemble("\n", ("? ", "bold cyan"), (question, "bold")))
    if answer.abstained:
        console.print(Text("  Nothing in the collection answers this.", style="yellow"))
    for citation in answer.citations:
        console.print(Padding(Text(citation.quote.strip()), (0, 0, 0, 2)))
        boxes = " ".join(f"[{b.x0:.2f} {b.y0:.2f} {b.x1:.2f} {b.y1:.2f}]" for b in citation.boxes[:2])
        console.print(Text(f"    {citation.title}, page {citation.page}  {boxes}", style="dim"))
    context = answer.context
    console.print(
        Text(
            f"    {context.chunks} chunks loaded: {context.vision_tokens:,} vision tokens for "
            f"{context.text_tokens:,} text tokens, {answer.timings['total']:.2f} s",
            style="dim",
        )
    )


def search(
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    collection: Collection = None,
    k: Annotated[int, typer.Option("-k", help="Chunks to return.", min=1, max=1000)] = 8,
    as_json: AsJson = False,
) -> None:
    """Finds chunks by meaning and words together; prints the best passage of each."""
    from api.answer import search as search_collection

    output = Output(as_json)
    with output.status("searching"), open_resources() as resources:
        hits = search_collection(resources, resources.settings.tenant, query, collection=collection, k=k)
    output.document({"hits": [asdict(hit) for hit in hits]})
    for rank, hit in enumerate(hits, 1):
        where = f"{hit.title}, page {hit.page}" + (f", {hit.heading}" if hit.heading else "")
        output.console.print(
            Text.assemble(f"{rank:>3}  ", (where, "bold"), (f"  {hit.document_id[:8]}/{hit.chunk}", "dim"))
        )
        output.console.print(Padding(Text(" ".join(hit.text.split())), (0, 0, 0, 5)))
    if not hits:
        output.console.print("Nothing fits: the collection has no documents, or none with such words.")
