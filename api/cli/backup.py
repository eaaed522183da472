"""Owns the commands that move a whole store: migrate, backup, restore."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli.documents import AsJson, open_resources
from api.cli.output import Exit, Output, size, step_bars

File = Annotated[Path, typer.Argument(help="The backup, one file.")]


def migrate(as_json: AsJson = False) -> None:
    """Brings the database to this program's schema, and says from where to where."""
    from store.database import migrate as migrate_database
    from store.database import open_database, schema_revisions

    output = Output(as_json)
    with open_resources() as resources:
        settings = resources.settings
    engine = open_database(settings.database)
    try:
        before = schema_revisions(engine)
        migrate_database(engine)
    finally:
        engine.dispose()
    output.document({"from": before.found, "to": before.wanted, "changed": before.found != before.wanted})
    if before.found == before.wanted:
        output.console.print(f"The schema is at {before.wanted}, as this program needs it.")
    else:
        output.console.print(f"The schema went from {before.found or 'none'} to {before.wanted}.")


def backup(file: File, as_json: AsJson = False) -> None:
    """Writes rows and blobs of every tenant to one new file, while the service runs.

    It holds keys' hashes, webhook secrets and readable documents: protect it like them. Exit code 1 if a blob that rows
    name is lost.
    """
    from store.backup import write_backup
    from store.database import open_database

    output = Output(as_json)
    with open_resources() as resources, output.progress() as bars:
        engine = open_database(resources.settings.database)  # as it is: taking a backup migrates nothing
        try:
            manifest = write_backup(engine, resources.blobs, file, progress=step_bars(bars))
        finally:
            engine.dispose()
    written = file.stat().st_size
    output.document({"file": str(file), "bytes": written, **asdict(manifest)})
    output.console.print(
        f"{file}: {size(written)}, schema {manifest.revision}, {manifest.rows['document']:,} documents, "
        f"{manifest.blobs:,} blobs.",
        soft_wrap=True,
    )
    if manifest.lost_blobs:
        output.console.print(
            f"{len(manifest.lost_blobs)} blobs are lost or damaged in the store, and not in the backup: "
            "`percel doctor --deep` names their documents."
        )
        raise typer.Exit(Exit.FAILED)


def restore(
    file: File,
    replace: Annotated[bool, typer.Option("--replace", help="Give up everything that the store holds now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Puts a backup into an empty store, of whichever kind of database; full text and indexes are made anew.

    Stop API and workers first. Every checksum is verified before anything is changed.
    """
    from api.rebuild import forget_index_files, rebuild_views
    from store.restore import restore_backup
    from store.sweep import sweep_blobs

    output = Output(as_json)
    with output.progress() as bars:
        progress = step_bars(bars)
        with open_resources() as resources:
            manifest = restore_backup(resources.engine, resources.blobs, file, replace=replace, progress=progress)
            forget_index_files(resources)
        with open_resources() as resources:  # afresh: nothing is kept in memory of the rows before
            faults = rebuild_views(resources, progress)
            sweep_blobs(resources.engine, resources.blobs)  # last, as a blob may refuse to go
    output.document({"file": str(file), **asdict(manifest), "faults": faults})
    output.console.print(
        f"{manifest.rows['document']:,} documents and {manifest.blobs:,} blobs are back, as of schema "
        f"{manifest.revision}; full text and indexes were made anew. `percel doctor` checks them."
    )
    if manifest.lost_blobs or faults:
        for fault in faults[:1]:  # all may have the same one
            output.console.print(f"{len(faults)} documents got no full text. {fault}", soft_wrap=True)
        output.console.print(
            f"{len(manifest.lost_blobs)} blobs were lost or damaged before the backup was taken. "
            "`percel doctor --repair` makes anew what it can and names the rest."
        )
        raise typer.Exit(Exit.FAILED)
