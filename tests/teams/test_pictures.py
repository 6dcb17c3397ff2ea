"""A team's pictures: made for it, moved into it, worked on by its editors, given back by its deletion."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.cache.hot_answers import hit_key
from service.platform.resources import Platform
from tests.library.people import Connection, clean, objects
from tests.photos import photo
from tests.teams.crew import OP, Crew, crew
from workers.originals import originals


async def _images(team: Crew, role: str, *, own: bool = False) -> list[dict[str, Any]]:
    path = "/images?archived=all" + ("" if own else f"&team_id={team.team_id}")
    images: list[dict[str, Any]] = (await team[role].say("GET", path))["images"]
    return images


async def _own(team: Crew, role: str, **changed: Any) -> tuple[Any, str]:
    """A finished picture of this member's own: (photo, id of its image)."""
    picture = photo()
    await team[role].process(picture, OP, **changed)
    row = await team.db.fetchrow(
        "select id from public.images where user_id = $1 and sha256 = $2", team[role].id, picture.sha256
    )
    assert row is not None
    return picture, str(row["id"])


async def test_what_is_made_for_a_team_is_kept_in_its_library(shop: Crew, platform: Platform) -> None:
    """The editor's plan keeps nothing; the team's does. The cost is the editor's, the bytes lie under the team."""
    image, output = (await shop.rows("images"))[0], (await shop.rows("image_outputs"))[0]
    assert (image["user_id"], output["user_id"]) == (None, None)
    assert image["original_path"] == f"{shop.team_id}/{image['id']}/original.jpg"
    assert output["path"].startswith(f"{shop.team_id}/{image['id']}/output/")
    assert (output["bucket"], output["version"], output["expires_at"]) == ("user-library", 1, None)
    for role in ("owner", "editor", "viewer"):
        document = await shop[role].say("GET", f"/images/{image['id']}")
        assert document["team_id"] == shop.team_id
        downloaded = await shop[role].download(document["original_url"])
        assert downloaded.content == shop.picture.data
        assert (await shop[role].download(document["outputs"][0]["url"])).status_code == 200
    job = await shop.db.fetchrow("select * from public.jobs where output_id = $1", output["id"])
    assert job is not None
    assert (job["user_id"], str(job["team_id"])) == (shop["editor"].id, shop.team_id)
    assert await _images(shop, "editor", own=True) == []


async def test_asking_again_is_a_hit_for_every_editor_and_lies_in_no_cache_of_redis(
    shop: Crew, platform: Platform
) -> None:
    for role in ("editor", "owner"):
        again = await shop[role].intake(shop.picture, OP, team_id=shop.team_id)
        assert (again["cached"], again["expires_at"]) == (True, None)
    row = (await shop.rows("image_outputs"))[0]
    for owner in (uuid.UUID(shop.team_id), shop["editor"].id, shop["owner"].id):
        assert await platform.redis.exists(hit_key(row["cache_key"].hex(), owner)) == 0
    assert len(await shop.rows("image_outputs")) == 1


async def test_a_hit_on_somebody_elses_result_is_copied_into_the_library(team: Crew) -> None:
    picture = photo()
    await team["owner"].process(picture, OP)
    answer = await team["owner"].intake(picture, OP, team_id=team.team_id)
    assert (answer["cached"], answer["expires_at"]) == (True, None)
    mine = await team.db.fetchrow(
        "select path from public.image_outputs where user_id = $1 and deleted_at is null", team["owner"].id
    )
    theirs = (await team.rows("image_outputs"))[0]
    assert (theirs["bucket"], theirs["version"]) == ("user-library", 1)
    assert mine is not None
    assert mine["path"] != theirs["path"]


async def test_two_destinations_of_one_member_are_two_jobs(team: Crew) -> None:
    picture = photo()
    mine = await team["editor"].intake(picture, OP)
    theirs = await team["editor"].intake(picture, OP, team_id=team.team_id)
    again = await team["editor"].intake(picture, OP, team_id=team.team_id)
    assert mine["job_id"] != theirs["job_id"] == again["job_id"]
    for answer in (mine, theirs):
        await team["editor"].upload(answer, picture)
    for answer in (mine, theirs):
        assert (await team["editor"].wait(answer["job_id"]))["status"] == "done"
    assert len(await _images(team, "viewer")) == 1


