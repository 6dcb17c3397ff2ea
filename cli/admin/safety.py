"""What moderation refused, and bytes that are blocked."""

from typing import Annotated, Literal
from uuid import UUID

import typer

from cli.admin import console
from cli.admin.common import (
    AsJson,
    Because,
    Cursor,
    JobId,
    Limit,
    Sha256,
    actor,
    checked,
    run,
    show_page,
)
from service.admin.rows import PictureKind

app = typer.Typer()


@app.command()
def refused(
    reviewed: Annotated[str, typer.Option(help="false, true or all.")] = "false",
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List jobs that moderation refused, newest first."""
    from service.admin import lists
    from service.admin.schemas import RefusedFilter

    wanted = checked(RefusedFilter, reviewed=reviewed, limit=limit, cursor=cursor)
    columns = {
        "id": "job_id",
        "category": "category",
        "user": "email",
        "file": "filename",
        "sha256": "sha256",
    }
    columns |= {"blocked": "blocked", "decision": "review.decision", "created": "created_at"}
    show_page(as_json, run(lambda r: lists.refused(r, wanted)), "Refused", columns)


@app.command()
def review(
    job_id: JobId,
    reason: Because,
    block: Annotated[bool, typer.Option("--block/--keep", help="Block the hash, or leave it free.")],
    category: Annotated[str | None, typer.Option(help="What callers are told; that of the refusal.")] = None,
) -> None:
    """Decide about a refused job."""
    from service.admin import actions
    from service.admin.schemas import ReviewRequest

    decision: Literal["keep", "block"] = "block" if block else "keep"
    wanted = checked(ReviewRequest, decision=decision, category=category, reason=reason)
    run(
        lambda r: actions.review(r, job_id, wanted.decision, actor(), wanted.reason, category=wanted.category)
    )
    console.say(f"{job_id}: {decision}")


@app.command()
def in_review(limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List pictures that moderation is in doubt about, newest first."""
    from service.admin import lists
    from service.admin.schemas import ReviewFilter

    wanted = checked(ReviewFilter, limit=limit, cursor=cursor)
    columns = {"kind": "kind", "id": "id", "score": "score", "user": "email", "file": "filename"}
    columns |= {"sha256": "sha256", "op": "op_key", "created": "created_at"}
    show_page(as_json, run(lambda r: lists.in_review(r, wanted)), "In review", columns)


@app.command()
def decide(
    kind: Annotated[PictureKind, typer.Argument(help="output or original.")],
    picture_id: Annotated[UUID, typer.Argument(metavar="ID")],
    reason: Because,
    approve: Annotated[bool, typer.Option("--approve/--refuse", help="Let it be shared, or take it away.")],
    category: Annotated[str, typer.Option(help="For --refuse: what callers are told.")] = "adult",
) -> None:
    """Decide about a picture in review; an original and what is made of it are approved separately."""
    from service.admin import actions
    from service.admin.schemas import PictureDecision

    decision: Literal["approve", "refuse"] = "approve" if approve else "refuse"
    wanted = checked(PictureDecision, decision=decision, category=category, reason=reason)
    if approve:
        run(lambda r: actions.approve(r, kind, picture_id, actor(), wanted.reason))
    else:
        run(lambda r: actions.refuse(r, kind, picture_id, actor(), wanted.reason, category=wanted.category))
    console.say(f"{kind} {picture_id}: {decision}")


@app.command()
def blocked(
    sha256: Annotated[str | None, typer.Argument(help="Its beginning.")] = None,
    category: Annotated[str | None, typer.Option()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List blocked hashes, newest first."""
    from service.admin import lists
    from service.admin.schemas import BlockedFilter

    begins = None if sha256 is None else sha256.lower()
    wanted = checked(BlockedFilter, sha256=begins, category=category, limit=limit, cursor=cursor)
    columns = {"sha256": "sha256", "category": "category", "reason": "reason", "by": "created_by"}
    show_page(as_json, run(lambda r: lists.blocked(r, wanted)), "Blocked", columns | {"since": "created_at"})


@app.command()
def block(
    sha256: Sha256,
    category: Annotated[str, typer.Option(help="What the caller is told: a-z, 0-9, - and _.")],
    reason: Because,
) -> None:
    """Refuse these bytes from now on, and take away what exists of them. Repeat it to complete it."""
    from service.admin import actions
    from service.admin.schemas import BlockRequest

    wanted = checked(BlockRequest, sha256=sha256.lower(), category=category, reason=reason)
    done = run(lambda r: actions.block(r, wanted.sha256, actor(), wanted.reason, category=wanted.category))
    console.show_facts("Taken away", {name: str(getattr(done, name)) for name in done.__slots__})


@app.command()
def unblock(sha256: Sha256, reason: Because) -> None:
    """Accept these bytes again; what was taken away does not come back."""
    from service.admin import actions
    from service.admin.schemas import UnblockRequest

    wanted = checked(UnblockRequest, sha256=sha256.lower(), reason=reason)
    run(lambda r: actions.unblock(r, wanted.sha256, actor(), wanted.reason))
    console.say(f"{wanted.sha256}: not blocked")
