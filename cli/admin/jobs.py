"""Jobs of anybody."""
# ruff: noqa: PLR0913, PLR0917
# Options of a command are parameters of its function.

from typing import Annotated

import typer

from cli.admin import console
from cli.admin.common import (
    JOBS,
    AsJson,
    Because,
    Cursor,
    JobId,
    Limit,
    actor,
    because,
    checked,
    run,
    show_page,
)
from service.admin.store import Admin

app = typer.Typer()


@app.command()
def jobs(
    status: Annotated[str | None, typer.Option()] = None,
    op: Annotated[str | None, typer.Option(help="An op in the chain, with or without its version.")] = None,
    user: Annotated[str | None, typer.Option(help="Id or address of an account.")] = None,
    error: Annotated[str | None, typer.Option(help="Code that jobs failed with.")] = None,
    after: Annotated[str | None, typer.Option(help="Created at this moment or later, ISO 8601.")] = None,
    before: Annotated[str | None, typer.Option(help="Created earlier than this moment.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Search the jobs of everybody, newest first."""
    from service.admin import lists
    from service.admin.schemas import JobFilter

    wanted = checked(
        JobFilter,
        status=status,
        op=op,
        user=user,
        error=error,
        created_after=after,
        created_before=before,
        limit=limit,
        cursor=cursor,
    )
    show_page(as_json, run(lambda r: lists.jobs(r, wanted)), "Jobs", JOBS)


@app.command()
def job(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job with its life, what it cost, and whether its bytes are still there."""
    from service.admin import actions

    found = run(lambda r: actions.job_detail(r, job_id))
    if as_json:
        console.show_json(found)
        return
    console.show_facts("Job", {name: value for name, value in found if name not in {"events", "ledger"}})
    console.show_rows("Events", found.events, {"at": "created_at", "what": "type", "attempt": "attempt"})
    console.show_rows("Ledger", found.ledger, {"at": "created_at", "what": "reason", "credits": "delta"})


@app.command()
def replay(job_id: JobId, reason: Because) -> None:
    """Start a new attempt at a job that failed, expired or was canceled, where its bytes are still there."""
    from service.admin import actions

    why = because(reason)
    console.say(f"{job_id} is repeated by {run(lambda r: actions.replay(r, job_id, actor(), why)).job_id}")


@app.command()
def cancel(job_id: JobId, reason: Because) -> None:
    """End a job that has not ended; it costs nothing."""
    from service.admin import actions

    why = because(reason)
    console.say(f"{job_id}: {run(lambda r: actions.cancel(r, job_id, actor(), why)).status}")


@app.command()
def refund(job_id: JobId, reason: Because) -> None:
    """Give back what a job was charged, once."""
    why = because(reason)
    done = run(lambda r: Admin(r.database).refund_job(job_id, actor(), why))
    console.say(f"{job_id}: {'refunded' if done else 'was refunded before'}")
