"""Operators and users."""
# ruff: noqa: PLR0913, PLR0917
# Options of a command are parameters of its function.

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.admin import console
from cli.admin.common import (
    JOBS,
    AsJson,
    Because,
    Cursor,
    Limit,
    Who,
    actor,
    because,
    checked,
    machine_user,
    run,
    show_page,
)
from service.admin.store import Admin

if TYPE_CHECKING:
    from service.platform.resources import Platform

app = typer.Typer()


@app.command()
def grant(
    who: Who,
    reason: Because,
    role: Annotated[
        str, typer.Option(help="admin: everything; support: looks, and changes nothing.")
    ] = "admin",
) -> None:
    """Make an account an operator. The account exists already: sign up first."""
    from service.admin.rows import Role

    roles: dict[str, Role] = {"admin": "admin", "support": "support"}
    if role not in roles:
        raise typer.BadParameter("admin or support", param_hint="--role")
    why = because(reason)
    change = run(lambda r: Admin(r.database).grant_role(who, roles[role], machine_user(), why))
    console.say(f"{who} is {change.role} now; before: {change.before or 'nothing'}.")


@app.command()
def revoke(who: Who, reason: Because) -> None:
    """Take an operator's role away, from their next request on."""
    why = because(reason)
    change = run(lambda r: Admin(r.database).revoke_role(who, machine_user(), why))
    console.say(f"{who} is no operator; before: {change.before or 'nothing'}.")


@app.command()
def operators() -> None:
    """List who has a role."""
    rows = run(lambda r: Admin(r.database).list_admins())
    columns = {"email": "email", "id": "user_id", "role": "role", "by": "granted_by", "since": "created_at"}
    console.show_rows("Operators", rows, columns)


USERS = {
    "email": "email",
    "id": "user_id",
    "plan": "plan_id",
    "credits": "balance",
    "flagged": "flagged_at",
    "state": "state",
    "role": "role",
    "since": "created_at",
}


@app.command()
def users(
    query: Annotated[str | None, typer.Argument(help="An id, or a part of an address.")] = None,
    plan: Annotated[str | None, typer.Option(help="Id of a plan.")] = None,
    flagged: Annotated[bool | None, typer.Option("--flagged/--unflagged")] = None,
    suspended: Annotated[bool | None, typer.Option("--suspended/--not-suspended")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Search accounts, newest first."""
    from service.admin import lists
    from service.admin.schemas import UserFilter

    wanted = checked(
        UserFilter,
        query=query,
        plan=plan,
        flagged=flagged,
        suspended=suspended,
        limit=limit,
        cursor=cursor,
    )
    show_page(as_json, run(lambda r: lists.users(r, wanted)), "Users", USERS)


@app.command()
def user(who: Who, as_json: AsJson = False) -> None:
    """Show an account: plan, credits, grants, jobs, keys, subscription, flag, storage."""
    found = run(lambda r: Admin(r.database).get_user(who))
    if as_json:
        console.show_json(found)
        return
    lists_of_it = {"grants", "jobs", "keys"}
    console.show_facts("User", {name: value for name, value in found if name not in lists_of_it})
    grants = {name: name for name in ("source", "reference", "amount", "remaining", "expires_at", "note")}
    console.show_rows("Grants", found.grants, grants)
    console.show_rows("Jobs", found.jobs, JOBS)
    console.show_rows(
        "Keys", found.keys, {name: name for name in ("name", "prefix", "status", "last_used_at")}
    )


@app.command()
def plan(who: Who, plan_id: Annotated[str, typer.Argument(help="Id of a plan.")], reason: Because) -> None:
    """Give an account another plan, at once."""
    from service.admin import actions
    from service.admin.schemas import UserPlanChange

    wanted = checked(UserPlanChange, plan_id=plan_id, reason=reason)

    async def act(platform: "Platform") -> tuple[str, str]:
        before = await Admin(platform.database).get_user(who)
        after = await actions.set_plan(platform, before.user_id, wanted.plan_id, actor(), wanted.reason)
        return before.plan_id, after.plan_id

    before, after = run(act)
    console.say(f"{who}: {before} -> {after}")


@app.command()
def credits(
    who: Who,
    reference: Annotated[str, typer.Option(help="The same one again changes nothing.")],
    reason: Because,
    give: Annotated[int | None, typer.Option(help="How many to give.")] = None,
    take: Annotated[int | None, typer.Option(help="How many to take back.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give credits, or take them back; the balance does not go below zero, the rest becomes a debt."""
    from service.admin.schemas import CreditsTaken

    if (give is None) == (take is None):
        raise typer.BadParameter("one of them", param_hint="--give, --take")
    amount = give if give is not None else take
    wanted = checked(CreditsTaken, amount=amount, reference=reference, reason=reason)
    sign = 1 if give is not None else -1

    async def act(platform: "Platform") -> Any:
        found = await Admin(platform.database).get_user(who)
        return await Admin(platform.database).change_credits(
            found.user_id, sign * wanted.amount, wanted.reference, actor(), wanted.reason
        )

    change = run(act)
    if as_json:
        console.show_json(change)
        return
    again = "this reference was seen before, nothing happened; " if change.repeated else ""
    console.say(f"{who}: {again}balance {change.balance}, debt {change.debt}")


@app.command()
def flag(
    who: Who,
    reason: Because,
    off: Annotated[bool, typer.Option("--off", help="Take the mark away.")] = False,
) -> None:
    """Mark an account for operators to look at; it works as before."""
    why = because(reason)

    async def act(platform: "Platform") -> Any:
        found = await Admin(platform.database).get_user(who)
        return await Admin(platform.database).flag(found.user_id, actor(), why, flagged=not off)

    console.say(f"{who}: {'not flagged' if run(act).flagged_at is None else 'flagged'}")


@app.command()
def suspend(who: Who, reason: Because) -> None:
    """Stop an account at once: sessions, API keys, jobs, share links, event streams. Nothing of it is deleted."""
    from service.admin import actions

    why = because(reason)

    async def act(platform: "Platform") -> Any:
        found = await Admin(platform.database).get_user(who)
        return await actions.suspend(platform, found.user_id, actor(), why)

    console.say(f"{who}: {run(act).state}")


@app.command()
def restore(who: Who, reason: Because) -> None:
    """Let a suspended account be used again. A ban in Supabase Auth is lifted there."""
    from service.admin import actions

    why = because(reason)

    async def act(platform: "Platform") -> Any:
        found = await Admin(platform.database).get_user(who)
        return await actions.restore(platform, found.user_id, actor(), why)

    console.say(f"{who}: {run(act).state}")
