"""What ended long ago is deleted: nothing that is still needed goes with it, and the queue stays as quick as it was."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.sql.fixtures import Opener
from tests.sql.world import Document, World
from tests.support import PATIENCE, new_sha256

DAYS = 90
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
OLD = timedelta(days=DAYS + 1)


async def age(world: World, *job_ids: object, by: timedelta = OLD, upload: bool = False) -> None:
    """Let jobs and their transitions be of long ago, and their uploads removed."""
    ids = [uuid.UUID(str(job_id)) for job_id in job_ids]
    await world.connection.execute(
        "update public.jobs set created_at = created_at - $2::interval, started_at = started_at - $2::interval,"
        " finished_at = finished_at - $2::interval,"
        " upload_expires_at = case when $3 then upload_expires_at end where id = any ($1)",
        ids,
        by,
        upload,
    )
    await world.connection.execute(
        "update public.job_events set created_at = created_at - $2::interval where job_id = any ($1)", ids, by
    )


async def prune(world: World, *, days: int = DAYS, limit: int = 100) -> tuple[int, list[Document]]:
    """As the cleanup does, in batches; how many jobs, and what the caches must forget."""
    pruned, forget = 0, []
    after, after_id = BEGINNING, uuid.UUID(int=0)
    while True:
        answer = await world.call(
            "prune_jobs", p_days=days, p_limit=limit, p_after=after, p_after_id=after_id
        )
        pruned += answer["pruned"]
        forget += answer["forget"]
        if answer["after"] is None:
            return pruned, forget
        after, after_id = datetime.fromisoformat(answer["after"]), uuid.UUID(answer["after_id"])


async def prune_events(world: World, *, days: int, limit: int = 100) -> int:
    pruned, after = 0, 0
    while after is not None:
        answer = await world.call("prune_job_events", p_days=days, p_limit=limit, p_after=after)
        pruned += answer["pruned"]
        after = answer["after"]
    return pruned


async def exists(world: World, job_id: object) -> bool:
    return bool(
        await world.value("select exists (select 1 from public.jobs where id = $1::text::uuid)", str(job_id))
    )


async def designs(world: World, user: uuid.UUID, days: int = 300) -> int:
    today: date = await world.value("select private.utc_day()")
    usage = await world.call("get_usage", p_user_id=user, p_from=today - timedelta(days=days), p_to=today)
    return int(usage["designs"])


async def test_money_usage_and_outputs_outlive_their_jobs(world: World) -> None:
    user = await world.user(balance=20)
    sha256 = new_sha256()
    first = await world.done(user, price=3, sha256=sha256)
    second = await world.done(user, price=2, sha256=sha256, op_key="resize-v1:width-21")
    failed = await world.running(user, price=2)
    await world.fail(failed)
    young = await world.done(user, price=1)
    await age(world, first["job_id"], second["job_id"], failed["id"])
    ledger = await world.ledger(user, first["job_id"])
    assert await designs(world, user) == 2
    pruned, forget = await prune(world, limit=2)
    assert pruned >= 3
    assert [await exists(world, job["job_id"]) for job in (first, second, young)] == [False, False, True]
    assert not await exists(world, failed["id"])
    assert await world.balance(user) == 14
    assert await world.ledger(user, first["job_id"]) == ledger == [("hold", -3), ("capture", 0)]
    assert await designs(world, user) == 2  # one of a day whose jobs are gone
    assert (
        await world.value(
            "select count(*) from public.job_events where job_id = $1::text::uuid", first["job_id"]
        )
        == 0
    )
    # As for an id that never was; the output is there, and the next hit has another job.
    assert await world.call("get_job", p_job_id=first["job_id"], p_user_id=user) is None
    output = first["output"]["output_id"]
    assert await world.value(
        "select deleted_at is null and job_id is null from public.image_outputs where id = $1::text::uuid",
        output,
    )
    assert str(user) in {one["owner_id"] for one in forget}
    hit = await world.intake(user, sha256=sha256)
    assert (hit["outcome"], hit["output"]["output_id"]) == ("hit", output)
    assert hit["job_id"] not in (None, first["job_id"])
    history = await world.call("credit_history", p_user_id=user, p_before=None, p_limit=20)
    assert {move["job_id"] for move in history} == {None, young["job_id"]}


async def test_what_somebody_still_needs_is_kept(world: World) -> None:
    user = await world.user()
    uploaded, shown, refused, reviewed = [
        await world.running(user, queue=secrets.token_hex(6)) for _ in range(4)
    ]
    done = await world.complete(uploaded)
    looked_at = await world.complete(shown)
    for job in (refused, reviewed):
        await world.fail(job, code="refused")
    await world.call(
        "review_refused",
        p_job_id=reviewed["id"],
        p_decision="keep",
        p_actor=None,
        p_by="cli:test",
        p_reason="a lamp",
    )
    review = "update public.image_outputs set moderation = $2 where id = $1::text::uuid"
    await world.connection.execute(review, looked_at["output"]["output_id"], "review")
    waiting = (await world.queued(user))["job_id"]
    await age(world, shown["id"], refused["id"], reviewed["id"], waiting)
    await age(world, uploaded["id"], upload=True)
    await prune(world)
    kept = [await exists(world, job["id"]) for job in (uploaded, shown, refused, reviewed)]
    assert kept == [True, True, True, False]
    assert await exists(world, waiting)
    assert (
        await world.value("select count(*) from public.audit_log where subject = $1", str(reviewed["id"]))
        == 1
    )
    await world.connection.execute(review, looked_at["output"]["output_id"], "clean")
    await age(world, uploaded["id"], by=timedelta(0))
    await prune(world)
    assert not await exists(world, done["job_id"])
    assert not await exists(world, shown["id"])
    await world.cancel(waiting, user)


async def test_transitions_go_before_their_jobs(world: World) -> None:
    user = await world.user()
    done, young = await world.done(user), await world.done(user)
    unfinished = (await world.queued(user))["job_id"]
    await age(world, done["job_id"], unfinished, by=timedelta(days=40))
    assert await prune_events(world, days=30, limit=1000) >= 4
    count = "select count(*) from public.job_events where job_id = $1::text::uuid"
    kept = [await world.value(count, str(job)) for job in (done["job_id"], young["job_id"], unfinished)]
    assert kept == [0, 4, 2]
    found = await world.call("get_job", p_job_id=done["job_id"], p_user_id=user)
    assert (found["status"], found["last_event_id"]) == ("done", None)
    await world.cancel(unfinished, user)


async def _lane(world: World, queue: str) -> Any:
    return await world.value("select id from public.lanes where queue = $1", queue)


UNUSED = "update public.lanes set used_at = now() - interval '25 hours' where queue = any ($1)"


async def test_lanes_that_nobody_uses_are_removed(world: World) -> None:
    used, waiting, awaited, paused, recent = (secrets.token_hex(6) for _ in range(5))
    user = await world.user()
    for queue in (used, paused, recent):
        await world.done(user, queue=queue)
    await world.queued(user, queue=waiting)
    await world.intake(user, queue=awaited)  # its upload may come
    await world.connection.execute("update public.lanes set paused_at = now() where queue = $1", paused)
    await world.connection.execute(UNUSED, [used, waiting, awaited, paused])
    assert await world.call("prune_lanes", p_limit=1000) >= 1
    left = [await _lane(world, queue) is not None for queue in (used, waiting, awaited, paused, recent)]
    assert left == [False, True, True, True, True]
    assert (await world.running(user, queue=used))["status"] == "running"  # and it comes back


async def test_a_lane_that_a_job_enters_stays(world: World, open_world: Opener) -> None:
    """Whoever is first: the job keeps the lane, or waits for its end and makes another."""
    queue, user = secrets.token_hex(6), await world.user()
    await world.done(user, queue=queue)
    await world.connection.execute(UNUSED, [queue])
    lane = await _lane(world, queue)
    entering = await open_world()
    async with entering.connection.transaction():
        await entering.intake(user, queue=queue)
        await world.call("prune_lanes", p_limit=1000)
        assert await _lane(world, queue) == lane
    job = await world.value("select id from public.jobs where lane_id = $1", lane)
    await world.cancel(job, user)
    await world.connection.execute(UNUSED, [queue])
    async with world.connection.transaction():
        await world.call("prune_lanes", p_limit=1000)
        asked = asyncio.create_task(entering.intake(user, queue=queue))
        async with asyncio.timeout(PATIENCE):
            while not await world.value(  # noqa: ASYNC110 - Postgres tells nobody
                "select cardinality(pg_blocking_pids($1)) > 0", entering.connection.get_server_pid()
            ):
                await asyncio.sleep(0.01)
    assert (await asked)["job"]["status"] == "awaiting_upload"
    assert await _lane(world, queue) not in (None, lane)


async def test_a_month_of_jobs_leaves_the_queue_as_it_was(world: World) -> None:
    """Thirty days in some seconds: each day's jobs are made, claimed and ended by the real functions, then all age by a
    day, and what is older than a week is pruned and vacuumed. Claims stay as quick and tables as large as early on."""
    users = [await world.user() for _ in range(5)]
    queue, claims, pages = secrets.token_hex(6), [], []
    made: list[object] = []
    for _ in range(30):
        for number in range(40):
            await world.queued(users[number % 5], queue=queue)
        taken = []
        for number in range(40):
            started = time.perf_counter()
            job = await world.claim(queue)
            taken.append(time.perf_counter() - started)
            assert job is not None
            made.append(job["id"])
            if number % 4:
                await world.complete(job)
            else:
                await world.fail(job)
        claims.append(statistics.median(taken))
        await age(world, *made, by=timedelta(days=1))
        await prune_events(world, days=7, limit=1000)
        await prune(world, days=7, limit=1000)
        for table in ("jobs", "job_events", "lanes", "queue_counts"):
            await world.connection.execute(f"vacuum public.{table}")
        pages.append(
            await world.value(
                "select sum(pg_total_relation_size(t))::bigint from unnest(array['public.jobs', 'public.job_events',"
                " 'public.lanes', 'public.queue_counts']::regclass[]) t"
            )
        )
    left = await world.value(
        "select count(*) from public.jobs where id = any ($1)", [uuid.UUID(str(i)) for i in made]
    )
    first, last = (statistics.median(days) * 1e3 for days in (claims[:7], claims[-7:]))
    print(
        f"\nclaims: {first:.2f} ms in the first week, {last:.2f} ms in the last; {left} of {len(made)} jobs left"
    )
    print(f"tables: {pages[9] / 1e6:.2f} MB after ten days, {pages[-1] / 1e6:.2f} MB after thirty")
    assert left == 7 * 40
    assert pages[-1] < pages[9] * 1.25
    assert last < 3 * first
