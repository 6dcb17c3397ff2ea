"""Who may do what with a team's pictures, tried: each role, through the API, through PostgREST and through Storage."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.photos import photo
from tests.teams.crew import MEMBERS, OP, ROLES, Crew, crew, furnish

OUTSIDE = ("former", "stranger")


@dataclass
class Scene:
    """A crew with a picture, a collection and a link. Its former member has made a job and a link, and left."""

    team: Crew
    collection_id: str
    share_id: str
    job_id: str
    objects: list[tuple[str, str]]


@pytest.fixture(scope="module")
async def scene(local: Local, api: Child, worker: Child) -> AsyncIterator[Scene]:
    db = await asyncpg.connect(local.database_url)
    try:
        async with crew(local, api.url, db) as team:
            await furnish(team)
            body = {"name": "Mugs", "team_id": team.team_id}
            collection = await team["editor"].say("POST", "/collections", body, status=201)
            where = f"/collections/{collection['collection_id']}/images/{team.image_id}"
            await team["editor"].say("PUT", where, status=204)
            made = await team.make("former", team.picture, "resize-v1:width-48")
            share = await team["former"].say(
                "POST", f"/outputs/{team.output_id}/share", {"expires_in": 3600}, status=201
            )
            await team.leave("former")
            rows = await team.rows("image_outputs")
            image = (await team.rows("images"))[0]
            objects = [(row["bucket"], row[kind]) for row in rows for kind in ("path", "thumb_path")]
            objects.append(("user-library", image["original_path"]))
            assert len(objects) == 5
            yield Scene(team, collection["collection_id"], share["share_id"], made["job_id"], objects)
    finally:
        await db.close()


# The API

READS = {
    "team": "/teams/{team}",
    "images": "/images?team_id={team}",
    "image": "/images/{image}",
    "collections": "/collections?team_id={team}",
    "images of a collection": "/images?team_id={team}&collection_id={collection}",
    "links": "/outputs/{output}/shares",
}


def _filled(scene: Scene, text: str) -> str:
    """A path or a body with the ids of this scene."""
    ids = {
        "team": scene.team.team_id,
        "image": scene.team.image_id,
        "output": scene.team.output_id,
        "collection": scene.collection_id,
        "share": scene.share_id,
        "viewer": str(scene.team["viewer"].id),
        "editor": str(scene.team["editor"].id),
    }
    for name, value in ids.items():
        text = text.replace("{" + name + "}", value)
    return text


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("role", ROLES)
async def test_reading_through_the_api(scene: Scene, role: str, what: str) -> None:
    hand = scene.team[role]
    if role in MEMBERS:
        await hand.say("GET", _filled(scene, READS[what]))
    else:
        code = await hand.refused("GET", _filled(scene, READS[what]), status=404)
        assert code in {"team_not_found", "image_not_found", "output_not_found"}


@pytest.mark.parametrize("role", OUTSIDE)
async def test_lists_of_outsiders_are_empty(scene: Scene, role: str) -> None:
    hand = scene.team[role]
    assert (await hand.say("GET", "/images?archived=all"))["images"] == []
    assert (await hand.say("GET", "/collections"))["collections"] == []
    assert (await hand.say("GET", "/teams"))["teams"] == []


async def test_an_ex_member_loses_the_jobs_that_were_for_the_team(scene: Scene) -> None:
    hand = scene.team["former"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/uploaded"), ("DELETE", "")):
        assert await hand.refused(method, f"/jobs/{scene.job_id}{path}", status=404) == "job_not_found", path
    promote = {"job_id": scene.job_id}
    assert await hand.refused("POST", "/outputs/promote", promote, status=404) == "job_not_found"


async def test_an_ex_member_finds_nothing_of_the_team_in_the_cache(scene: Scene) -> None:
    """Who knows what a picture's hash is gets it by uploading the picture, not from the team's library."""
    answer = await scene.team["former"].intake(scene.team.picture, OP)
    assert (answer["cached"], answer["upload_url"] is not None) == (False, True)
    await scene.team["former"].say("DELETE", f"/jobs/{answer['job_id']}")


async def test_links_of_an_ex_member_have_ended(scene: Scene) -> None:
    links = (await scene.team["editor"].say("GET", _filled(scene, READS["links"])))["shares"]
    assert [(link["share_id"], link["status"]) for link in links] == [(scene.share_id, "share_revoked")]


NEW = str(uuid.uuid4())
WRITES: dict[str, tuple[str, str, Any]] = {
    "intake": ("POST", "/intake", {"team_id": "{team}"}),
    "rerun": ("POST", "/images/{image}/rerun", {"op_key": "resize-v1:width-40"}),
    "promote": ("POST", "/outputs/promote", {"output_id": "{output}"}),
    "promote into it": ("POST", "/outputs/promote", {"output_id": "{output}", "team_id": "{team}"}),
    "move into it": ("POST", "/teams/{team}/images", {"image_ids": [NEW]}),
    "restore": ("POST", "/outputs/{output}/restore", None),
    "keep": ("PATCH", "/outputs/{output}", {"keep_for_days": 1}),
    "delete output": ("DELETE", "/outputs/{output}", None),
    "delete image": ("DELETE", "/images/{image}", None),
    "archive": ("POST", "/images/{image}/archive", None),
    "unarchive": ("POST", "/images/{image}/unarchive", None),
    "bulk": ("POST", "/images/bulk", {"action": "delete", "image_ids": ["{image}"]}),
    "new collection": ("POST", "/collections", {"name": "Cups", "team_id": "{team}"}),
    "rename collection": ("PATCH", "/collections/{collection}", {"name": "Cups"}),
    "delete collection": ("DELETE", "/collections/{collection}", None),
    "collect": ("PUT", "/collections/{collection}/images/{image}", None),
    "take out": ("DELETE", "/collections/{collection}/images/{image}", None),
    "share": ("POST", "/outputs/{output}/share", {"expires_in": 60}),
    "revoke": ("DELETE", "/shares/{share}", None),
    "rename": ("PATCH", "/teams/{team}", {"name": "Ours"}),
    "delete team": ("DELETE", "/teams/{team}", {"name": "Shop"}),
    "invite": ("POST", "/teams/{team}/invitations", {"email": "ada@example.com", "role": "viewer"}),
    "take over": ("PATCH", "/teams/{team}/members/{editor}", {"role": "owner"}),
    "remove": ("DELETE", "/teams/{team}/members/{editor}", None),
}


async def _state(team: Crew) -> dict[str, Any]:
    """Everything that a write could have changed."""
    tables = ("images", "image_outputs", "collections", "collection_items", "share_links", "jobs")
    state = {table: await team.rows(table) for table in (*tables, "team_members", "team_invitations")}
    return state | {"team": await team.rows("teams", "id = $1")}


@pytest.mark.parametrize("call", WRITES)
async def test_a_viewer_and_outsiders_write_nothing_through_the_api(scene: Scene, call: str) -> None:
    method, path, body = WRITES[call]
    before = await _state(scene.team)
    sent = json.loads(_filled(scene, json.dumps(body)))
    if call == "intake":
        sent = photo().claim(OP, **sent)
    for role in ("viewer", *OUTSIDE):
        answer = await scene.team[role].http.request(method, _filled(scene, path), json=sent)
        if call == "bulk" and role in OUTSIDE:
            assert answer.json()["results"][0]["code"] == "image_not_found"
        elif role == "viewer":
            assert (answer.status_code, answer.json()["code"]) == (403, "role_required"), answer.text
        else:
            assert answer.status_code == 404, answer.text
    assert await _state(scene.team) == before


@pytest.mark.parametrize("call", ["rename", "delete team", "invite", "take over", "remove"])
async def test_an_editor_does_not_run_the_team(scene: Scene, call: str) -> None:
    method, path, body = WRITES[call]
    before = await _state(scene.team)
    where = _filled(scene, path)
    if call == "remove":
        where = where.replace(str(scene.team["editor"].id), str(scene.team["viewer"].id))
    assert await scene.team["editor"].refused(method, where, body, status=403) == "role_required"
    assert await _state(scene.team) == before


# PostgREST

TABLES = {
    "images": "team_id",
    "image_outputs": "team_id",
    "collections": "team_id",
    "collection_items": "team_id",
    "share_links": "team_id",
    "teams": "id",
}


@pytest.mark.parametrize("role", ROLES)
async def test_reading_through_postgrest(scene: Scene, role: str) -> None:
    team, hand = scene.team, scene.team[role]
    for table, column in TABLES.items():
        answer = await hand.supabase.get(f"/rest/v1/{table}", params={"select": column})
        assert answer.status_code == 200, (table, answer.text)
        expected = await team.db.fetchval(
            f"select count(*) from public.{table} where {column} = $1"
            + (" and deleted_at is null" if table == "image_outputs" else ""),
            uuid.UUID(team.team_id),
        )
        assert expected >= 1, table
        ours = [row for row in answer.json() if row[column] == team.team_id]
        assert len(ours) == (expected if role in MEMBERS else 0), table
        if role in OUTSIDE:
            assert team.team_id not in answer.text, table
    answer = await hand.supabase.get("/rest/v1/team_members", params={"select": "team_id,user_id"})
    assert [(row["team_id"], row["user_id"]) for row in answer.json()] == (
        [(team.team_id, str(hand.id))] if role in MEMBERS else []
    )
    assert (await hand.supabase.get("/rest/v1/team_invitations")).status_code in {401, 403}
    answer = await hand.supabase.get("/rest/v1/jobs", params={"select": "id", "id": f"eq.{scene.job_id}"})
    assert answer.json() == []  # of the one who has left, and nobody else's
    answer = await hand.supabase.get("/rest/v1/job_events", params={"job_id": f"eq.{scene.job_id}"})
    assert answer.json() == []


@pytest.mark.parametrize("role", ROLES)
async def test_writing_through_postgrest(scene: Scene, role: str) -> None:
    """Nobody writes a row directly, owners included, nor calls a function."""
    team, hand = scene.team, scene.team[role]
    before = await _state(team)
    for table, column in (TABLES | {"team_members": "team_id", "team_invitations": "team_id"}).items():
        rows = {column: f"eq.{team.team_id}"}
        body = {column: team.team_id}
        for answer in (
            await hand.supabase.post(f"/rest/v1/{table}", json=body),
            await hand.supabase.patch(f"/rest/v1/{table}", params=rows, json=body),
            await hand.supabase.delete(f"/rest/v1/{table}", params=rows),
        ):
            assert answer.status_code in {401, 403}, (table, answer.request.method, answer.text)
    who = {"p_team_id": team.team_id, "p_user_id": str(team["owner"].id)}
    for function, more in (
        ("get_team", {}),
        ("delete_team", {"p_name": "Shop"}),
        ("remove_member", {"p_member_id": str(team["viewer"].id)}),
        ("set_member_role", {"p_member_id": str(hand.id), "p_role": "editor"}),
        ("move_images", {"p_image_ids": [team.image_id], "p_out": True}),
    ):
        answer = await hand.supabase.post(f"/rest/v1/rpc/{function}", json=who | more)
        assert answer.status_code in {401, 403, 404}, (function, answer.text)
    assert await _state(team) == before


# Storage


@pytest.mark.parametrize("role", ROLES)
async def test_reading_through_storage(scene: Scene, role: str) -> None:
    hand = scene.team[role]
    for bucket, path in scene.objects:
        folder, _, name = path.rpartition("/")
        found = [
            (await hand.supabase.get(f"/storage/v1/object/authenticated/{bucket}/{path}")).status_code == 200,
            (await hand.supabase.get(f"/storage/v1/object/info/{bucket}/{path}")).status_code == 200,
            "signedURL"
            in (
                await hand.supabase.post(f"/storage/v1/object/sign/{bucket}/{path}", json={"expiresIn": 60})
            ).json(),
            name
            in [
                item["name"]
                for item in (
                    await hand.supabase.post(
                        f"/storage/v1/object/list/{bucket}",
                        json={"prefix": folder, "search": name, "limit": 10},
                    )
                ).json()
            ],
        ]
        assert found == [role in MEMBERS] * 4, path


@pytest.mark.parametrize("role", ROLES)
async def test_writing_through_storage(scene: Scene, role: str) -> None:
    """Only the service writes; owners of teams are no exception."""
    team, hand = scene.team, scene.team[role]
    kind = {"Content-Type": "image/webp"}
    before = await _objects(team, scene)
    for bucket, path in scene.objects:
        new = f"{team.team_id}/{uuid.uuid4()}/output/{secrets.token_hex(4)}.webp"
        both = {"bucketId": bucket, "sourceKey": path, "destinationKey": new}
        for answer in (
            await hand.supabase.post(f"/storage/v1/object/{bucket}/{new}", content=b"theirs", headers=kind),
            await hand.supabase.put(f"/storage/v1/object/{bucket}/{path}", content=b"theirs", headers=kind),
            await hand.supabase.delete(f"/storage/v1/object/{bucket}/{path}"),
            await hand.supabase.post(f"/storage/v1/object/upload/sign/{bucket}/{new}"),
            await hand.supabase.post("/storage/v1/object/copy", json=both),
            await hand.supabase.post("/storage/v1/object/move", json=both),
        ):
            assert 400 <= answer.status_code < 500, (answer.request.method, str(answer.url), answer.text)
        gone = await hand.supabase.request(
            "DELETE", f"/storage/v1/object/{bucket}", json={"prefixes": [path]}
        )
        assert gone.status_code < 500
        assert gone.json() == [] or gone.status_code >= 400
    assert await _objects(team, scene) == before


async def _objects(team: Crew, scene: Scene) -> list[tuple[str, str, Any]]:
    rows = await team.db.fetch(
        "select bucket_id, name, updated_at from storage.objects"
        " where name = any ($1) or name like $2 order by bucket_id, name",
        [path for _, path in scene.objects],
        f"{team.team_id}/%",
    )
    return [tuple(row) for row in rows]
