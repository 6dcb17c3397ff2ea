"""Accounts that may not be used, as the functions see them: suspended by an operator, banned or deleted in Auth."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.sql.fixtures import Opener
from tests.sql.world import World

BY: dict[str, Any] = {"p_actor": None, "p_by": "cli:test", "p_reason": "chargebacks"}
Block = Callable[[World, uuid.UUID], Awaitable[None]]


async def refused(call: Awaitable[Any]) -> str:
    """The code that a call is refused with."""
    with pytest.raises(asyncpg.PostgresError) as refusal:
        await call
    return str(refusal.value.args[0])


async def suspend(world: World, user: uuid.UUID, *, suspended: bool = True) -> None:
    await world.call("admin_suspend", p_user_id=user, p_suspended=suspended, **BY)


async def ban(world: World, user: uuid.UUID) -> None:
    await world.connection.execute(
        "update auth.users set banned_until = now() + interval '1 day' where id = $1", user
    )


async def delete(world: World, user: uuid.UUID) -> None:
    await world.connection.execute("update auth.users set deleted_at = now() where id = $1", user)


WAYS = {"suspended": suspend, "banned": ban, "deleted": delete}
ways = pytest.mark.parametrize("way", WAYS)


async def state(world: World, user: uuid.UUID) -> str:
    return str((await world.call("account_state", p_user_id=user))["status"])


@ways
async def test_an_account_knows_its_state_and_its_profile_is_news(world: World, way: str) -> None:
    """The watch of changes hears of each, and of its end."""
    user = await world.user()
    assert await state(world, user) == "active"
    changed = "select updated_at from public.profiles where user_id = $1"
    before = await world.value(changed, user)
    await WAYS[way](world, user)
    assert await state(world, user) == way
    middle = await world.value(changed, user)
    await suspend(world, user, suspended=False)
    await world.connection.execute(
        "update auth.users set banned_until = null, deleted_at = null where id = $1", user
    )
    assert await state(world, user) == "active"
    assert before < middle < await world.value(changed, user)


async def test_a_ban_ends_by_itself(world: World) -> None:
    user = await world.user()
    await world.connection.execute(
        "update auth.users set banned_until = now() - interval '1 s' where id = $1", user
    )
    assert await state(world, user) == "active"
    assert (await world.intake(user))["created"]
    await world.connection.execute(
        "update auth.users set banned_until = now() + interval '100 years' where id = $1", user
    )
    assert await state(world, user) == "banned"
    for far in ("infinity", "20000-01-01"):
        await world.connection.execute(f"update auth.users set banned_until = '{far}' where id = $1", user)
        assert await world.call("account_state", p_user_id=user) == {"status": "banned", "until": None}


async def test_somebody_made_with_a_ban_has_it(world: World) -> None:
    user = uuid.uuid4()
    await world.connection.execute(
        "insert into auth.users (id, email, banned_until) values ($1, $2, now() + interval '1 day')",
        *(user, f"{user.hex}@example.com"),
    )
    assert await state(world, user) == "banned"


@ways
async def test_nothing_new_is_made(world: World, way: str) -> None:
    user = await world.user(balance=50)
    done = await world.done(user)
    source = await world.done(await world.user())
    key = await world.api_key(user)
    await WAYS[way](world, user)
    code = "invalid_token" if way == "deleted" else "account_suspended"
    assert await refused(world.intake(user)) == code
    assert await refused(world.intake(user, api_key_id=uuid.UUID(key["key_id"]))) == code
    assert await refused(world.adopt(user, uuid.UUID(source["output"]["output_id"]))) == code
    assert await refused(world.share(done["output"]["output_id"], user)) == code
    assert await refused(world.api_key(user)) == code
    failed = await world.running()
    await world.fail(failed)
    found = await world.call("find_api_key", p_prefix=key["prefix"])
    assert (found["revoked"], found["account"]["status"]) == (True, way)


@ways
async def test_what_is_under_way_is_canceled_and_costs_nothing(world: World, way: str) -> None:
    """Waiting, queued and running jobs; the worker's lease is gone; the sweep does it as well."""
    user, other, queue = await world.user(balance=50), await world.user(), secrets.token_hex(6)
    running = await world.running(user, price=4)
    waiting = (await world.intake(user, price=4))["job"]["job_id"]
    queued = (await world.queued(user, price=4, queue=queue))["job_id"]
    theirs = (await world.intake(other))["job"]["job_id"]
    await WAYS[way](world, user)
    assert await world.claim(queue) is None
    assert await refused(world.heartbeat(running)) == "lease_lost"
    if way == "suspended":
        ended = await world.call("end_blocked_jobs", p_user_id=user)
    else:
        ended = (await world.sweep())["jobs"]
    assert set(ended) >= {running["id"], waiting, queued}
    for job in (running["id"], waiting, queued):
        assert (await world.job(job))["status"] == "canceled"
    assert (await world.job(theirs))["status"] == "awaiting_upload"
    assert await world.balance(user) == 50
    assert await refused(world.complete(running)) == "lease_lost"
    failures = "select coalesce(sum(failures), 0) from public.usage_daily where user_id = $1"
    assert await world.value(failures, user) == 0


