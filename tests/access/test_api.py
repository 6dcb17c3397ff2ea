"""The life of a key over HTTP: made, used, changed, rotated, revoked; each refusal has its own code."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.access.key_format import checksum, make_key
from tests.access.conftest import ALL_SCOPES, Owner, bearer, refused
from tests.photos import photo
from tests.support import sign_up


async def test_a_key_works_where_a_session_does(owner: Owner) -> None:
    made = await owner.make(name="Shop importer")
    assert made["key"].startswith("dk_test_")
    assert made["prefix"] == made["key"][:16]
    me = await owner.http.get("/me", headers=bearer(made))
    assert me.status_code == 200
    assert me.json()["user_id"] == str(owner.user.id)
    asked = await owner.http.post("/intake", json=photo().claim("resize-v1:width-40"), headers=bearer(made))
    assert asked.status_code == 200, asked.text
    job_id = asked.json()["job_id"]
    mine = await owner.http.get(f"/jobs/{job_id}", headers=owner.user.bearer)
    assert mine.status_code == 200
    kept = await owner.db.fetchrow(
        "select user_id, api_key_id from public.jobs where id = $1", uuid.UUID(job_id)
    )
    assert kept is not None
    assert (kept["user_id"], str(kept["api_key_id"])) == (owner.user.id, made["key_id"])


async def test_the_secret_is_shown_once_and_kept_nowhere(owner: Owner) -> None:
    made = await owner.make()
    listed = (await owner.manage("GET")).json()["api_keys"]
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert "key" not in listed[0]
    assert made["key"] not in (await owner.manage("GET")).text
    rows = await owner.db.fetch(
        "select k::text || s::text as row, s.hash from public.api_keys k join public.api_key_secrets s"
        " on s.key_id = k.id where k.user_id = $1",
        owner.user.id,
    )
    assert len(rows) == 1
    assert made["key"][16:] not in rows[0]["row"]
    assert rows[0]["hash"] != hashlib.sha256(made["key"].encode()).digest()
    audit = await owner.db.fetch("select data::text from public.audit_log where subject = $1", made["key_id"])
    assert not any(made["key"][16:] in row["data"] for row in audit)


async def test_unknown_and_wrong_are_the_same_refusal(owner: Owner) -> None:
    made = await owner.make()
    known, other = made["key"], make_key(live=False).key
    body = known[:16] + other[16:48]

    answers = [await owner.http.get("/me", headers=bearer(key)) for key in (other, body + checksum(body))]
    assert {refused(answer) for answer in answers} == {(401, "invalid_api_key")}
    problems = [answer.json() | {"request_id": None} for answer in answers]
    assert problems[0] == problems[1]
    assert answers[0].headers["WWW-Authenticate"] == answers[1].headers["WWW-Authenticate"]


async def test_a_key_of_another_form_is_invalid(owner: Owner) -> None:
    made = await owner.make()
    swapped = made["key"][:-1] + ("a" if made["key"][-1] != "a" else "b")
    for key in (swapped, "dk_test_", "dk_nothing", made["key"] + "x"):
        assert refused(await owner.http.get("/me", headers=bearer(key))) == (401, "invalid_api_key")


async def test_a_revoked_key_says_so(owner: Owner) -> None:
    made = await owner.make()
    assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200
    await owner.revoke(made)
    assert refused(await owner.http.get("/me", headers=bearer(made))) == (401, "api_key_revoked")
    again = await owner.manage("DELETE", f"/{made['key_id']}")
    assert (again.status_code, again.json()["status"]) == (200, "revoked")


async def test_an_expired_key_says_so(owner: Owner) -> None:
    made = await owner.make(expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200
    fresh = await owner.make(expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    await owner.db.execute(
        "update public.api_keys set expires_at = now() - interval '1 second' where id = $1",
        uuid.UUID(fresh["key_id"]),
    )
    assert refused(await owner.http.get("/me", headers=bearer(fresh))) == (401, "api_key_expired")
    statuses = {key["key_id"]: key["status"] for key in (await owner.manage("GET")).json()["api_keys"]}
    assert statuses == {made["key_id"]: "active", fresh["key_id"]: "expired"}


@pytest.mark.parametrize(
    "expires_at",
    # The last is in the year 10000 of UTC: a row that no process could read.
    ["2020-01-01T00:00:00Z", "2030-01-01T00:00:00", "soon", "9999-12-31T23:59:59-14:00"],
)
async def test_an_end_must_be_a_moment_to_come(owner: Owner, expires_at: str) -> None:
    answer = await owner.manage("POST", json={"name": "x", "scopes": ["intake"], "expires_at": expires_at})
    assert refused(answer) == (422, "invalid_request")
    assert (await owner.manage("GET")).json()["api_keys"] == []


async def test_a_key_does_what_its_scopes_say(owner: Owner) -> None:
    made = await owner.make(scopes=["library:read"])
    assert (await owner.http.get("/images", headers=bearer(made))).status_code == 200
    answer = await owner.http.post("/collections", json={"name": "Mugs"}, headers=bearer(made))
    assert refused(answer) == (403, "insufficient_scope")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="library:write"'


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["everything"],
        "intake",
        ["intake", "jobs:read", "library:read", "library:write", "usage:read", "x"],
    ],
)
async def test_scopes_must_be_known(owner: Owner, scopes: Any) -> None:
    answer = await owner.manage("POST", json={"name": "x", "scopes": scopes})
    assert refused(answer) == (422, "invalid_request")


async def test_a_plan_without_api_access_is_told_apart(owner: Owner) -> None:
    made = await owner.make()
    await owner.put_on("free")
    used = await owner.http.get("/me", headers=bearer(made))
    denied = await owner.manage("POST", json={"name": "x", "scopes": ["intake"]})
    for answer in (used, denied):
        assert refused(answer) == (403, "api_access_required")
        assert (answer.json()["violated_policies"], answer.json()["plan_required"]) == (["api_access"], "pro")
    await owner.put_on("pro")
    assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200


async def test_only_the_right_secret_learns_what_became_of_a_key(owner: Owner) -> None:
    """A wrong secret for a revoked key is no different from one for a key that never was."""

    made = await owner.make()
    await owner.revoke(made)
    body = made["key"][:16] + make_key(live=False).key[16:48]
    assert refused(await owner.http.get("/me", headers=bearer(body + checksum(body)))) == (
        401,
        "invalid_api_key",
    )


async def test_a_key_manages_no_keys(owner: Owner) -> None:
    made = await owner.make()
    path = f"/api-keys/{made['key_id']}"
    wanted = {"name": "x", "scopes": ALL_SCOPES}
    for method, where, body in (
        ("POST", "/api-keys", wanted),
        ("GET", "/api-keys", None),
        ("PATCH", path, {"name": "y"}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", {"overlap_hours": 1}),
    ):
        answer = await owner.http.request(method, where, json=body, headers=bearer(made))
        assert refused(answer) == (403, "session_required"), where
    assert len((await owner.manage("GET")).json()["api_keys"]) == 1


async def test_nobody_touches_the_keys_of_others(owner: Owner, local: Local) -> None:
    made = await owner.make()
    stranger = Owner(await sign_up(local), owner.db, owner.http)
    assert (await stranger.manage("GET")).json()["api_keys"] == []
    path = f"/{made['key_id']}"
    for method, where, body in (
        ("PATCH", path, {"name": "y"}),
        ("DELETE", path, None),
        ("POST", f"{path}/rotate", {"overlap_hours": 1}),
    ):
        assert refused(await stranger.manage(method, where, body)) == (404, "api_key_not_found")
    anonymous = await owner.http.get("/api-keys")
    assert refused(anonymous) == (401, "sign_in_required")
    assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200


async def test_rotation_overlaps(owner: Owner) -> None:
    first = await owner.make()
    assert (await owner.http.get("/me", headers=bearer(first))).status_code == 200
    second = (await owner.manage("POST", f"/{first['key_id']}/rotate", {"overlap_hours": 2})).json()
    assert second["key"] != first["key"]
    assert second["key_id"] == first["key_id"]
    left = datetime.fromisoformat(second["overlap_ends_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
    for key in (first, second):
        assert (await owner.http.get("/me", headers=bearer(key))).status_code == 200
    await owner.db.execute(
        "update public.api_key_secrets set valid_until = now() where prefix = $1", first["prefix"]
    )
    later = (await owner.manage("PATCH", f"/{first['key_id']}", {"name": "Renamed"})).json()
    assert later["overlap_ends_at"] is None
    assert refused(await owner.http.get("/me", headers=bearer(first))) == (401, "api_key_expired")
    assert (await owner.http.get("/me", headers=bearer(second))).status_code == 200
    third = (await owner.manage("POST", f"/{first['key_id']}/rotate", {"overlap_hours": 0})).json()
    assert refused(await owner.http.get("/me", headers=bearer(first))) == (401, "invalid_api_key")
    assert refused(await owner.http.get("/me", headers=bearer(second))) == (401, "api_key_expired")
    assert (await owner.http.get("/me", headers=bearer(third))).status_code == 200


async def test_revoking_ends_every_secret(owner: Owner) -> None:
    first = await owner.make()
    second = (await owner.manage("POST", f"/{first['key_id']}/rotate", {"overlap_hours": 24})).json()
    await owner.revoke(first)
    for key in (first, second):
        assert refused(await owner.http.get("/me", headers=bearer(key))) == (401, "api_key_revoked")
    rotated = await owner.manage("POST", f"/{first['key_id']}/rotate", {"overlap_hours": 24})
    assert refused(rotated) == (409, "conflict")


async def test_name_and_caps_change(owner: Owner) -> None:
    made = await owner.make(rate_per_minute=30, spend_cap=500)
    path = f"/{made['key_id']}"
    renamed = (await owner.manage("PATCH", path, {"name": "Nightly"})).json()
    assert (renamed["name"], renamed["rate_per_minute"], renamed["spend_cap"]) == ("Nightly", 30, 500)
    freed = (await owner.manage("PATCH", path, {"spend_cap": None, "rate_per_minute": None})).json()
    assert (freed["name"], freed["rate_per_minute"], freed["spend_cap"]) == ("Nightly", None, None)
    assert refused(await owner.manage("PATCH", path, {"scopes": ["intake"]})) == (422, "invalid_request")


async def test_what_happens_to_keys_is_audited(owner: Owner) -> None:
    made = await owner.make()
    await owner.manage("PATCH", f"/{made['key_id']}", {"name": "Nightly"})
    await owner.manage("POST", f"/{made['key_id']}/rotate", {"overlap_hours": 24})
    await owner.revoke(made)
    await owner.revoke(made)
    rows = await owner.db.fetch(
        "select action, actor from public.audit_log where subject = $1 order by id", made["key_id"]
    )
    assert [row["action"] for row in rows] == [
        "api_key.create",
        "api_key.update",
        "api_key.rotate",
        "api_key.revoke",
    ]
    assert {row["actor"] for row in rows} == {owner.user.id}


async def test_a_rate_of_its_own(owner: Owner) -> None:
    made = await owner.make(rate_per_minute=2)
    claims = [photo().claim("resize-v1:width-40") for _ in range(3)]
    answers = [await owner.http.post("/intake", json=claim, headers=bearer(made)) for claim in claims]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    names = [item.split(";")[0] for item in answers[0].headers["RateLimit-Policy"].split(", ")]
    assert names == ['"ip"', '"network"', '"user"', '"key"']
    assert '"key";q=2;w=60' in answers[0].headers["RateLimit-Policy"]
    assert [item.split(";")[0] for item in answers[2].headers["RateLimit"].split(", ")] == names
    assert '"key";r=0;' in answers[2].headers["RateLimit"]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 30
    other = await owner.make()
    session = await owner.http.post("/intake", json=claims[2], headers=owner.user.bearer)
    assert session.status_code == 200
    assert (await owner.http.post("/intake", json=claims[2], headers=bearer(other))).status_code == 200


async def test_last_use_is_noted(owner: Owner, local: Local) -> None:
    made = await owner.make()
    assert made["last_used_at"] is None
    assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200
    while (await owner.manage("GET")).json()["api_keys"][0]["last_used_at"] is None:
        pass  # written off the request's path, a moment later
    first = (await owner.manage("GET")).json()["api_keys"][0]["last_used_at"]
    for _ in range(20):
        await owner.http.get("/me", headers=bearer(made))
    assert (await owner.manage("GET")).json()["api_keys"][0]["last_used_at"] == first


async def test_keys_are_limited_in_number(owner: Owner) -> None:
    made = [await owner.make() for _ in range(20)]
    wanted = {"name": "one more", "scopes": ["intake"]}
    assert refused(await owner.manage("POST", json=wanted)) == (409, "too_many_api_keys")
    await owner.revoke(made[0])
    assert (await owner.manage("POST", json=wanted)).status_code == 201


async def test_the_owner_reads_keys_by_postgrest_and_writes_none(owner: Owner, local: Local) -> None:
    made = await owner.make()
    stranger = await sign_up(local)
    url, apikey = f"{local.supabase_url}/rest/v1", {"apikey": local.publishable_key}
    async with httpx.AsyncClient(base_url=url, headers=apikey, trust_env=False) as rest:
        mine = await rest.get("/api_keys", params={"select": "id,name,prefix"}, headers=owner.user.bearer)
        assert mine.json() == [{"id": made["key_id"], "name": "Importer", "prefix": made["prefix"]}]
        assert (await rest.get("/api_keys", headers=stranger.bearer)).json() == []
        for table in ("api_key_secrets", "api_key_spending"):
            assert (await rest.get(f"/{table}", headers=owner.user.bearer)).status_code in {401, 403}
        change = await rest.patch(
            "/api_keys",
            params={"id": f"eq.{made['key_id']}"},
            json={"spend_cap": None},
            headers=owner.user.bearer,
        )
        assert change.status_code in {401, 403}


async def test_deleting_all_data_ends_the_keys(owner: Owner, worker: Child) -> None:
    made = await owner.make()
    for _ in range(3):  # remembered by the API
        assert (await owner.http.get("/me", headers=bearer(made))).status_code == 200
    started = await owner.http.request(
        "DELETE", "/me/data", json={"confirm": "delete my data"}, headers=owner.user.bearer
    )
    assert started.status_code == 202, started.text
    where = f"/me/data/{started.json()['request_id']}"
    async with asyncio.timeout(60):
        while (await owner.http.get(where, headers=owner.user.bearer)).json()["status"] != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert refused(await owner.http.get("/me", headers=bearer(made))) == (401, "invalid_api_key")
    assert (await owner.manage("GET")).json()["api_keys"] == []
