"""What is kept of addresses is a keyed hash, and that for a month."""

from __future__ import annotations

import secrets

from tests.sql.world import World


async def test_the_address_of_a_visitors_job_is_forgotten_after_a_month(world: World) -> None:
    old, young = secrets.token_hex(16), secrets.token_hex(16)
    for address, days in ((old, 31), (young, 30)):
        job = (await world.intake(ip=address))["job"]["job_id"]
        assert (await world.job(job))["address"] == address
        await world.connection.execute(
            "update public.jobs set counted_on = private.utc_day() - $2::integer where address = $1",
            address,
            days,
        )
        await world.connection.execute(
            "update public.address_usage set day = private.utc_day() - $2::integer where address = $1",
            address,
            days,
        )
    await world.call("expire_usage")
    assert await world.value("select count(*) from public.jobs where address = $1", old) == 0
    assert await world.value("select count(*) from public.address_usage where address = $1", old) == 0
    assert await world.value("select count(*) from public.jobs where address = $1", young) == 1
    assert await world.value("select count(*) from public.address_usage where address = $1", young) == 1
