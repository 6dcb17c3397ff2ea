"""Signs of abuse, the audit, the state of the system."""
# ruff: noqa: PLR0913, PLR0917
# Options of a command are parameters of its function.

from typing import TYPE_CHECKING, Annotated

import typer

from cli.admin import console
from cli.admin.common import AsJson, Limit, checked, run, show_page
from service.admin.store import Admin
from service.maintenance.store import Maintenance

if TYPE_CHECKING:
    from service.platform.resources import Platform

app = typer.Typer()


@app.command()
def abuse(as_json: AsJson = False) -> None:
    """List accounts that look like abuse."""
    from service.admin.schemas import AbuseList

    found = run(lambda r: Admin(r.database).list_abuse(200))
    columns = {"email": "email", "id": "user_id", "plan": "plan_id", "signals": "signals", "jobs": "jobs"}
    columns |= {
        "refused": "refused",
        "ratio": "refusal_ratio",
        "burst": "burst",
        "at one address": "accounts",
    }
    show_page(as_json, AbuseList(accounts=found), "Signs of abuse", columns)


@app.command()
def audit(
    actor: Annotated[str | None, typer.Option(help="Id or address of an account, or cli:<user>.")] = None,
    subject: Annotated[str | None, typer.Option(help="Id of a user or a job, or a sha256.")] = None,
    action: Annotated[str | None, typer.Option(help="Its beginning, such as admin.")] = None,
    limit: Limit = 50,
    cursor: Annotated[int | None, typer.Option(help="Go on where a list ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read the audit log, newest first."""
    from service.admin import lists
    from service.admin.schemas import AuditFilter

    wanted = checked(AuditFilter, actor=actor, subject=subject, action=action, limit=limit, cursor=cursor)
    columns = {"at": "created_at", "who": "email", "by": "data.by", "action": "action", "subject": "subject"}
    columns |= {"reason": "data.reason", "before": "data.before", "after": "data.after"}
    show_page(as_json, run(lambda r: lists.audit(r, wanted)), "Audit", columns)


@app.command()
def system(
    invariants: Annotated[bool, typer.Option(help="Check what must hold; reads whole tables.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show the state of the system. Exit 1 when a dependency is down or an invariant does not hold."""
    from service.admin import lists
    from service.admin.schemas import InvariantReport, SystemPage

    class Report(SystemPage, InvariantReport):
        """Both at once."""

    async def look(platform: "Platform") -> Report:
        state = await lists.system(platform)
        broken = await Maintenance(platform.database).check_invariants() if invariants else []
        return Report(**dict(state), violations=broken)

    found = run(look)
    if as_json:
        console.show_json(found)
    else:
        facts = {
            name: value for name, value in found.report if name not in {"queues", "classes", "migrations"}
        }
        versions = {"version": found.version, "release": found.release, "environment": found.environment}
        checks = {
            f"{name}?": check.detail or f"{check.ms} ms" for name, check in found.readiness.checks.items()
        }
        newest = found.report.migrations[0] if found.report.migrations else "none"
        console.show_facts(
            "System", versions | {"status": found.readiness.status} | checks | facts | {"migration": newest}
        )
        classes = {"queue": "queue", "callers": "caller", "queued": "queued", "running": "running"}
        console.show_rows("Queues", found.report.classes, classes | {"oldest, s": "oldest_due_seconds"})
        if invariants:
            console.show_rows(
                "Broken invariants", found.violations, {"what": "invariant", "where": "subject"}
            )
    if found.readiness.status == "down" or found.violations:
        raise typer.Exit(1)
