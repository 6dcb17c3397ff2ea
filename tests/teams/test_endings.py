"""Accounts that end: what is a team's stays the team's, a team without others goes with its owner."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from service.platform.resources import Platform
from service.privacy.store import DataRequest, DataRequests
from tests.chaos.dying import ForkServer, alone, hand_over
from tests.library.people import objects
from tests.photos import photo
from tests.privacy.estate import ended
from tests.teams.crew import OP, Crew, Hand

CONFIRMED = {"confirm": "delete my data"}


async def _wipe(hand: Hand, platform: Platform, **more: Any) -> DataRequest:
    started = await hand.say("DELETE", "/me/data", CONFIRMED | more, status=202)
    row = await ended(platform, uuid.UUID(started["request_id"]), hand.id)
    assert (row.status, row.error) == ("done", None)
    return row


async def _readable(shop: Crew, role: str) -> None:
    """The picture of the team, its original too, with bytes behind every URL."""
    document = await shop[role].say("GET", f"/images/{shop.image_id}")
    assert (await shop[role].download(document["original_url"])).content == shop.picture.data
    assert document["outputs"]
    for output in document["outputs"]:
        for url in ("url", "thumbnail_url"):
            assert (await shop[role].download(output[url])).status_code == 200


async def _roles(shop: Crew) -> dict[uuid.UUID, str]:
    return {row["user_id"]: row["role"] for row in await shop.rows("team_members")}


async def test_a_members_data_goes_and_the_teams_stays(shop: Crew, platform: Platform) -> None:
    """The editor made the picture, in a job of their own; nobody's team loses it."""
    await _wipe(shop["editor"], platform)
    assert await _roles(shop) == {shop["owner"].id: "owner", shop["viewer"].id: "viewer"}
    await _readable(shop, "viewer")
    assert await shop["editor"].refused("GET", shop.path, status=404) == "team_not_found"


@pytest.mark.parametrize("bucket", ["user-library", "outputs-ephemeral"])
async def test_what_was_moved_into_a_team_survives_its_former_owner(
    team: Crew, platform: Platform, bucket: str
) -> None:
    """Its objects lie in the folder of the user whose data is deleted, or bear the id of their job: rows decide."""
    await team.plan("editor", "pro")
    team.picture = photo()
    await team["editor"].process(team.picture, OP, wants_persist=bucket == "user-library")
    own = (await team["editor"].say("GET", "/images"))["images"][0]
    await team["editor"].say("POST", f"{team.path}/images", {"image_ids": [own["image_id"]]})
    rows = await team.rows("image_outputs")
    paths = [rows[0]["path"], rows[0]["thumb_path"]]
    if bucket == "user-library":
        paths.append((await team.rows("images"))[0]["original_path"])
        assert all(path.startswith(f"{team['editor'].id}/") for path in paths)
    row = await _wipe(team["editor"], platform)
    assert row.receipt is not None
    assert "images" not in row.receipt["rows"]
    assert await objects(team.db, *paths) == set(paths)
    doomed = "select count(*) from public.tombstones where path = any ($1)"
    assert await team.db.fetchval(doomed, paths) == 0


async def test_an_owners_team_goes_on_under_its_longest_standing_editor(
    shop: Crew, platform: Platform
) -> None:
    await shop.join("stranger", "editor")
    await _wipe(shop["owner"], platform, delete_account=True)
    assert await _roles(shop) == {
        shop["editor"].id: "owner",
        shop["viewer"].id: "viewer",
        shop["stranger"].id: "editor",
    }
    await _readable(shop, "viewer")
    assert (await shop["editor"].say("GET", shop.path))["read_only"] is True
    await shop.plan("editor", "pro")
    await shop["editor"].say("POST", f"/images/{shop.image_id}/archive", status=204)
    names = await shop.db.fetchval(
        "select count(*) from public.audit_log where actor = $1 or subject = $1::text or data::text like $2",
        shop["owner"].id,
        f"%{shop['owner'].id}%",
    )
    assert names == 0


async def test_without_editors_a_viewer_becomes_the_owner(shop: Crew, platform: Platform) -> None:
    await shop.leave("editor")
    await _wipe(shop["owner"], platform)
    assert await _roles(shop) == {shop["viewer"].id: "owner"}
    await _readable(shop, "viewer")


