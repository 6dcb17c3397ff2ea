"""GET /plans, and how soon a change of plan is known."""

from __future__ import annotations

import asyncio

import httpx

from scripts.local.home import Local
from scripts.local.process import Child
from service.plans.store import Plans
from service.platform.resources import Platform
from tests.library.people import Connection, person
from tests.photos import photo
from tests.support import User
from workers.usage import usage as settle


async def test_plans_are_public_and_cacheable(api: Child) -> None:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False) as http:
        answer = await http.get("/plans")
        assert answer.status_code == 200
        assert "max-age" in answer.headers["Cache-Control"]
        again = await http.get("/plans", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    plans = answer.json()["plans"]
    assert [plan["id"] for plan in plans] == ["free", "basic", "pro", "growth", "enterprise"]
    assert not any("stripe" in name for plan in plans for name in plan)
    shown = {
        plan["id"]: tuple(
            plan[name]
            for name in (
                "price_cents",
                "monthly_credits",
                "generations_per_day",
                "storage_bytes",
                "watermark",
                "api_access",
            )
        )
        for plan in plans
    }
    assert shown == {
        "free": (0, 0, 10, 10**9, True, False),
        "basic": (999, 300, 100, 10**10, False, False),
        "pro": (2999, 1000, 1000, 10**11, False, True),
        "growth": (9999, 5000, 5000, 5 * 10**11, False, True),
        "enterprise": (None, 0, None, None, False, True),
    }
    assert plans[0]["signup_credits"] == 100


async def test_a_new_account_is_free_and_sees_its_limits(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db, plan="free") as someone:
        me = await someone.say("GET", "/me")
    assert (me["plan"]["id"], me["plan"]["generations_per_day"], me["credits"]) == ("free", 10, 100)
    assert me["library"] == {"read_only": False, "over_quota_since": None, "kept_until": None}


async def test_another_plan_is_seen_by_a_running_process_within_seconds(
    local: Local, api: Child, db: Connection, platform: Platform
) -> None:
    """The variant of an answer is decided by what the process remembers of the plan."""
    async with person(local, api.url, db, plan="free") as someone:
        variant = "select variant from public.jobs where id = $1::text::uuid"
        first = await someone.intake(photo(), "resize-v1:width-64")
        assert await db.fetchval(variant, first["job_id"]) == "marked"
        await Plans(platform.database).set_plan(someone.id, "pro", "test")
        loop = asyncio.get_running_loop()
        changed = loop.time()
        while True:
            job = await someone.intake(photo(), "resize-v1:width-64")
            if await db.fetchval(variant, job["job_id"]) == "full":
                break
            assert loop.time() - changed < 20, "half a minute is the longest without the watch"
        assert [
            row["action"]
            for row in await db.fetch(
                "select action from public.audit_log where subject = $1 and action = 'plan.change'",
                str(someone.id),
            )
        ] == ["plan.change"]


async def test_a_downgrade_makes_the_library_read_only_with_a_date(
    local: Local, api: Child, db: Connection, worker: Child, platform: Platform
) -> None:
    async with person(local, api.url, db, plan="pro") as someone:
        await someone.process(photo(), "resize-v1:width-64", wants_persist=True)
        plan = f"tiny-{someone.id}"
        await db.execute(
            "insert into public.plans (id, name, max_running, max_pending, persistent, storage_bytes)"
            " values ($1, 'Tiny', 2, 50, true, 1)",
            plan,
        )
        await Plans(platform.database).set_plan(someone.id, plan, "downgrade")
        me = await someone.say("GET", "/me")
        assert me["library"]["read_only"] is True
        assert me["library"]["kept_until"] > me["library"]["over_quota_since"]
        assert len(await someone.outputs()) == 1
        refused = await someone.http.post(
            "/intake", json=photo().claim("resize-v1:width-64", wants_persist=True)
        )
        assert (refused.status_code, refused.json()["code"]) == (402, "storage_full")
        assert refused.json()["violated_policies"] == ["storage_bytes"]
        image = await someone.image()
        again = await someone.http.post(f"/images/{image['id']}/rerun", json={"op_key": "resize-v1:width-32"})
        assert again.json()["code"] == "storage_full"
        usage = await someone.say("GET", "/usage")
        assert usage["library"] == me["library"]
        await someone.say("DELETE", f"/images/{image['id']}", status=204)
        await settle(platform)  # as a worker does every few seconds
        assert (await someone.say("GET", "/me"))["library"]["read_only"] is False


async def test_prices_and_quotas_of_others_are_nobodys_to_write(local: Local, user: User) -> None:
    headers = {"apikey": local.publishable_key} | user.bearer
    async with httpx.AsyncClient(
        base_url=f"{local.supabase_url}/rest/v1", headers=headers, trust_env=False
    ) as rest:
        for table, change in (
            ("plans", {"generations_per_day": 1000000}),
            ("profiles", {"plan_id": "enterprise"}),
            ("usage_daily", {"generations": 0}),
            ("storage_usage", {"bytes": 0}),
            ("op_prices", {"price": 0}),
        ):
            answer = await rest.patch(f"/{table}", json=change, params={"limit": "1"})
            assert answer.status_code in {401, 403}, (table, answer.text)