async def test_editors_run_ops_on_the_teams_originals(shop: Crew) -> None:
    """Without an upload, whoever sent the picture."""
    other = shop["owner"]
    answer = await other.say("POST", f"/images/{shop.image_id}/rerun", {"op_key": "resize-v1:width-40"})
    job = answer["results"][0]["answer"]
    done = await other.wait(job["job_id"])
    assert done["status"] == "done"
    versions = sorted(row["version"] for row in await shop.rows("image_outputs"))
    assert versions == [1, 2]
    restored = await shop["editor"].say("POST", f"/outputs/{shop.output_id}/restore")
    assert (restored["version"], restored["current"], restored["team_id"]) == (1, True, shop.team_id)


async def test_a_team_keeps_as_many_versions_as_it_wants(shop: Crew, platform: Platform) -> None:
    await shop["owner"].say("PATCH", shop.path, {"versions_to_keep": 2})
    for width in (40, 41, 42):
        await shop.make("editor", shop.picture, f"resize-v1:width-{width}")
    live = [row for row in await shop.rows("image_outputs") if row["deleted_at"] is None]
    assert sorted(row["version"] for row in live) == [3, 4]
    gone = [row["path"] for row in await shop.rows("image_outputs") if row["deleted_at"] is not None]
    await clean(platform, shop.db, *gone)
    assert await objects(shop.db, *gone) == set()


async def test_deleting_takes_the_bytes_and_leaves_a_trace(shop: Crew, platform: Platform) -> None:
    image = (await shop.rows("images"))[0]
    output = (await shop.rows("image_outputs"))[0]
    await shop["editor"].say("DELETE", f"/outputs/{shop.output_id}", status=204)
    await shop["editor"].say("DELETE", f"/images/{shop.image_id}", status=204)
    assert [row["actor"] for row in await shop.audited("image.delete")] == [shop["editor"].id]
    assert [row["actor"] for row in await shop.audited("output.delete")] == [shop["editor"].id]
    paths = (image["original_path"], output["path"], output["thumb_path"])
    await clean(platform, shop.db, *paths)
    assert await objects(shop.db, *paths) == set()


async def test_own_pictures_move_into_a_team_with_all_that_is_of_them(team: Crew, platform: Platform) -> None:
    """Objects stay under the keys they have; rows, links, jobs and caches know the new owner."""
    owner = team["owner"]
    picture, image_id = await _own(team, "owner", wants_persist=True)
    before = await team.db.fetchrow("select * from public.images where id = $1", uuid.UUID(image_id))
    output = await team.db.fetchrow(
        "select * from public.image_outputs where image_id = $1", uuid.UUID(image_id)
    )
    assert before is not None and output is not None  # noqa: PT018
    link = await owner.say("POST", f"/outputs/{output['id']}/share", {"expires_in": 60}, status=201)
    assert (await owner.intake(picture, OP))["cached"] is True  # in Redis from here on
    unknown = str(uuid.uuid4())
    body = {"image_ids": [image_id, unknown, image_id]}
    moved = await owner.say("POST", f"{team.path}/images", body)
    assert moved["results"] == [
        {"image_id": image_id, "done": True, "now": image_id, "code": None},
        {"image_id": unknown, "done": False, "now": None, "code": "image_not_found"},
    ]
    again = await owner.say("POST", f"{team.path}/images", body)
    assert not any(result["done"] for result in again["results"])
    assert [image["image_id"] for image in await _images(team, "viewer")] == [image_id]
    assert await _images(team, "owner", own=True) == []
    document = await team["viewer"].say("GET", f"/images/{image_id}")
    assert (await owner.download(document["original_url"])).content == picture.data
    row = (await team.rows("images"))[0]
    assert row["original_path"] == before["original_path"]
    assert row["original_path"].startswith(f"{owner.id}/")
    shares = await team["editor"].say("GET", f"/outputs/{output['id']}/shares")
    assert [share["share_id"] for share in shares["shares"]] == [link["share_id"]]
    assert await platform.redis.exists(hit_key(output["cache_key"].hex(), owner.id)) == 0
    assert [
        json.loads(row["data"])["images"][0]["image_id"] for row in await team.audited("images.give")
    ] == [image_id]


