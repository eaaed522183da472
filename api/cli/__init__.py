"""Owns the `percel` command: which commands there are, and how their errors end."""

import os
import sys
from contextlib import suppress

import typer
from typer._click.exceptions import ClickException

from api.cli import backup, codec, cost, demo, documents, jobs, keys, questions, render, service, upkeep

app = typer.Typer(
    name="percel",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Documents become vision-token caches; questions are answered out of them, with quotes and pages.\n\n"
        "Exit codes: 0 done, 1 something failed, 2 wrong usage or settings, 3 not found, 4 no answer. "
        "Settings are environment variables, PERCEL_HOME and others: see the README."
    ),
)
# Panels of the help.
START, DOCUMENTS, QUESTIONS = "Start here", "Documents", "Questions"
REMEDY = "set PYTHONIOENCODING=utf-8"
SERVICE, CODEC = "Service and upkeep", "Codec"
app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(documents.ingest)
app.command(rich_help_panel=START)(questions.ask)
app.command("ls", rich_help_panel=DOCUMENTS)(documents.list_)
app.command(rich_help_panel=DOCUMENTS)(documents.read)
app.command("rm", rich_help_panel=DOCUMENTS)(documents.remove)
app.command(rich_help_panel=DOCUMENTS)(documents.status)
app.command(rich_help_panel=QUESTIONS)(questions.search)
app.command(rich_help_panel=QUESTIONS)(questions.context)
app.command(rich_help_panel=QUESTIONS)(cost.cost)
app.command(rich_help_panel=SERVICE)(service.serve)
app.command(rich_help_panel=SERVICE)(service.worker)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVICE)
app.add_typer(jobs.app, name="jobs", rich_help_panel=SERVICE)
app.command(rich_help_panel=SERVICE)(upkeep.doctor)
app.command(rich_help_panel=SERVICE)(backup.migrate)
app.command(rich_help_panel=SERVICE)(backup.backup)
app.command(rich_help_panel=SERVICE)(backup.restore)
app.add_typer(codec.bench, name="bench", rich_help_panel=CODEC)
app.command("train-codec", rich_help_panel=CODEC)(codec.train_codec)
app.command("tune-render", rich_help_panel=CODEC)(render.tune_render)


def main() -> None:
    """Runs the command; an error that is meant for people ends in one line and an exit code."""
    from api.cli.output import print_error
    from api.errors import exit_code

    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # what is held back could else fail after the end, where nothing can be said in one line
    except BrokenPipeError:  # whoever read the output has enough
        code = 1
    except typer.Exit as ended:
        code = ended.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except ClickException as error:
        code = error.exit_code
        if as_json:
            print_error(error, as_json=True)
        else:
            error.show()
    except UnicodeEncodeError as error:  # of a terminal or pipe that is told to be something else than UTF-8
        code = 1
        print_error(
            ValueError(f"the output is {error.encoding}, which lacks characters of this text: {REMEDY}"), as_json=False
        )
    except Exception as error:
        known = exit_code(error)
        if known is None:
            raise
        code = known
        print_error(error, as_json=as_json)
    _let_go_of_output()
    sys.exit(code if isinstance(code, int) else 0)


def _let_go_of_output() -> None:
    """What cannot be written is dropped: Python would try again at the end, and say so in words of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
