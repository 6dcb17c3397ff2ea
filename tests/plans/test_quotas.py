"""Quotas as callers meet them."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from tests.library.people import Connection, person
from tests.photos import photo

OP = "resize-v1:width-64"
PARALLEL = 50


async def test_fifty_parallel_intakes_with_one_generation_left(
    local: Local, api: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="free") as someone:
        await db.execute(
            "insert into public.usage_daily (user_id, day, generations) values ($1, private.utc_day(), 9)",
            someone.id,
        )
        pictures = [photo(48, 32) for _ in range(PARALLEL)]
        answers = await asyncio.gather(
            *(someone.http.post("/intake", json=picture.claim(OP)) for picture in pictures)
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [429] * (PARALLEL - 1)
        refused = next(answer for answer in answers if answer.status_code == 429)
        body = refused.json()
        assert (body["code"], body["violated_policies"]) == ("quota_exceeded", ["generations_per_day"])
        assert (body["limit"], body["used"], body["plan_required"]) == (10, 10, "basic")
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert body["resets_at"].endswith(("00:00:00Z", "00:00:00+00:00"))
        accepted = next(answer for answer in answers if answer.status_code == 200).json()
        quotas = {quota["policy"]: quota for quota in (await someone.say("GET", "/usage"))["quotas"]}
        assert (quotas["generations_per_day"]["used"], quotas["generations_per_day"]["limit"]) == (10, 10)
        # Given back, it can be used again.
        assert (await someone.http.delete(f"/jobs/{accepted['job_id']}")).status_code == 200
        assert (await someone.http.post("/intake", json=photo().claim(OP))).status_code == 200


async def test_too_many_jobs_at_once_say_when_and_which_plan(
    local: Local, api: Child, db: Connection
) -> None:
    plan = f"narrow-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending) values ($1, 'N', 1, 1)", plan
    )
    async with person(local, api.url, db, plan=plan) as someone:
        await someone.intake(photo(), OP)
        refused = await someone.http.post("/intake", json=photo().claim(OP))
        body = refused.json()
        assert (refused.status_code, body["code"]) == (429, "too_many_jobs")
        assert (body["violated_policies"], body["limit"], body["used"]) == (["max_pending"], 1, 1)
        assert body["plan_required"] == "free"
        assert int(refused.headers["Retry-After"]) > 0


async def test_several_ops_at_once_need_a_plan_that_has_them(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="free") as someone:
        await someone.process(photo(), OP)
        image = await someone.image()
        path = f"/images/{image['id']}/rerun"
        body = await someone.say("POST", path, {"op_keys": [OP, "resize-v1:width-32"]}, status=402)
        assert (body["code"], body["violated_policies"], body["plan_required"]) == (
            "plan_required",
            ["bulk"],
            "basic",
        )
        await someone.say("POST", path, {"op_keys": [OP, OP]})  # one op, named twice


async def test_a_plan_without_high_resolution_works_at_its_side(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="free") as someone:
        done = await someone.process(photo(2400, 300), "convert-v1:format-jpeg")
        assert max(done["output"]["width"], done["output"]["height"]) == 2048
        body = await someone.say("POST", "/intake", photo(2000, 300).claim("upscale-v1:factor-2"), status=402)
        assert (body["code"], body["violated_policies"]) == ("plan_required", ["high_res_exports_per_month"])
    async with person(local, api.url, db, plan="basic") as someone:
        done = await someone.process(photo(2400, 300), "convert-v1:format-jpeg")
        assert done["output"]["width"] == 2400
        usage = await someone.say("GET", "/usage")
        assert usage["total"]["high_res_exports"] == 1


LARGE = "upscale-v2:model-large"


async def test_the_large_model_is_for_small_pictures(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db, plan="pro") as someone:
        body = await someone.say("POST", "/intake", photo(2000, 300).claim(LARGE), status=413)
        assert body["code"] == "too_many_pixels"
        assert body["detail"].startswith("The large model takes pictures of up to 262,144 pixels")
        assert "2000 × 300" in body["detail"]
        await someone.say("POST", "/intake", photo(600, 300).claim(LARGE))
        await someone.say("POST", "/intake", photo(2000, 300).claim(f"resize-v1:width-1000+{LARGE}"))
        await someone.say("POST", "/intake", photo(2000, 300).claim("upscale-v2"))


async def test_the_large_model_is_for_plans_without_previews(
    local: Local, api: Child, worker: Child, db: Connection
) -> None:
    async with person(local, api.url, db, plan="free") as someone:
        body = await someone.say("POST", "/intake", photo(60, 40).claim(LARGE), status=402)
        assert (body["code"], body["violated_policies"], body["plan_required"]) == (
            "plan_required",
            ["large_model"],
            "basic",
        )
        await someone.process(photo(60, 40), "upscale-v2")
        image = await someone.image()
        body = await someone.say("POST", f"/images/{image['id']}/rerun", {"op_keys": [LARGE]}, status=402)
        assert body["violated_policies"] == ["large_model"]


@pytest.mark.parametrize(
    ("changes", "policy"),
    [({"width": 5000, "height": 4000}, "max_pixels"), ({"keep_for_days": 7}, "keep_days")],
)
async def test_what_a_plan_bounds(
    local: Local, api: Child, db: Connection, changes: dict[str, int], policy: str
) -> None:
    plan = f"bounds-{secrets.token_hex(4)}"
    await db.execute(
        "insert into public.plans (id, name, max_running, max_pending, max_pixels, keep_days)"
        " values ($1, 'Bounds', 2, 50, 1000000, 3)",
        plan,
    )
    async with person(local, api.url, db, plan=plan) as someone:
        body = await someone.say("POST", "/intake", photo().claim(OP, **changes), status=402)
        assert (body["code"], body["violated_policies"]) == ("plan_required", [policy])