async def test_only_editors_move_pictures_in_and_only_their_own(team: Crew) -> None:
    _, image_id = await _own(team, "viewer")
    body = {"image_ids": [image_id]}
    assert await team["viewer"].refused("POST", f"{team.path}/images", body, status=403) == "role_required"
    assert await team["stranger"].refused("POST", f"{team.path}/images", body, status=404) == "team_not_found"
    answer = await team["editor"].say("POST", f"{team.path}/images", body)
    assert answer["results"][0]["done"] is False
    assert len(await _images(team, "viewer", own=True)) == 1


async def test_pictures_of_the_same_bytes_become_one(shop: Crew, platform: Platform) -> None:
    """Versions are counted on, the same result is kept once, one original goes; the owner takes the picture out."""
    owner = shop["owner"]
    for op in (OP, "resize-v1:width-40"):
        await owner.process(shop.picture, op, wants_persist=True)
    mine = (await _images(shop, "owner", own=True))[0]
    own_image = await shop.db.fetchrow(
        "select * from public.images where id = $1", uuid.UUID(mine["image_id"])
    )
    double = await shop.db.fetchrow(
        "select * from public.image_outputs where user_id = $1 and op_key = $2", owner.id, OP
    )
    assert own_image is not None and double is not None  # noqa: PT018
    moved = await owner.say("POST", f"{shop.path}/images", {"image_ids": [mine["image_id"]]})
    assert moved["results"][0]["now"] == shop.image_id
    live = [row for row in await shop.rows("image_outputs") if row["deleted_at"] is None]
    assert sorted((row["op_key"], row["version"]) for row in live) == [("resize-v1:width-40", 2), (OP, 1)]
    doomed = (own_image["original_path"], double["path"], double["thumb_path"])
    await clean(platform, shop.db, *doomed)
    assert await objects(shop.db, *doomed) == set()
    document = await shop["viewer"].say("GET", f"/images/{shop.image_id}")
    assert (await owner.download(document["original_url"])).content == shop.picture.data
    assert [(await owner.download(output["url"])).status_code for output in document["outputs"]] == [200, 200]
    taken = await owner.say("POST", f"{shop.path}/images/take", {"image_ids": [shop.image_id]})
    assert taken["results"][0]["done"] is True
    assert await _images(shop, "viewer") == []
    assert [image["image_id"] for image in await _images(shop, "owner", own=True)] == [shop.image_id]
    assert await shop["editor"].refused("GET", f"/images/{shop.image_id}", status=404) == "image_not_found"
    assert len(await shop.audited("images.take")) == 1


async def test_a_job_forgets_a_picture_that_has_gone_to_somebody_else(shop: Crew) -> None:
    """The editor made it; the owner takes it out: the editor's job no longer leads to it."""
    job = await shop.db.fetchval(
        "select job_id from public.image_outputs where team_id = $1", uuid.UUID(shop.team_id)
    )
    assert (await shop["editor"].job(str(job)))["output"] is not None
    await shop["owner"].say("POST", f"{shop.path}/images/take", {"image_ids": [shop.image_id]})
    assert (await shop["editor"].job(str(job)))["output"] is None


async def test_promoting_into_a_team(team: Crew, platform: Platform) -> None:
    """A free editor's result, which would go in a day, with its original; once, however often it is asked for."""
    picture = photo()
    done = await team["editor"].process(picture, OP)
    plain = {"job_id": done["job_id"]}
    assert await team["editor"].refused("POST", "/outputs/promote", plain, status=402) == "plan_required"
    body = plain | {"team_id": team.team_id}
    answers = await asyncio.gather(
        *(team["editor"].http.post("/outputs/promote", json=body) for _ in range(3))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["version"] for answer in answers} == {1}
    assert {answer.json()["team_id"] for answer in answers} == {team.team_id}
    async with asyncio.timeout(30):
        while (image := (await team.rows("images"))[0])["original_due_at"] is not None:
            await originals(platform)
    assert image["original_path"] == f"{team.team_id}/{image['id']}/original.jpg"
    live = [row for row in await team.rows("image_outputs") if row["deleted_at"] is None]
    assert [row["version"] for row in live] == [1]
    assert live[0]["path"].startswith(f"{team.team_id}/")


