"""Owns the commands about documents: ingest, ls, status, read, rm."""

import os
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.output import JSON_HELP, Exit, Figure, Output, by_rate, share, size, usage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from api.library import DocumentReport
    from store.models import Document
    from workers.events import Event, Listener
    from workers.resources import Resources

Collection = Annotated[
    str | None, typer.Option("--collection", "-c", help="The knowledge base; default: PERCEL_COLLECTION or 'default'.")
]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; folders are walked, hidden files left out.")],
    collection: Collection = None,
    codec: Annotated[
        str | None, typer.Option(help="The highest rate: native-10 ... or auto; default: PERCEL_CODEC.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ingests files and folders: parse, encode, verify, index. Resumes an earlier run; the same bytes cost nothing.

    A file is known by its path: with new bytes it becomes a new version, and the old one goes when that is ready.
    """
    from api.library import files_below

    output = Output(as_json)
    with open_resources(codec=codec) as resources:
        name = checked_name(collection or resources.settings.collection)
        files = list(files_below(paths))
        if not files:
            raise FileNotFoundError(f"there is no file below {', '.join(map(str, paths))}; hidden ones are left out")
        reports = ingest_files(resources, name, files, output)
    show_reports(output, reports, name)
    if any(report.state != "ready" for report in reports):
        raise typer.Exit(Exit.FAILED)


def checked_name(collection: str) -> str:
    """The name itself. Raises a usage error for one that no address over HTTP could hold."""
    from pydantic import TypeAdapter, ValidationError

    from api.schemas import Name

    try:
        return TypeAdapter[str](Name).validate_python(collection)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise usage(f"{collection!r} is no name for a collection: {said}") from None


def open_resources(*, codec: str | None = None, decoder: str | None = None, home: Path | None = None) -> "Resources":
    """Settings from the environment and the command line; opens nothing yet."""
    from workers.logs import configure
    from workers.resources import Resources
    from workers.settings import load_settings

    given = {"codec": codec, "decoder": decoder}
    if home is not None:  # a home of its own has its own database
        given |= {"home": str(home), "database_url": ""}
    settings = load_settings({name: value for name, value in given.items() if value is not None})
    configure(settings)
    return Resources(settings, brief=True)


def ingest_files(resources: "Resources", collection: str, files: list[Path], output: Output) -> "list[DocumentReport]":
    """Accepts files and works until all are ready or failed; a file that cannot be accepted is reported as failed."""
    from api.library import DocumentReport, report
    from compressor.errors import DocumentError
    from store import catalog
    from store.database import reading
    from store.errors import BlobTooLarge
    from workers.events import Event, Stage
    from workers.ingest import Offer, accept
    from workers.runner import run_due_jobs

    refused: list[DocumentReport] = []
    ids: dict[Path, str] = {}
    with output.progress() as bars:
        listen = stage_bars(bars)
        listen(Event(Stage.ACCEPT, "", "", due=len(files)))
        for path in files:
            title = os.fsencode(path.name).decode("utf-8", "replace")  # a name may be no Unicode at all
            known_as = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
            try:
                accepted = accept(
                    resources, resources.settings.tenant, collection, Offer(path, title, external_id=known_as)
                )
                ids[path] = accepted.document.id
                listen(Event(Stage.PARSE, ids[path], title, due=int(accepted.job is not None)))
            except (DocumentError, BlobTooLarge, OSError) as error:  # a full disk is neither: it stops the run
                refused.append(DocumentReport(id="", title=title, state="failed", error=str(error)))
            listen(Event(Stage.ACCEPT, "", title, done=1))
        run_due_jobs(resources, listen)
    with reading(resources.engine) as session:
        documents = [catalog.load_document(session, ids[path]) for path in files if path in ids]
    return report(resources, [document for document in documents if document is not None]) + refused


def stage_bars(bars: "Progress") -> "Listener":
    """A listener that shows a bar for each stage that has something to do."""
    tasks: dict[str, TaskID] = {}
    totals: dict[str, int] = {}
    one_at_a_time = threading.Lock()  # events come from both lanes of the runner

    def listen(event: "Event") -> None:
        with one_at_a_time:
            if event.stage not in tasks:
                tasks[event.stage] = bars.add_task(event.stage, total=0, note="")
            totals[event.stage] = totals.get(event.stage, 0) + event.due
            done = event.done or (1 if event.error else 0)
            bars.update(tasks[event.stage], total=totals[event.stage], advance=done, note=event.title[:40])

    return listen


def show_reports(output: Output, reports: "list[DocumentReport]", collection: str, *, as_document: bool = True) -> None:
    """The table of documents with its sums; as the JSON document too unless told otherwise."""
    if as_document:
        output.document({"collection": collection, "documents": [asdict(report) for report in reports]})
    columns: tuple[str, ...] = ("document", "state", "chunks", "text", "vision", "ratio", "raw", "cache")
    rows: list[tuple[object, ...]] = []
    for r in reports:
        ratio = Figure("-" if r.compression is None else f"{r.compression:.1f}x")
        cache = Figure("-") if r.cache_bytes is None else size(r.cache_bytes)
        text = Figure("-" if r.text_tokens is None else f"{r.text_tokens:,}")
        positions = Figure("-" if r.vision_tokens is None else f"{r.vision_tokens:,}")
        figures = (_chunks(r), text, positions, ratio, share(r.raw_char_accuracy), cache)
        rows.append((_shortened(_printable(r.title), 24), r.state, *figures))
    if len({r.title for r in reports}) < len(reports):  # what tells them apart is shown only where it must be
        columns = ("id", *columns)
        rows = [(r.id[:8], *row) for r, row in zip(reports, rows, strict=True)]
    output.table(
        columns,
        rows,
        title="chunks: how many at which rate, text: text tokens, vision: vision tokens, raw: characters right before "
        "the residual",
    )
    for r in reports:
        if r.error:
            output.console.print(f"[red]failed[/]  {_escape(_about(r.title, r.error))}", soft_wrap=True)
        for warning in r.warnings:
            output.console.print(f"[yellow]note[/]    {_escape(_about(r.title, warning))}", soft_wrap=True)
    ready = [r for r in reports if r.state == "ready"]
    if ready:
        tokens = sum(r.text_tokens or 0 for r in ready)
        positions_sum = sum(r.vision_tokens or 0 for r in ready)
        stored = size(sum(r.cache_bytes or 0 for r in ready))
        output.console.print(
            f"{len(ready)} of {len(reports)} documents ready in '{_escape(collection)}': {tokens:,} text tokens in "
            f"{positions_sum:,} vision tokens ({tokens / max(1, positions_sum):.1f}x), {stored} of caches, all read "
            "back exactly."
        )


def _about(title: str, said: str) -> str:
    """What is said of a document, with its title once: most errors and warnings begin with it."""
    printable = _printable(title)
    return said if said.startswith(printable) else f"{printable}: {said}"


def _printable(title: str) -> str:
    """A title on one line that does nothing to a terminal: a file may have any name."""
    from compressor.parse.source import display_name

    return display_name(title)


def _chunks(report: "DocumentReport") -> Figure:
    """Chunks by rate; how many there are to be, before they have one."""
    known = by_rate(report.rates)
    return known if known.text else Figure("-" if report.chunks is None else f"{report.chunks:,}")


def _shortened(title: str, length: int) -> str:
    """The title with its middle left out: the end of a file name says what it is."""
    half = length // 2
    return title if len(title) <= length else f"{title[: half - 1]}…{title[-half:]}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def list_(collection: Collection = None, as_json: AsJson = False) -> None:
    """Lists the documents of a collection with their figures."""
    from api.library import documents_of, report

    with open_resources() as resources:
        name = collection or resources.settings.collection
        show_reports(Output(as_json), report(resources, documents_of(resources, resources.settings.tenant, name)), name)


def status(as_json: AsJson = False) -> None:
    """What is stored and what is due: collections, documents and jobs by state."""
    from store import catalog
    from store.database import reading

    output = Output(as_json)
    with open_resources() as resources:
        with reading(resources.engine) as session:
            stats = catalog.store_stats(session, resources.settings.tenant)
            collections = [
                (home.name, catalog.count_documents(session, home.id)[0], catalog.collection_figures(session, home.id))
                for home in catalog.list_collections(session, resources.settings.tenant)
            ]
        home = resources.settings.home
    jobs = [{"kind": kind, "state": state, "count": count} for (kind, state), count in stats.jobs.items()]
    rows = [
        {
            "name": name,
            "documents": documents,
            "chunks": sum(part.chunks for part in figures if part.exact),
            "text_tokens": sum(part.text_tokens for part in figures if part.exact),
            "vision_tokens": sum(part.vision_tokens for part in figures if part.exact),
            "cache_bytes": sum(part.cache_bytes for part in figures),
        }
        for name, documents, figures in collections
    ]
    output.document(
        {"home": str(home), "collections": rows, "documents": stats.documents, "jobs": jobs, "vectors": stats.vectors}
    )
    output.console.print(f"home {home}")
    if not rows:
        output.console.print("Nothing is here yet: `percel ingest PATH` adds documents, `percel demo` shows how.")
        return
    output.table(
        ("collection", "documents", "chunks", "text tokens", "vision tokens", "caches"),
        [(*(row[key] for key in list(row)[:-1]), size(int(str(row["cache_bytes"])))) for row in rows],
    )
    due = [job for job in jobs if job["state"] in ("queued", "running")]
    for job in due:
        output.console.print(f"{job['count']} {job['kind']} jobs {job['state']}")
    if not due:
        output.console.print("No work is due.")


def read(
    document: Annotated[str, typer.Argument(help="An id, the beginning of one, or a title.")],
    chunk: Annotated[int | None, typer.Option(help="Only this chunk, from 0.", min=0)] = None,
    png: Annotated[Path | None, typer.Option(help="Write the chunk's image here, as the encoder sees it.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="With headings, bold, italic, code and links.")] = False,
    rate: Annotated[
        int | None, typer.Option(help="As this rate reads it out of merged tokens, the residual left out.")
    ] = None,
    collection: Collection = None,
    as_json: AsJson = False,
) -> None:
    """Prints a document's text, read out of its caches; --png draws a chunk, --rate shows what that rate reads."""
    import sys

    from api.errors import NothingToRead
    from api.library import TextFormat, read_document, read_styled, resolve_document
    from store.models import DocumentState

    if png is not None and chunk is None:
        raise usage("--png needs --chunk: an image holds one chunk")
    if rate is not None:
        _check_rate(rate, styled=markdown or png is not None)
    if png is not None and (png.is_dir() or not png.parent.is_dir()):
        raise usage(f"--png names no file that can be written: {png}")
    output = Output(as_json)
    with open_resources() as resources:
        found = resolve_document(
            resources, resources.settings.tenant, collection or resources.settings.collection, document
        )
        if found.state is DocumentState.FAILED:
            raise NothingToRead(found.title, found.error)
        if rate is not None:
            show_merged(resources, found, chunk, rate, output)
            return
        texts = read_document(resources, found, chunk, format=TextFormat.MARKDOWN if markdown else TextFormat.TEXT)
        if png is not None:
            from api.images import chunk_image

            (drawn,) = read_styled(resources, found, chunk)
            png.write_bytes(chunk_image(drawn.text, drawn.styles))
    first = chunk or 0
    chunks = [{"chunk": first + index, "text": text} for index, text in enumerate(texts)]
    output.document({"id": found.id, "title": found.title, "chunks": chunks, "png": None if png is None else str(png)})
    if not as_json:
        sys.stdout.write(("\n\n" if markdown else "\n").join(texts) + "\n")


def _check_rate(rate: int, *, styled: bool) -> None:
    from compressor.codec.weights import RATES

    if styled:
        raise usage("--rate shows plain text: leave out --markdown and --png")
    if rate not in RATES:
        raise usage(f"--rate must be one of {', '.join(map(str, RATES))}")


def show_merged(resources: "Resources", document: "Document", chunk: int | None, rate: int, output: Output) -> None:
    """Chunks as a rate reads them, wrong characters in red, and how many there are."""
    import sys

    from rich.text import Text

    from api.merged import read_merged

    facts = []
    for merged in read_merged(resources, document, chunk, rate):
        facts.append(
            {
                "chunk": merged.chunk,
                "rate": merged.rate,
                "vision_tokens": merged.vision_tokens,
                "wrong": merged.wrong,
                "characters": len(merged.exact),
                "text": merged.text,
            }
        )
        if output.console.is_terminal:
            shown = Text(merged.text)
            for place, (read, true) in enumerate(zip(merged.text, merged.exact, strict=False)):
                if read != true:
                    shown.stylize("bold red reverse", place, place + 1)
            output.console.print(shown, soft_wrap=True)
        elif not output.as_json:  # as it is read: a console writes tabs as spaces
            sys.stdout.write(merged.text + "\n")
        output.console.print(
            f"[dim]chunk {merged.chunk}: native-{merged.rate} reads {len(merged.exact) - merged.wrong:,} of "
            f"{len(merged.exact):,} characters right out of {merged.vision_tokens:,} tokens[/]",
            soft_wrap=True,
        )
    output.document({"id": document.id, "title": document.title, "chunks": facts})


def remove(
    documents: Annotated[list[str] | None, typer.Argument(help="Ids, beginnings of ids, or titles.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="The whole collection named by -c.")] = False,
    collection: Collection = None,
    as_json: AsJson = False,
) -> None:
    """Deletes documents, or with --whole a collection: rows, caches, vectors and full text."""
    from api.library import remove_collection, remove_document, resolve_document

    if whole == bool(documents):
        raise usage("name documents, or a collection with -c NAME --whole")
    if whole and collection is None:
        raise usage("--whole needs the collection by name: -c NAME")
    output = Output(as_json)
    with open_resources() as resources:
        if whole and collection is not None:
            count = remove_collection(resources, resources.settings.tenant, collection)
            output.document({"collection": collection, "removed": count})
            output.console.print(f"removed '{_escape(collection)}' with {count} documents")
            return
        home = collection or resources.settings.collection
        named = (
            resolve_document(resources, resources.settings.tenant, home, name, only=True) for name in documents or []
        )
        found = list({document.id: document for document in named}.values())  # named twice it goes once
        for document in found:
            remove_document(resources, document.id)
            output.console.print(f"removed {_escape(_printable(document.title))} ({document.id})", soft_wrap=True)
    output.document({"removed": [{"id": document.id, "title": document.title} for document in found]})
