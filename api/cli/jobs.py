"""Owns the commands about dead jobs: list, requeue, delete."""

from dataclasses import asdict
from typing import Annotated

import typer

from api.cli.documents import AsJson, open_resources
from api.cli.output import Output

app = typer.Typer(no_args_is_help=True, help="Dead jobs: those whose attempts are used up.")

JobId = Annotated[int, typer.Argument(help="A dead job's id.", max=2**63 - 1)]


@app.command("ls")
def list_(as_json: AsJson = False) -> None:
    """Lists dead jobs with what went wrong last."""
    from store import catalog
    from store.database import reading

    output = Output(as_json)
    with open_resources() as resources, reading(resources.engine) as session:
        dead = catalog.dead_jobs(session, resources.settings.tenant, limit=1000)
    output.document({"dead": [asdict(job) for job in dead]})
    rows = [(job.id, job.kind.value, job.title, job.attempts, job.last_error or "") for job in dead]
    output.table(("id", "stage", "document", "attempts", "error"), rows)
    if not dead:
        output.console.print("No job is dead.")


@app.command()
def requeue(job: JobId, as_json: AsJson = False) -> None:
    """Tries a dead job's document again."""
    from store import catalog
    from store.database import transaction

    output = Output(as_json)
    with open_resources() as resources:
        with transaction(resources.engine) as session:
            due = catalog.requeue_dead_job(session, resources.settings.tenant, job)
        resources.wake(due.kind)
    output.document({"requeued": job})
    output.console.print(f"job {job} is due again; `percel worker` (or the service) does it")


@app.command()
def delete(job: JobId, as_json: AsJson = False) -> None:
    """Forgets a dead job; its document stays failed."""
    from store import catalog
    from store.database import transaction

    output = Output(as_json)
    with open_resources() as resources, transaction(resources.engine) as session:
        catalog.delete_dead_job(session, resources.settings.tenant, job)
    output.document({"deleted": job})
    output.console.print(f"job {job} is forgotten")