async def test_collections_are_of_one_library(shop: Crew) -> None:
    body = {"name": "Mugs", "team_id": shop.team_id}
    theirs = (await shop["editor"].say("POST", "/collections", body, status=201))["collection_id"]
    assert await shop["owner"].refused("POST", "/collections", body, status=409) == "collection_exists"
    mine = (await shop["owner"].say("POST", "/collections", {"name": "Mugs"}, status=201))["collection_id"]
    await shop["owner"].say("PUT", f"/collections/{theirs}/images/{shop.image_id}", status=204)
    where = f"/collections/{mine}/images/{shop.image_id}"
    assert await shop["owner"].refused("PUT", where, status=404) == "image_not_found"
    nested = {"name": "Blue", "parent_id": theirs}
    assert await shop["owner"].refused("POST", "/collections", nested, status=404) == "collection_not_found"
    nested |= {"team_id": shop.team_id}
    await shop["editor"].say("POST", "/collections", nested, status=201)
    listed = await shop["viewer"].say("GET", f"/collections?team_id={shop.team_id}")
    assert [(row["name"], row["images"]) for row in listed["collections"]] == [("Blue", 0), ("Mugs", 1)]
    mixed = {"action": "move", "image_ids": [shop.image_id], "collection_id": mine}
    answer = await shop["owner"].say("POST", "/images/bulk", mixed)
    assert answer["results"][0]["code"] == "image_not_found"


async def test_the_storage_of_a_team_counts_for_its_owner(shop: Crew) -> None:
    used = "select private.storage_used($1)"
    before = await shop.db.fetchval(used, shop["owner"].id)
    assert before >= len(shop.picture.data)
    assert await shop.db.fetchval(used, shop["editor"].id) == 0
    await shop.plan("editor", "pro")
    who = f"{shop.path}/members/{shop['editor'].id}"
    await shop["owner"].say("PATCH", who, {"role": "owner"})
    assert await shop.db.fetchval(used, shop["editor"].id) == before
    assert await shop.db.fetchval(used, shop["owner"].id) == 0


async def test_a_team_is_handed_to_nobody_whom_it_would_overfill(shop: Crew) -> None:
    """Nobody is asked: whoever gets it would find their own library read-only."""
    plan = f"tiny-{uuid.uuid4().hex[:12]}"
    await shop.db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, seats, storage_bytes)"
        " values ($1, 'Tiny', 8, 100, true, 5, 1)",
        plan,
    )
    await shop.plan("editor", plan)
    theirs = f"{shop.path}/members/{shop['editor'].id}"
    body = {"role": "owner"}
    refusal = await shop["owner"].say("PATCH", theirs, body, status=402)
    assert (refusal["code"], "storage" in refusal["detail"]) == ("plan_required", True)
    used = "select private.storage_used($1)"
    assert await shop.db.fetchval(used, shop["editor"].id) == 0
    assert (await shop["owner"].say("GET", shop.path))["role"] == "owner"
    await shop.plan("editor", "pro")
    await shop["owner"].say("PATCH", theirs, body)
    assert await shop.db.fetchval(used, shop["owner"].id) == 0
    assert await shop.db.fetchval(used, shop["editor"].id) > 1


async def test_a_members_own_plan_limits_the_size_and_the_teams_has_no_watermark(team: Crew) -> None:
    """An editor whose own results are previews, in a paid team: no watermark, at the working size."""
    plan = uuid.uuid4().hex
    await team.db.execute(
        "insert into public.plans (id, name, max_running, max_pending, watermark, high_res_exports_per_month)"
        " values ($1, 'Previews', 2, 10, true, 0)",
        plan,
    )
    await team.plan("editor", plan)
    large = photo(2200, 60)
    variants = {}
    for role, team_id in (("editor", team.team_id), ("editor", None), ("owner", team.team_id)):
        answer = await team[role].intake(large, OP, team_id=team_id)
        variants[role, team_id is None] = await team.db.fetchval(
            "select variant from public.jobs where id = $1", uuid.UUID(answer["job_id"])
        )
        await team[role].say("DELETE", f"/jobs/{answer['job_id']}")
    assert variants == {
        ("editor", False): "side-2048",
        ("editor", True): "side-2048.marked",
        ("owner", False): "full",
    }