async def test_deleting_the_account_alone_does_the_same(shop: Crew) -> None:
    """By the Auth API or the dashboard, without a request of Darkroom's."""
    await shop.db.execute("delete from auth.users where id = $1", shop["owner"].id)
    assert await _roles(shop) == {shop["editor"].id: "owner", shop["viewer"].id: "viewer"}
    await _readable(shop, "viewer")
    await shop.db.execute("delete from auth.users where id = $1", shop["editor"].id)
    await shop.db.execute("delete from auth.users where id = $1", shop["viewer"].id)
    for table in ("team_members", "images", "image_outputs"):
        assert await shop.rows(table) == []
    assert await shop.rows("teams", "id = $1") == []


async def _alone(shop: Crew) -> tuple[set[str], uuid.UUID]:
    """Only the owner is left. Keys of the team's objects, one of them without a row; the image's id."""
    await shop.leave("editor")
    await shop.leave("viewer")
    stray = f"{shop.team_id}/{uuid.uuid4()}/output/{uuid.uuid4()}.webp"
    row = await shop.db.fetchrow(
        "select path, thumb_path from public.image_outputs where id = $1", uuid.UUID(shop.output_id)
    )
    assert row is not None
    image = (await shop.rows("images"))[0]
    return {row["path"], row["thumb_path"], image["original_path"], stray}, image["id"]


async def test_a_team_without_others_goes_with_its_owner(shop: Crew, platform: Platform) -> None:
    paths, image_id = await _alone(shop)
    stray = next(path for path in paths if str(image_id) not in path)
    thumb = next(path for path in paths if path.endswith(".thumb.webp"))
    await platform.storage.copy("user-library", thumb, stray, target_bucket="user-library")
    assert await objects(shop.db, *paths) == paths
    invited = {"email": shop["stranger"].user.email, "role": "viewer"}
    invitation = await shop["owner"].say("POST", f"{shop.path}/invitations", invited, status=201)
    row = await _wipe(shop["owner"], platform)
    assert row.receipt is not None
    assert row.receipt["rows"]["images"] == 1
    assert row.receipt["objects"]["user-library"] == len(paths)
    assert await objects(shop.db, *paths) == set()
    assert await shop.rows("teams", "id = $1") == []
    path = f"/invitations/{invitation['invitation_id']}/accept"
    assert await shop["stranger"].refused("POST", path, status=404) == "invitation_not_found"
    # What a former member had made for the team is done still, and nobody is alarmed.
    jobs = await shop.db.fetch(
        "select id, output_id from public.jobs where user_id = $1 and status = 'done'", shop["editor"].id
    )
    assert [str(job["output_id"]) for job in jobs] == [shop.output_id]
    alarms = await shop.db.fetch(
        "select invariant from public.check_invariants() where subject = $1", str(jobs[0]["id"])
    )
    assert alarms == []


@pytest.mark.chaos
@pytest.mark.parametrize("step", ["claimed", "images", "objects", "removed"])
async def test_a_killed_deletion_of_such_a_team_is_completed(
    shop: Crew, platform: Platform, fork_server: ForkServer, step: str
) -> None:
    paths, _ = await _alone(shop)
    paths = await objects(shop.db, *paths)
    queue = f"test-{uuid.uuid4().hex}"
    request = await DataRequests(platform.database).request_deletion(
        shop["owner"].id, delete_account=False, queue=queue
    )
    await platform.doorbell.ring(queue)
    await fork_server.run_until_killed("dying_requester", step, env=alone(queue))
    await hand_over(platform, shop.db, "data_requests", request.request_id)
    row = await ended(platform, request.request_id, shop["owner"].id)
    assert (row.status, row.error) == ("done", None)
    assert await objects(shop.db, *paths) == set()
    assert await shop.rows("teams", "id = $1") == []


async def test_nobody_joins_or_founds_a_team_while_their_data_is_deleted(
    team: Crew, platform: Platform
) -> None:
    hand = team["stranger"]
    body = {"email": hand.user.email, "role": "viewer"}
    await team.plan("stranger", "pro")
    await DataRequests(platform.database).request_deletion(hand.id, delete_account=False, queue="nobody")
    invitation = await team["owner"].say("POST", f"{team.path}/invitations", body, status=201)
    path = f"/invitations/{invitation['invitation_id']}/accept"
    assert await hand.refused("POST", path, status=409) == "data_deletion_running"
    assert await hand.refused("POST", "/teams", {"name": "Mine"}, status=409) == "data_deletion_running"


async def test_an_export_holds_memberships_and_not_the_teams_pictures(shop: Crew, platform: Platform) -> None:
    started = await shop["editor"].say("POST", "/me/export", status=202)
    row = await ended(platform, uuid.UUID(started["request_id"]), shop["editor"].id)
    assert row.receipt is not None
    assert row.receipt["rows"]["team_members"] == 1
    assert row.receipt["rows"]["images"] == 0
    assert row.receipt["files"] == 0
