"""GET /usage and GET /usage/savings; counts that gather in Redis."""

from __future__ import annotations

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from scripts.local.home import Local
from scripts.local.process import Child
from service.platform.resources import Platform
from service.usage import meter
from service.usage.meter import Meter
from service.usage.store import UsageDays
from tests.library.people import Connection, person
from tests.photos import photo
from workers.usage import usage

OP = "resize-v1:width-64"


async def test_days_of_a_user(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db) as someone:
        picture = photo()
        done = await someone.process(picture, OP)
        await someone.intake(picture, OP)  # from the database, and kept in Redis
        hot = [await someone.intake(picture, OP) for _ in range(3)]
        assert all(answer["cached"] and answer["output_urls"] for answer in hot)
        await someone.process(picture, "resize-v1:width-32")
        await usage(platform)
        told = await someone.say("GET", "/usage")
        (day,) = told["days"]
        assert day["day"] == datetime.now(UTC).date().isoformat()
        assert (day["jobs"], day["generations"], day["cache_hits"]) == (2, 2, 4)
        size = done["output"]["size"]
        assert day["bytes_stored"] == sum(row["size"] for row in await someone.outputs())
        assert day["bytes_served"] >= 4 * size
        assert told["designs"] == 1
        assert told["total"] == {name: value for name, value in day.items() if name != "day"}
        assert told["averages"]["credits_per_job"] == 0
        storage = next(quota for quota in told["quotas"] if quota["policy"] == "storage_bytes")
        assert (storage["limit"], storage["used"], storage["resets_at"]) == (None, day["bytes_stored"], None)
        savings = await someone.say("GET", "/usage/savings")
        assert (savings["cache_hits"], savings["generations"], savings["hit_ratio"]) == (4, 2, 0.6667)


async def test_counts_are_added_once_whatever_dies_in_between(
    local: Local, api: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db) as someone:
        await platform.shared(Meter).served(someone.id, 100)
        taken = await meter.take(platform.redis)
        assert taken is not None
        batch, counts = taken
        mine = next(row for row in counts if row["user_id"] == str(someone.id))
        assert mine["bytes_served"] == 100
        # The first worker adds and dies before it lets go; meanwhile more is counted.
        await UsageDays(platform.database).fold_usage(batch, counts)
        await platform.shared(Meter).served(someone.id, 7)
        again = await meter.take(platform.redis)
        if again is not None and again[0] == batch:  # unless the worker of another test was quicker
            assert not await UsageDays(platform.database).fold_usage(*again)
            await meter.drop(platform.redis, uuid.uuid4())  # not the batch that is aside
            assert await platform.redis.exists(meter.FOLDING)
            await meter.drop(platform.redis, batch)
        await usage(platform)
        await usage(platform)
        assert (
            await db.fetchval("select bytes_served from public.usage_daily where user_id = $1", someone.id)
            == 107
        )


async def test_csv_has_a_line_for_each_day_and_no_formula(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db) as someone:
        await db.execute(
            "insert into public.usage_daily (user_id, day, jobs, credits) values"
            " ($1, '2026-01-01', 2, 10), ($1, '2026-01-03', 1, 5), ($1, '2025-12-31', 9, 9)",
            someone.id,
        )
        period = {"from": "2026-01-01", "to": "2026-01-31"}
        by_name = await someone.http.get("/usage", params=period | {"format": "csv"})
        by_type = await someone.http.get("/usage", params=period, headers={"Accept": "text/csv"})
        assert by_name.text == by_type.text
        assert by_name.headers["Content-Type"].startswith("text/csv")
        assert "usage-2026-01-01-2026-01-31.csv" in by_name.headers["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(by_name.text)))
        assert [(row["day"], row["jobs"], row["credits"]) for row in rows] == [
            ("2026-01-01", "2", "10"),
            ("2026-01-03", "1", "5"),
        ]
        assert not any(cell[:1] in set("=+-@\t\r") for row in rows for cell in row.values())
        told = (await someone.http.get("/usage", params=period)).json()
        assert (told["from"], told["to"], told["total"]["credits"]) == ("2026-01-01", "2026-01-31", 15)
        assert told["averages"]["credits_per_design"] is None


@pytest.mark.parametrize(
    "period",
    [
        {"from": "2026-02-01", "to": "2026-01-01"},
        {"from": "2020-01-01", "to": "2026-01-01"},
        {"from": "yesterday"},
        {"to": "0001-01-01", "from": "9999-12-31"},
    ],
)
async def test_periods_that_make_no_sense(
    local: Local, api: Child, db: Connection, period: dict[str, str]
) -> None:
    async with person(local, api.url, db) as someone:
        answer = await someone.http.get("/usage", params=period)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_nobody_sees_anothers_usage(local: Local, api: Child, db: Connection) -> None:
    async with person(local, api.url, db) as one, person(local, api.url, db) as other:
        today = datetime.now(UTC).date() - timedelta(days=1)
        await db.execute(
            "insert into public.usage_daily (user_id, day, jobs) values ($1, $2, 5)", one.id, today
        )
        assert (await one.say("GET", "/usage"))["total"]["jobs"] == 5
        assert (await other.say("GET", "/usage"))["total"]["jobs"] == 0
        one.http.headers.pop("Authorization")
        assert (await one.say("GET", "/usage", status=401))["code"] == "sign_in_required"
        assert (await one.say("GET", "/usage/savings", status=401))["code"] == "sign_in_required"


async def test_a_shared_picture_is_served_on_its_owners_account(
    local: Local, api: Child, worker: Child, db: Connection, platform: Platform
) -> None:
    async with person(local, api.url, db) as owner:
        done = await owner.process(photo(), OP)
        await usage(platform)
        before = await db.fetchval("select bytes_served from public.usage_daily where user_id = $1", owner.id)
        link = await owner.say(
            "POST", f"/outputs/{done['output']['output_id']}/share", {"expires_in": 3600}, status=201
        )
        owner.http.headers.pop("Authorization")
        assert (await owner.http.get(link["url"])).status_code == 302
        await usage(platform)
        after = await db.fetchval("select bytes_served from public.usage_daily where user_id = $1", owner.id)
        assert after - before == done["output"]["size"]