async def test_a_full_library_takes_nothing_in(shop: Crew) -> None:
    """The owner's plan has no room: nothing new for the team, whoever brings it; what is there can be read."""
    _, image_id = await _own(shop, "editor")
    plan = uuid.uuid4().hex
    await shop.db.execute(
        "insert into public.plans (id, name, max_running, max_pending, persistent, seats, storage_bytes)"
        " values ($1, 'Full', 8, 100, true, 5, 1)",
        plan,
    )
    await shop.plan("owner", plan)
    for method, path, body in (
        ("POST", f"{shop.path}/images", {"image_ids": [image_id]}),
        ("POST", "/intake", photo().claim(OP, team_id=shop.team_id)),
    ):
        assert await shop["editor"].refused(method, path, body, status=402) == "storage_full"
    assert len(await _images(shop, "viewer")) == 1
    await shop["editor"].say("DELETE", f"/images/{shop.image_id}", status=204)


async def test_deleting_a_team_gives_its_owner_everything(shop: Crew) -> None:
    owner = shop["owner"]
    body = {"name": "Mugs", "team_id": shop.team_id}
    collection = (await shop["editor"].say("POST", "/collections", body, status=201))["collection_id"]
    await shop["editor"].say("PUT", f"/collections/{collection}/images/{shop.image_id}", status=204)
    await owner.say("POST", "/collections", {"name": "Mugs"}, status=201)
    link = await shop["editor"].say(
        "POST", f"/outputs/{shop.output_id}/share", {"expires_in": 600}, status=201
    )
    running = await shop["editor"].intake(photo(), OP, team_id=shop.team_id)
    wrong = {"name": "Other"}
    assert await owner.refused("DELETE", shop.path, wrong, status=422) == "invalid_request"
    # Whoever asks again, having heard no answer, hears it then.
    for _ in range(2):
        assert await owner.say("DELETE", shop.path, {"name": "Shop"}) == {"images": 1}
    assert await shop["editor"].refused("DELETE", shop.path, {"name": "Shop"}, status=404) == "team_not_found"
    for role in ("owner", "editor", "viewer"):
        assert await shop[role].refused("GET", shop.path, status=404) == "team_not_found"
    document = await owner.say("GET", f"/images/{shop.image_id}")
    assert (document["team_id"], document["collection_ids"]) == (None, [collection])
    assert (await owner.download(document["original_url"])).content == shop.picture.data
    names = [row["name"] for row in (await owner.say("GET", "/collections"))["collections"]]
    assert names == ["Mugs", "Mugs (Shop)"]
    assert await shop["editor"].refused("GET", f"/images/{shop.image_id}", status=404) == "image_not_found"
    assert (await shop["editor"].job(running["job_id"]))["status"] == "canceled"
    opened = await shop["viewer"].http.get(link["url"], headers={"Authorization": ""})
    assert (opened.status_code, opened.json()["code"]) == (410, "share_revoked")
    assert len(await shop.audited("team.delete")) == 1
    again = await owner.say("POST", f"/images/{shop.image_id}/rerun", {"op_key": "resize-v1:width-40"})
    assert (await owner.wait(again["results"][0]["answer"]["job_id"]))["status"] == "done"


