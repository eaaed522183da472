"""Owns the commands that ask: ask, search and context."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from api.cli.documents import AsJson, Collection, open_resources
from api.cli.output import Exit, Figure, Output, by_rate, size, step_bars, usage
from api.reports import CHUNKS, Question

if TYPE_CHECKING:
    from api.reports import AnswerReport
    from workers.resources import Resources


def ask(
    question: Annotated[str, typer.Argument(help="A question, in the language of the documents.")],
    collection: Collection = None,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="What answers: extractive, hf:<model>, openai:<url>, vllm:<url>#<model>. Default: PERCEL_DECODER."
        ),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="Chunks to load; default: 8.", min=1, max=1000)] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Load the whole collection instead of searching it.")] = False,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Vision tokens of pages at most, of hf: and vllm: decoders. Default: PERCEL_PAGE_TOKENS.", min=1
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answers a question out of the caches: with verbatim quotes, or in the words of a model, printed as it writes.

    Pages and boxes say where it comes from. Exit code 4 if nothing fits.
    """
    output = Output(as_json)
    _check_said(question)
    loaded = _chunks_to_load(k, whole=whole)
    with open_resources(decoder=decoder) as resources:
        asked = Question(question, resources.settings.tenant, collection, loaded, whole, budget=budget)
        answer = follow_answer(output, resources, asked)
    output.document(asdict(answer))
    show_answer(output, answer)
    if answer.abstained:
        raise typer.Exit(Exit.NO_ANSWER)


def _check_said(question: str) -> None:
    if not question.strip():
        raise usage("the question is empty")


def _chunks_to_load(k: int | None, *, whole: bool) -> int:
    if whole and k is not None:
        raise usage("--whole loads every chunk: leave out -k")
    return CHUNKS if k is None else k


def follow_answer(output: Output, resources: "Resources", asked: Question) -> "AnswerReport":
    """Asks, and prints what a model writes while it writes; quotes are shown when they are all there."""
    from api.answer import ask_steps
    from api.reports import AnswerReport
    from compressor.decoders.names import QUOTING

    steps = ask_steps(resources, asked)
    with output.status("reading the caches"):
        next(steps)
    written = resources.settings.decoder != QUOTING
    for step in steps:
        if isinstance(step, AnswerReport):
            if written:
                output.console.print()
            return step
        if written:
            output.console.print(Text(str(step)), end="")
    raise AssertionError("the whole answer comes last")


def show_answer(output: Output, answer: "AnswerReport", *, question: str | None = None) -> None:
    """An answer as people read it: the quotes, where they stand, and what was loaded."""
    console = output.console
    if question is not None:
        console.print(Text.assemble("\n", ("? ", "bold cyan"), (question, "bold")))
    if answer.abstained:
        console.print(Text("  Nothing in the collection answers this.", style="yellow"))
    elif question is not None and answer.mode != "quotes":
        console.print(Padding(Text(answer.answer), (0, 0, 0, 2)))
    for citation in answer.citations:
        if citation.quote:
            console.print(Padding(Text(citation.quote.strip()), (0, 0, 0, 2)))
        boxes = " ".join(f"[{b.x0:.2f} {b.y0:.2f} {b.x1:.2f} {b.y1:.2f}]" for b in citation.boxes[:2])
        console.print(Text(f"    {citation.title}, page {citation.page}  {boxes}", style="dim"))
    if answer.cut_off:
        console.print(Text("    The model was cut off: PERCEL_ANSWER_TOKENS allows no longer answer.", style="yellow"))
    context = answer.context
    console.print(
        Text(
            f"    {context.chunks} chunks loaded: {context.vision_tokens:,} vision tokens for "
            f"{context.text_tokens:,} text tokens, {answer.timings['total']:.2f} s" + _about_pages(answer),
            style="dim",
        )
    )


def _about_pages(answer: "AnswerReport") -> str:
    """What more there is to say of pages that a model read."""
    context = answer.context
    if answer.mode in ("text", "images"):
        return f"; {answer.decoder} was sent {answer.mode}"
    if not context.pages:
        return ""
    smaller = f", {context.smaller} of them smaller" if context.smaller else ""
    left_out = f", {context.left_out} more did not fit" if context.left_out else ""
    return f"; {answer.decoder} read {context.pages} pages ({answer.mode} attention{smaller}{left_out})"


def search(
    query: Annotated[str, typer.Argument(help="Words or a question.")],
    collection: Collection = None,
    k: Annotated[int, typer.Option("-k", help="Chunks to return.", min=1, max=1000)] = 8,
    as_json: AsJson = False,
) -> None:
    """Finds chunks by meaning and words together; prints the best passage of each."""
    from api.search import search as search_collection

    output = Output(as_json)
    _check_said(query)
    with output.status("searching"), open_resources() as resources:
        hits = search_collection(resources, resources.settings.tenant, query, collection=collection, k=k)
    output.document({"hits": [asdict(hit) for hit in hits]})
    lines = Table.grid(padding=(0, 2, 0, 0))
    for rank, hit in enumerate(hits, 1):
        where = f"{hit.title}, page {hit.page}" + (f", {hit.heading}" if hit.heading else "")
        head = Text.assemble((where, "bold"), (f"  {hit.document_id[:8]}/{hit.chunk}", "dim"))
        lines.add_row(f"{rank:>3}", head)
        lines.add_row("", Text(" ".join(hit.text.split())))
    output.console.print(lines)
    if not hits:
        output.console.print("Nothing fits: the collection has no documents, or none with such words.")


def context(
    question: Annotated[str, typer.Argument(help="A question, in the language of the documents.")],
    out: Annotated[Path, typer.Option(help="The file to write: safetensors, one tensor `tokens` in float16.")],
    collection: Collection = None,
    k: Annotated[int | None, typer.Option("-k", help="Chunks to load; default: 8.", min=1, max=1000)] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The whole collection instead of searching it.")] = False,
    budget: Annotated[
        int | None,
        typer.Option(help="Vision tokens at most: the least relevant chunks are merged to higher rates.", min=1),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes the vision tokens of the chunks that fit a question to a file, for a decoder of your own.

    Its metadata says which rows are which chunk's. It can be read back to text: protect it like the documents.
    """
    from api.context import save_context

    _check_said(question)
    loaded = _chunks_to_load(k, whole=whole)
    if out.is_dir() or not out.parent.is_dir():
        raise usage(f"--out names no file that can be written: {out}")
    output = Output(as_json)
    with open_resources() as resources, output.progress() as bars:
        asked = Question(question, resources.settings.tenant, collection, loaded, whole, budget=budget)
        saved = save_context(resources, asked, out, tell=step_bars(bars))
    output.document({"file": str(out), **asdict(saved)})
    if not saved.chunks:
        output.console.print(
            "Nothing fits, the file has no tokens: the collection has no documents, or none with such words."
        )
        return
    ratio = Figure(f"{saved.compression:.1f}x")
    figures = (len(saved.chunks), saved.vision_tokens, saved.text_tokens, ratio)
    output.table(
        ("chunks", "vision tokens", "for text tokens", "ratio", "chunks at rates", "file"),
        [(*figures, by_rate(saved.rates), size(saved.bytes))],
    )
