"""What a quote is told of the time that jobs of the same ops took."""

from __future__ import annotations

from tests.sql.world import World


async def _took(world: World, op_key: str, seconds: float, *, side: int = 100, times: int = 5) -> None:
    for _ in range(times):
        done = await world.done(op_key=op_key, width=side, height=side)
        await world.connection.execute(
            "update public.jobs set started_at = finished_at - make_interval(secs => $2) where id = $1::text::uuid",
            *(done["job_id"], seconds),
        )


async def _expected(world: World, op_key: str, side: int | None = None) -> float | None:
    told = await world.call(
        "get_quote_facts",
        p_user_id=None,
        p_cache_key=None,
        p_op_key=op_key,
        p_queue="default",
        p_width=side,
        p_height=side,
    )
    seconds = told["work_seconds"]
    return None if seconds is None else float(seconds)


async def test_parameters_and_size_count(world: World) -> None:
    small, large = "upscale-v2:factor-2", "upscale-v2:factor-2:model-large"
    assert await _expected(world, small) is None
    await _took(world, small, 2)
    await _took(world, small, 30, side=1000, times=15)
    assert await _expected(world, small, 90) == 2
    assert await _expected(world, small, 1100) == 30
    assert await _expected(world, large, 1000) == 30  # of others, until there are enough of these
    await _took(world, large, 60)
    assert await _expected(world, large, 90) == 60
    assert await _expected(world, large) == 60