async def test_an_intake_and_a_suspension_at_once_leave_nothing_running(
    world: World, open_world: Opener
) -> None:
    """Whichever is first: what the intake made is not claimed, and the next sweep cancels it."""
    for _ in range(5):
        user, queue = await world.user(), secrets.token_hex(6)
        first, second, third = [await open_world() for _ in range(3)]
        await world.queued(user, queue=queue)
        await asyncio.gather(
            *(second.queued(user, queue=queue), suspend(first, user), third.claim(queue)),
            return_exceptions=True,
        )
        await first.call("end_blocked_jobs", p_user_id=user)
        await world.sweep()
        assert await world.claim(queue) is None
        unfinished = "select count(*) from public.jobs where user_id = $1 and finished_at is null"
        assert await world.value(unfinished, user) == 0


@ways
async def test_links_are_revoked_meanwhile_and_come_back(world: World, way: str) -> None:
    user = await world.user()
    done = await world.done(user)
    link = await world.share(done["output"]["output_id"], user)
    assert link is not None
    status = "select private.share_status(l) from public.share_links l where l.id = $1"
    share_id = uuid.UUID(link["share_id"])
    assert await world.value(status, share_id) == "active"
    await WAYS[way](world, user)
    assert await world.value(status, share_id) == "share_revoked"
    assert await refused(world.call("open_share", p_share_id=share_id)) == "share_revoked"
    await suspend(world, user, suspended=False)
    await world.connection.execute(
        "update auth.users set banned_until = null, deleted_at = null where id = $1", user
    )
    assert await world.value(status, share_id) == "active"


@ways
async def test_an_operators_role_sleeps(world: World, way: str) -> None:
    user = await world.user()
    await world.call("grant_admin", p_who=str(user), p_role="admin", p_by="cli:test", p_reason="test")
    await WAYS[way](world, user)
    assert await world.call("admin_role", p_user_id=user) is None


async def test_nobody_suspends_themselves(world: World) -> None:
    user = await world.user()
    mine = BY | {"p_actor": user}
    assert await refused(world.call("admin_suspend", p_user_id=user, p_suspended=True, **mine)) == "conflict"
    assert await refused(world.call("admin_suspend", p_user_id=uuid.uuid4(), p_suspended=True, **BY)) == (
        "user_not_found"
    )
    without = BY | {"p_reason": " "}
    assert await refused(world.call("admin_suspend", p_user_id=user, p_suspended=True, **without)) == (
        "invalid_request"
    )
    assert await state(world, user) == "active"


async def test_each_act_is_in_the_audit_log(world: World) -> None:
    user = await world.user()
    await suspend(world, user)
    await suspend(world, user, suspended=False)
    await ban(world, user)
    rows = await world.connection.fetch(
        "select action from public.audit_log where subject = $1 and action !~ '^credits' order by id",
        str(user),
    )
    assert [row["action"] for row in rows] == ["admin.suspend", "admin.restore", "account.auth"]


async def test_the_team_of_a_suspended_owner_is_read_only(world: World) -> None:
    owner, member = await world.user(plan="pro"), await world.user(plan="pro")
    team = uuid.UUID((await world.call("create_team", p_user_id=owner, p_name="Shop"))["team_id"])
    await world.connection.execute(
        "insert into public.team_members (team_id, user_id, role) values ($1, $2, 'editor')", team, member
    )
    email = await world.value("select email from auth.users where id = $1", await world.user(plan="pro"))
    invitation = await world.call(
        "create_invitation", p_team_id=team, p_user_id=owner, p_email=email, p_role="viewer"
    )
    invited = await world.value("select id from auth.users where email = $1", email)
    answer = {
        "p_invitation_id": uuid.UUID(invitation["invitation_id"]),
        "p_user_id": invited,
        "p_accept": True,
    }
    await suspend(world, owner)
    assert await refused(world.intake(member, team_id=team)) == "team_suspended"
    assert (await world.call("get_team", p_team_id=team, p_user_id=member))["team_id"] == str(team)
    assert await world.call("list_my_invitations", p_user_id=invited) == []
    assert await refused(world.call("answer_invitation", **answer)) == "invitation_revoked"
    await suspend(world, owner, suspended=False)
    assert (await world.intake(member, team_id=team))["created"]
    assert (await world.call("answer_invitation", **answer))["team_id"] == str(team)


async def test_a_deletion_goes_on_and_an_export_waits(world: World) -> None:
    user, queue = await world.user(), secrets.token_hex(6)
    await world.call("request_export", p_user_id=user, p_queue=queue, p_fresh_seconds=None)
    await suspend(world, user)
    claim = {"p_queue": queue, "p_worker": "w", "p_lease_seconds": 30.0}
    assert await world.call("claim_request", **claim) is None
    await world.call("request_deletion", p_user_id=user, p_delete_account=True, p_queue=queue)
    assert (await world.call("claim_request", **claim))["kind"] == "delete"


async def test_a_suspended_account_can_be_deleted(world: World) -> None:
    """Its teams go to nobody else's account on the way, and nothing of the suspension stands against it."""
    user = await world.user(plan="pro", balance=5)
    await world.call("create_team", p_user_id=user, p_name="Shop")
    await world.done(user)
    await suspend(world, user)
    await world.connection.execute("delete from auth.users where id = $1", user)
    assert await state(world, user) == "deleted"


async def test_stripe_pays_whom_it_has_to(world: World) -> None:
    """Money goes its way whatever an operator thinks of the account."""
    user = await world.user(balance=0)
    await suspend(world, user)
    assert await world.grant(user, 10)
    assert (await world.claw_back(user, 4))["taken"] == 4
    assert await world.balance(user) == 6