async def test_leaving_cancels_what_was_in_the_making(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    """Credits come back, and the upload that follows starts nothing."""
    async with crew(local, api.url, db) as team:
        picture = photo()
        answer = await team["editor"].intake(picture, OP, team_id=team.team_id)
        await team.leave("editor")
        job = await db.fetchrow("select * from public.jobs where id = $1", uuid.UUID(answer["job_id"]))
        assert job is not None
        assert job["status"] == "canceled"
        sent = await team["editor"].put(answer["upload_url"], picture.data)
        assert sent.status_code == 200
        await team["editor"].refused("POST", f"/jobs/{answer['job_id']}/uploaded", status=404)
        assert await team.rows("images") == []


async def test_members_of_a_team_see_its_outputs(shop: Crew) -> None:
    output = (await shop.rows("image_outputs"))[0]
    path = f"/outputs/{output['id']}"
    for role in ("owner", "editor", "viewer"):
        seen = await shop[role].say("GET", path)
        assert (seen["team_id"], seen["version"]) == (shop.team_id, 1)
        assert (seen["job_id"] is not None) == (role == "editor")  # who had it made
    assert await shop["stranger"].refused("GET", path, status=404) == "output_not_found"


async def _review(team: Crew, table: str, column: str, row_id: object) -> None:
    await team.db.execute(f"update public.{table} set {column} = 'review' where id = $1::uuid", str(row_id))


@pytest.mark.parametrize(
    ("table", "column"), [("image_outputs", "moderation"), ("images", "original_moderation")]
)
async def test_a_picture_in_review_stays_out_of_a_team(team: Crew, table: str, column: str) -> None:
    await team.db.execute(
        "update public.profiles set keep_original = true where user_id = $1", team["owner"].id
    )
    _, image = await _own(team, "owner", wants_persist=True)
    _, clean_one = await _own(team, "owner", wants_persist=True)
    output = await team.db.fetchval("select id from public.image_outputs where image_id = $1::uuid", image)
    await _review(team, table, column, output if table == "image_outputs" else image)
    body = {"image_ids": [image, clean_one]}
    held, moved = (await team["owner"].say("POST", f"{team.path}/images", body))["results"]
    assert (held["done"], held["code"], moved["done"]) == (False, "in_review", True)
    promotion = {"output_id": str(output), "team_id": team.team_id}
    assert await team["owner"].refused("POST", "/outputs/promote", promotion, status=409) == "in_review"
    assert [found["image_id"] for found in await _images(team, "viewer")] == [clean_one]


async def test_what_is_in_review_is_shown_to_the_member_who_made_it(shop: Crew) -> None:
    """Through the API, PostgREST and Storage; approved, to all."""
    row = (await shop.rows("image_outputs"))[0]
    files = f"/storage/v1/object/authenticated/user-library/{row['path']}"

    async def seen(role: str) -> tuple[int, int, int]:
        hand = shop[role]
        image = await hand.http.get(f"/images/{shop.image_id}")
        rows = await hand.supabase.get(
            "/rest/v1/image_outputs", params={"select": "id", "id": f"eq.{row['id']}"}
        )
        versions = len(image.json()["outputs"]) if image.status_code == 200 else 0
        return versions, len(rows.json()), (await hand.supabase.get(files)).status_code

    await _review(shop, "image_outputs", "moderation", row["id"])
    assert await seen("editor") == (1, 1, 200)
    assert await _images(shop, "viewer") != []
    for role in ("owner", "viewer"):
        versions, rows, status = await seen(role)
        assert (versions, rows) == (0, 0)
        assert status in {400, 404}
    assert (await shop["owner"].intake(shop.picture, OP, team_id=shop.team_id))["cached"] is False
    await _review(shop, "images", "original_moderation", shop.image_id)
    assert (await _images(shop, "viewer"), len(await _images(shop, "editor"))) == ([], 1)
    await shop["owner"].say("GET", f"/images/{shop.image_id}", status=404)
    await shop.db.execute("update public.image_outputs set moderation = 'approved' where id = $1", row["id"])
    await shop.db.execute(
        "update public.images set original_moderation = 'approved' where id = $1::uuid", shop.image_id
    )
    assert await seen("viewer") == (1, 1, 200)


async def test_what_one_has_in_review_answers_no_intake_for_a_team(team: Crew) -> None:
    picture, image = await _own(team, "owner", wants_persist=True)
    output = await team.db.fetchval("select id from public.image_outputs where image_id = $1::uuid", image)
    await _review(team, "image_outputs", "moderation", output)
    assert (await team["owner"].intake(picture, OP, team_id=team.team_id))["cached"] is False
    assert (await team["owner"].intake(picture, OP))["cached"] is True
