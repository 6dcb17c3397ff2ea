"""Teams under two hands: a membership that ends while its holder writes, one seat for two, deletions that meet both."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from tests.races.order import begin_behind, behind, refused
from tests.sql.fixtures import Opener
from tests.sql.world import World, lease, output_of
from tests.support import PATIENCE


async def _user(world: World, plan: str = "free") -> uuid.UUID:
    """An account whose address is confirmed."""
    user = await world.user(plan=plan)
    await world.connection.execute("update auth.users set email_confirmed_at = now() where id = $1", user)
    return user


async def _team(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    owner = await _user(world, "pro")
    team = await world.call("create_team", p_user_id=owner, p_name="Shop")
    return uuid.UUID(team["team_id"]), owner


async def _invite(
    world: World, team: uuid.UUID, owner: uuid.UUID, user: uuid.UUID, role: str = "editor"
) -> str:
    email = await world.value("select email from auth.users where id = $1", user)
    row = await world.call("create_invitation", p_team_id=team, p_user_id=owner, p_email=email, p_role=role)
    return str(row["invitation_id"])


def _accept(world: World, invitation: str, user: uuid.UUID) -> Any:
    return world.call("answer_invitation", p_invitation_id=invitation, p_user_id=user, p_accept=True)


async def _join(world: World, team: uuid.UUID, owner: uuid.UUID, role: str = "editor") -> uuid.UUID:
    user = await _user(world)
    await _accept(world, await _invite(world, team, owner, user, role), user)
    return user


def _remove(world: World, team: uuid.UUID, owner: uuid.UUID, member: uuid.UUID) -> Any:
    return world.call("remove_member", p_team_id=team, p_user_id=owner, p_member_id=member)


def _delete(world: World, team: uuid.UUID, owner: uuid.UUID) -> Any:
    return world.call("delete_team", p_team_id=team, p_user_id=owner, p_name="Shop")


async def _picture(world: World, team: uuid.UUID, user: uuid.UUID) -> uuid.UUID:
    """An image of the team with a version in its library."""
    job = await _running(world, team, user)
    await _complete(world, job)
    found = await world.value(
        "select image_id from public.image_outputs where job_id = $1", uuid.UUID(job["id"])
    )
    assert isinstance(found, uuid.UUID)
    return found


async def _running(world: World, team: uuid.UUID, user: uuid.UUID) -> dict[str, Any]:
    return await world.running(user, team_id=team, wants_persist=True)


async def _complete(world: World, job: dict[str, Any]) -> Any:
    folder = f"{job['owner_id']}/{job['image_id']}"
    made = output_of(job) | {
        "bucket": "user-library",
        "path": f"{folder}/output/{job['object_key']}.webp",
        "thumb_path": f"{folder}/output/{job['object_key']}.thumb.webp",
        "image_id": job["image_id"],
    }
    return await world.call("complete_job", **lease(job), p_output=json.dumps(made), p_output_seconds=3600)


async def _members(world: World, team: uuid.UUID) -> set[uuid.UUID]:
    rows = await world.connection.fetch("select user_id from public.team_members where team_id = $1", team)
    return {row["user_id"] for row in rows}


async def test_a_revocation_and_an_acceptance_come_one_after_the_other(
    world: World, open_world: Opener
) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    user = await _user(world)
    invitation = await _invite(world, team, owner, user)
    revoke = {"p_team_id": team, "p_user_id": owner, "p_invitation_id": invitation}
    with refused("invitation_revoked"):
        await behind(
            world, world.call("revoke_invitation", **revoke), other, _accept(other, invitation, user)
        )
    invitation = await _invite(world, team, owner, user)
    with refused("conflict"):
        await behind(
            world,
            _accept(world, invitation, user),
            other,
            other.call("revoke_invitation", **(revoke | {"p_invitation_id": invitation})),
        )
    assert await _members(world, team) == {owner, user}


async def test_the_last_seat_goes_to_one(world: World, open_world: Opener) -> None:
    """Two hold an invitation when the plan becomes smaller."""
    other, (team, owner) = await open_world(), await _team(world)
    users = [await _user(world) for _ in range(2)]
    invitations = [await _invite(world, team, owner, user) for user in users]
    plan = uuid.uuid4().hex
    await world.connection.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, seats)"
        " values ($1, 'Small', 8, 100, true, 2)",
        plan,
    )
    await world.connection.execute("update public.profiles set plan_id = $2 where user_id = $1", owner, plan)
    with refused("no_seats"):
        await behind(
            world,
            _accept(world, invitations[0], users[0]),
            other,
            _accept(other, invitations[1], users[1]),
        )
    assert await _members(world, team) == {owner, users[0]}


async def test_two_invitations_take_one_seat_each(world: World, open_world: Opener) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    seats = await world.value("select seats from public.plans where id = 'pro'")
    for _ in range(seats - 2):
        await _join(world, team, owner)
    users = [await _user(world) for _ in range(2)]
    with refused("no_seats"):
        await behind(
            world,
            _invite(world, team, owner, users[0]),
            other,
            _invite(other, team, owner, users[1]),
        )


WRITES = ("delete_image", "intake", "restore_output", "create_collection", "move_images")


def _write(world: World, what: str, team: uuid.UUID, user: uuid.UUID, image: uuid.UUID) -> Any:
    match what:
        case "delete_image":
            return world.call("delete_image", p_image_id=image, p_user_id=user)
        case "intake":
            return world.intake(user, team_id=team, wants_persist=True)
        case "restore_output":
            return _restore(world, user, image)
        case "create_collection":
            collection = {"p_user_id": user, "p_name": uuid.uuid4().hex, "p_parent_id": None}
            return world.call("create_collection", **collection, p_team_id=team)
        case _:
            move = {"p_user_id": user, "p_team_id": team, "p_image_ids": [image], "p_out": False}
            return world.call("move_images", **move)


async def _restore(world: World, user: uuid.UUID, image: uuid.UUID) -> Any:
    output = await world.value("select current_output_id from public.images where id = $1", image)
    return await world.call("restore_output", p_output_id=output, p_user_id=user)


@pytest.mark.parametrize("what", WRITES)
async def test_a_removal_waits_for_a_write_and_stops_the_next(
    world: World, open_world: Opener, what: str
) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    image = await _picture(world, team, owner)
    await behind(world, _write(world, what, team, member, image), other, _remove(other, team, owner, member))
    image = await _picture(world, team, owner)
    if what in {"delete_image", "restore_output"}:
        assert await _write(world, what, team, member, image) is None
    else:
        with refused("team_not_found"):
            await _write(world, what, team, member, image)
    unfinished = (
        "select count(*) from public.jobs where team_id = $1 and user_id = $2 and finished_at is null"
    )
    assert await world.value(unfinished, team, member) == 0


@pytest.mark.parametrize("what", WRITES)
async def test_a_write_behind_a_removal_finds_no_team(world: World, open_world: Opener, what: str) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    image = await _picture(world, team, owner)
    async with world.connection.transaction():
        await _remove(world, team, owner, member)
        task = await begin_behind(world, other, _write(other, what, team, member, image))
    async with asyncio.timeout(PATIENCE):
        if what in {"delete_image", "restore_output"}:
            assert await task is None
        else:
            with refused("team_not_found"):
                await task
    assert await world.value("select count(*) from public.images where id = $1", image) == 1


async def test_a_result_that_comes_in_is_waited_for(world: World, open_world: Opener) -> None:
    """The worker that is completing holds its job; the removal finds it done, and the team keeps the picture."""
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    job = await _running(world, team, member)
    await behind(world, _complete(world, job), other, _remove(other, team, owner, member))
    assert (await world.job(job["id"]))["status"] == "done"
    assert await world.value("select count(*) from public.images where team_id = $1", team) == 1
    second = await _join(world, team, owner)
    job = await _running(world, team, second)
    with refused("lease_lost"):
        await behind(world, _remove(world, team, owner, second), other, _complete(other, job))


async def test_a_team_is_deleted_behind_a_write_of_a_member(world: World, open_world: Opener) -> None:
    """What was moved in before goes to the owner with the rest."""
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    await _picture(world, team, owner)
    await world.done(member)
    own = await world.value("select id from public.images where user_id = $1", member)
    await behind(world, _write(world, "move_images", team, member, own), other, _delete(other, team, owner))
    assert await world.value("select count(*) from public.images where user_id = $1", owner) == 2
    assert await world.value("select count(*) from public.images where user_id = $1", member) == 0
    assert await world.value("select count(*) from public.teams where id = $1", team) == 0


async def test_a_transfer_behind_a_deletion_finds_no_team(world: World, open_world: Opener) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    image = await _picture(world, team, owner)
    await world.done(member)
    own = await world.value("select id from public.images where user_id = $1", member)
    with refused("team_not_found"):
        await behind(
            world, _delete(world, team, owner), other, _write(other, "move_images", team, member, own)
        )
    assert await world.value("select user_id from public.images where id = $1", own) == member
    assert await world.value("select user_id from public.images where id = $1", image) == owner


async def test_a_team_is_deleted_behind_a_result(world: World, open_world: Opener) -> None:
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    job = await _running(world, team, member)
    waiting = await _running(world, team, member)
    await behind(world, _complete(world, job), other, _delete(other, team, owner))
    assert await world.value("select count(*) from public.images where user_id = $1", owner) == 1
    assert (await world.job(waiting["id"]))["status"] == "canceled"
    assert (
        await world.value(
            "select private.job_document(j) -> 'output' from public.jobs j where id = $1",
            uuid.UUID(job["id"]),
        )
        is None
    )


async def test_two_moves_of_equal_pictures_make_one(world: World, open_world: Opener) -> None:
    """Owner and editor give the team a picture of the same bytes at once."""
    other, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    sha256 = uuid.uuid4().hex * 2
    images = []
    for user, width in ((owner, 20), (member, 21)):
        await world.done(user, sha256=sha256, op_key=f"resize-v1:width-{width}")
        images.append(await world.value("select id from public.images where user_id = $1", user))
    with refused("conflict"):
        await behind(
            world,
            _write(world, "move_images", team, owner, images[0]),
            other,
            _write(other, "move_images", team, member, images[1]),
        )
    await _write(other, "move_images", team, member, images[1])  # as the refusal says: again
    assert await world.value("select count(*) from public.images where team_id = $1", team) == 1
    live = "select count(*) from public.image_outputs where team_id = $1 and deleted_at is null"
    assert await world.value(live, team) == 2


async def test_the_heir_is_chosen_once(world: World, open_world: Opener) -> None:
    """The owner's account goes while the editor who would inherit leaves."""
    other, (team, owner) = await open_world(), await _team(world)
    editor, viewer = await _join(world, team, owner), await _join(world, team, owner, "viewer")
    await behind(
        world,
        _remove(world, team, editor, editor),
        other,
        other.connection.execute("delete from auth.users where id = $1", owner),
    )
    assert await _members(world, team) == {viewer}
    role = "select role from public.team_members where team_id = $1 and user_id = $2"
    assert await world.value(role, team, viewer) == "owner"


async def _suspend(world: World, user: uuid.UUID) -> None:
    by = {"p_actor": uuid.uuid4(), "p_by": "ops@example.com", "p_reason": "stolen pictures"}
    await world.call("admin_suspend", p_user_id=user, p_suspended=True, **by)


async def test_a_sweep_passes_what_the_deletion_of_a_team_has(world: World, open_world: Opener) -> None:
    """The deletion holds the job of a suspended member and waits for the sweep, which waits for nobody's job."""
    sweeper, (team, owner) = await open_world(), await _team(world)
    member = await _join(world, team, owner)
    job = await _running(world, team, member)
    await _suspend(world, member)
    async with sweeper.connection.transaction():
        # A sweep has begun.
        await sweeper.connection.execute("select pg_advisory_xact_lock(hashtext('darkroom.sweep'))")
        deletion = await begin_behind(sweeper, world, _delete(world, team, owner))
        assert job["id"] not in (await sweeper.sweep())["jobs"]
    async with asyncio.timeout(PATIENCE):
        await deletion
    assert (await world.job(job["id"]))["status"] == "canceled"
