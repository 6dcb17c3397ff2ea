"""Lanes: who is next, for how long anybody waits, and that what is kept is what a count finds."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections import Counter
from collections.abc import Sequence

import asyncpg
import pytest

from tests.sql.fixtures import Opener
from tests.sql.lanes_model import COST, CUTOUT, RESIZE, UPSCALE, Lane, Model, bound, longest_waits
from tests.sql.world import Document, World, lease


@pytest.mark.parametrize("costs", [(RESIZE,), (RESIZE, CUTOUT, UPSCALE)], ids=["alike", "dear ones too"])
def test_the_rule_keeps_its_bound(costs: tuple[str, ...]) -> None:
    """By simulation: shares follow the weights, and nobody waits longer than the bound."""
    weights = [1, 1, 2, 6, 12, 24, 48] * 8
    model = Model()
    for number, weight in enumerate(weights):
        jobs = [costs[(number + place) % len(costs)] for place in range(4000)]
        model.add(Lane(weight, jobs, max_running=4000))
    lanes = list(model.lanes)
    served: list[int] = []
    spent: Counter[int] = Counter()
    for _ in range(20_000):
        lane = model.claim()
        assert lane is not None
        number = next(index for index, other in enumerate(lanes) if other is lane)
        served.append(number)
        spent[number] += COST[costs[(number + 3999 - len(lane.jobs)) % len(costs)]]
    total = sum(spent.values())
    for number, weight in enumerate(weights):
        fair = total * weight / sum(weights)
        assert abs(spent[number] - fair) <= 2 * max(COST[cost] for cost in costs) + weight
    dearest = max(COST[cost] for cost in costs)
    for number, wait in enumerate(longest_waits(served, len(weights))):
        assert wait <= bound(weights, number, dearest=dearest), weights[number]


async def _plan(world: World, weight: int, max_running: int = 100) -> str:
    """A plan of this test, without other limits."""
    plan = f"plan-{secrets.token_hex(6)}"
    await world.connection.execute(
        "insert into public.plans (id, name, weight, max_running, max_pending) values ($1, 'Test', $2, $3, 1000)",
        *(plan, weight, max_running),
    )
    return plan


async def _lane(world: World, queue: str, plan: str, op_keys: Sequence[str]) -> uuid.UUID:
    """Somebody of a plan with so many jobs in a queue."""
    user = await world.user(plan=plan, balance=0)
    for op_key in op_keys:
        await world.queued(user, queue=queue, op_key=op_key)
    return user


async def _drain(world: World, queue: str, claims: int) -> list[uuid.UUID]:
    """Claim and end so many jobs; whose they were."""
    whose = []
    for _ in range(claims):
        job = await world.claim(queue)
        assert job is not None
        await world.fail(job)
        whose.append(uuid.UUID(job["user_id"]))
    return whose


async def test_claims_follow_the_rule(world: World) -> None:
    """The real functions claim in the order of the model, to the last job."""
    queue, weights = secrets.token_hex(6), (2, 6, 12, 24)
    plans = [await _plan(world, weight) for weight in weights]
    wanted = [[(RESIZE, CUTOUT, UPSCALE)[(lane + place) % 3] for place in range(6)] for lane in range(4)]
    users = [await _lane(world, queue, plan, jobs) for plan, jobs in zip(plans, wanted, strict=True)]
    model = Model()
    for weight, jobs in zip(weights, wanted, strict=True):
        model.add(Lane(weight, list(jobs)))
    lanes = list(model.lanes)
    for _ in range(24):
        expected = model.claim()
        (whose,) = await _drain(world, queue, 1)
        assert whose == users[next(index for index, lane in enumerate(lanes) if lane is expected)]
    assert await world.claim(queue) is None


async def test_a_lane_waits_no_longer_than_the_bound(world: World) -> None:
    queue, weights = secrets.token_hex(6), (2, 2, 6, 12, 48)
    users = [await _lane(world, queue, await _plan(world, weight), [RESIZE] * 40) for weight in weights]
    order = [users.index(whose) for whose in await _drain(world, queue, 50)]  # all are busy so long
    for number, wait in enumerate(longest_waits(order, len(users))):
        assert wait <= bound(weights, number), weights[number]
    for number, taken in Counter(order).items():
        assert abs(taken - 50 * weights[number] / sum(weights)) <= 2


async def test_no_stream_of_paying_users_starves_a_free_one(world: World) -> None:
    """Each of them is new and comes with one job: none has a claim behind it that it would have to wait for."""
    queue, light, heavy = secrets.token_hex(6), await _plan(world, 2), await _plan(world, 48)
    free = await _lane(world, queue, light, [RESIZE])
    served = []
    for _ in range(48 // 2 + 2):
        await _lane(world, queue, heavy, [RESIZE])
        served += await _drain(world, queue, 1)
    assert free in served


async def test_a_long_idle_lane_saves_nothing_up(world: World) -> None:
    """Who was away while others worked gets the same share from then on, and not what was missed."""
    queue, plan = secrets.token_hex(6), await _plan(world, 2)
    busy = await _lane(world, queue, plan, [RESIZE] * 30)
    await _drain(world, queue, 20)
    late = await _lane(world, queue, plan, [RESIZE] * 5)
    assert Counter(await _drain(world, queue, 10)) == {busy: 5, late: 5}


async def test_a_batch_at_its_limit_holds_up_nobody(world: World) -> None:
    queue = secrets.token_hex(6)
    batch = await _lane(world, queue, "free", [RESIZE] * 5)
    running = [await world.claim(queue), await world.claim(queue)]  # free: two at once
    assert await world.claim(queue) is None
    other = await _lane(world, queue, "free", [RESIZE])
    job = await world.claim(queue)
    assert job is not None
    assert job["user_id"] == str(other)
    assert await _state(world, queue, batch) == ("full", 3, 2)
    assert running[0] is not None
    await world.fail(running[0])
    job = await world.claim(queue)
    assert job is not None
    assert job["user_id"] == str(batch)


async def _state(world: World, queue: str, user: uuid.UUID) -> tuple[str, int, int]:
    row = await world.connection.fetchrow(
        "select state, waiting, running from public.lanes where queue = $1 and user_id = $2", queue, user
    )
    assert row is not None
    return row["state"], row["waiting"], row["running"]


async def test_a_larger_plan_takes_effect_at_once(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await _lane(world, queue, "free", [RESIZE] * 5)
    assert [bool(await world.claim(queue)) for _ in range(3)] == [True, True, False]
    await world.call("set_plan", p_user_id=user, p_plan_id="pro", p_reason="test")
    assert await _state(world, queue, user) == ("ready", 3, 2)
    assert await world.claim(queue) is not None


async def test_weight_and_limit_of_a_plan_are_edited_without_a_deploy(world: World) -> None:
    queue, plan = secrets.token_hex(6), await _plan(world, 1, max_running=1)
    user = await _lane(world, queue, plan, [RESIZE] * 4)
    assert [bool(await world.claim(queue)) for _ in range(2)] == [True, False]
    await world.connection.execute("update public.plans set max_running = 2, weight = 7 where id = $1", plan)
    assert [bool(await world.claim(queue)) for _ in range(2)] == [True, False]
    weight = await world.value(
        "select weight from public.lanes where queue = $1 and user_id = $2", queue, user
    )
    assert weight == 7


async def test_what_computes_the_same_waits_and_goes_on(world: World) -> None:
    """Two owners' jobs of one key: the second lane does not look ready while the first computes."""
    queue, picture = secrets.token_hex(6), {"sha256": secrets.token_hex(32)}
    first, second = await world.user(), await world.user()
    await world.queued(first, queue=queue, **picture)
    await world.queued(second, queue=queue, **picture)
    job = await world.claim(queue)
    assert job is not None
    assert job["user_id"] == str(first)
    assert await world.claim(queue) is None
    assert await _state(world, queue, second) == ("idle", 1, 0)
    await world.fail(job, retry=60.0)  # it lets go, though it will come again
    assert await _state(world, queue, second) == ("ready", 1, 0)
    again = await world.claim(queue)
    assert again is not None
    assert again["user_id"] == str(second)


async def test_what_is_held_goes_on_when_the_job_vanishes_with_its_account(world: World) -> None:
    queue, picture = secrets.token_hex(6), {"sha256": secrets.token_hex(32)}
    first, second = await world.user(), await world.user()
    await world.queued(first, queue=queue, **picture)
    await world.queued(second, queue=queue, **picture)
    assert await world.claim(queue) is not None
    assert await world.claim(queue) is None
    await world.connection.execute("delete from auth.users where id = $1", first)
    await world.sweep()
    job = await world.claim(queue)
    assert job is not None
    assert job["user_id"] == str(second)


async def test_a_delayed_job_makes_no_lane_ready(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await world.user()
    job = await world.running(user, queue=queue)
    await world.fail(job, retry=3600.0)
    assert await _state(world, queue, user) == ("delayed", 1, 0)
    assert await world.claim(queue) is None
    assert (await world.sweep())["due"].get(queue) is None
    await world.late("run_at", job["id"])
    assert (await world.sweep())["due"][queue] == 1
    assert await world.claim(queue) is not None


async def _pause(world: World, paused: bool, **what: object) -> Document:
    kind = "lane" if "lane_id" in what else "queue"
    answer = await world.call(
        f"admin_pause_{kind}",
        **{f"p_{name}": value for name, value in what.items()},
        p_paused=paused,
        p_actor=None,
        p_by="test",
        p_reason="A flood.",
    )
    return dict(answer)


async def test_operators_hold_a_lane_back(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await _lane(world, queue, "free", [RESIZE] * 2)
    other = await _lane(world, queue, "free", [RESIZE])
    lane = await world.value("select id from public.lanes where queue = $1 and user_id = $2", queue, user)
    assert (await _pause(world, True, lane_id=lane))["state"] == "paused"
    document = await world.value(
        "select private.waiting_document(j) from public.jobs j where lane_id = $1 limit 1", lane
    )
    assert (document["waiting_for"], document["expected_start_at"]) == ("paused", None)
    assert await _drain(world, queue, 1) == [other]
    assert await world.claim(queue) is None
    assert (await _pause(world, False, lane_id=lane))["state"] == "ready"
    assert await _drain(world, queue, 2) == [user, user]
    actions = await world.connection.fetch(
        "select action from public.audit_log where subject = $1 order by id", f"user:{user}"
    )
    assert [row["action"] for row in actions] == ["lane.pause", "lane.resume"]
    with pytest.raises(asyncpg.PostgresError, match="lane_not_found"):
        await _pause(world, True, lane_id=-1)


async def test_operators_hold_a_queue_back(world: World) -> None:
    queue = secrets.token_hex(6)
    await _lane(world, queue, "free", [RESIZE])
    first = await _pause(world, True, queue=queue)
    assert (await _pause(world, True, queue=queue))["paused_at"] == first["paused_at"]
    assert await world.claim(queue) is None
    assert await _pause(world, False, queue=queue) == {"queue": queue, "paused_at": None}
    assert await world.claim(queue) is not None


async def test_a_network_of_visitors_gets_ten_addresses_worth(world: World) -> None:
    """Lanes that its limit holds back do not look ready, and each place that comes free lets one go on."""
    queue, network = secrets.token_hex(6), secrets.token_hex(8)  # 16 of 32 digits
    limit, edit = 20, "update public.plans set max_running = $1 where id = 'anonymous'"
    usual = await world.value("select max_running from public.plans where id = 'anonymous'")
    await world.connection.execute(edit, limit // 10)
    for number in range(limit + 3):
        await world.queued(queue=queue, ip=f"{network}{number:016x}")
    running = [await world.claim(queue) for _ in range(limit)]
    assert await world.claim(queue) is None
    states = "select state, count(*) as n from public.lanes where queue = $1 group by state"
    counted = {row["state"]: row["n"] for row in await world.connection.fetch(states, queue)}
    assert counted == {"idle": limit, "network": 3}
    assert running[0] is not None
    await world.fail(running[0])
    assert await world.claim(queue) is not None
    assert await world.claim(queue) is None
    await world.connection.execute(edit, usual)


async def test_what_a_job_says_of_its_wait(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await world.user(plan="free")
    jobs = [(await world.queued(user, queue=queue))["job_id"] for _ in range(4)]

    async def waiting(job_id: str) -> Document:
        found = await world.call("get_job", p_job_id=job_id, p_user_id=user)
        return dict(found["waiting"])

    assert [(await waiting(job))["ahead"] for job in jobs] == [0, 1, 2, 3]
    assert (await waiting(jobs[0]))["waiting_for"] is None
    assert (await waiting(jobs[0]))["expected_start_at"] is not None
    assert await waiting(jobs[1]) == {"ahead": 1, "expected_start_at": None, "waiting_for": "others_ahead"}
    for _ in range(2):
        assert await world.claim(queue) is not None
    assert await waiting(jobs[0]) == {}
    assert (await waiting(jobs[2]))["waiting_for"] == "own_concurrency"


async def test_only_jobs_that_ended_count_as_finished(world: World) -> None:
    """Not one that a visitor takes along to an account while it runs."""
    queue, user = secrets.token_hex(6), await world.user()
    job = await world.running(queue=queue)
    claims = json.dumps([{"job_id": job["id"], "path": None, "thumb_path": None}])
    await world.call("claim_jobs", p_user_id=user, p_claims=claims, p_output_seconds=60)
    assert await world.call("queue_load", p_queue=queue) == {"queued": 0, "running": 1, "finished": 0}
    await world.fail(job)
    assert await world.call("queue_load", p_queue=queue) == {"queued": 0, "running": 0, "finished": 1}


async def test_a_stray_write_is_found_and_repaired(world: World) -> None:
    queue = secrets.token_hex(6)
    user = await _lane(world, queue, "free", [RESIZE] * 3)
    async with world.connection.transaction():
        await world.connection.execute("set local session_replication_role = replica")
        await world.connection.execute("delete from public.job_events where user_id = $1", user)
        await world.connection.execute(
            "delete from public.jobs where id = (select id from public.jobs where user_id = $1 limit 1)", user
        )
    assert {"a lane counts its jobs"} == {name for name, _ in await world.violations()}
    faults = await world.call("repair_lanes")
    assert [fault.partition(":")[0] for fault in faults] == ["a lane counts its jobs"]
    assert await world.violations() == []
    assert await world.call("repair_lanes") == []
    assert await _state(world, queue, user) == ("ready", 2, 0)


async def test_counts_of_ended_connections_are_kept(world: World, open_world: Opener) -> None:
    queue = secrets.token_hex(6)
    other = await open_world()
    await _lane(other, queue, "free", [RESIZE] * 3)
    pid = await other.pid()
    await other.connection.close()
    # It is gone a moment later, of which nobody tells.
    while await world.value("select count(*) from public.queue_counts where backend = $1", pid):
        await world.sweep()
    assert await world.call("queue_load", p_queue=queue) == {"queued": 3, "running": 0, "finished": 0}


async def test_many_at_once_leave_counts_that_are_true(world: World, open_world: Opener) -> None:
    """Claims, endings, retries, cancels and changes of plan on nine connections; then all adds up, nothing is left,
    and no job ran twice at once (which the leases would show as a refusal)."""
    queue = secrets.token_hex(6)
    users = [
        await _lane(world, queue, await _plan(world, weight, max_running=3), [RESIZE] * 12)
        for weight in (1, 2, 6, 12)
    ]
    ended: Counter[str] = Counter()

    async def work(number: int) -> None:
        mine = await open_world()
        empty = 0
        while empty < 3:
            job = await mine.claim(queue)
            if job is None:
                empty += 1
                await mine.sweep()
                continue
            turn = (number + len(ended)) % 5
            if turn == 0 and job["attempt"] < 3:
                await mine.fail(job, retry=0.0)
            elif turn == 1:
                await mine.cancel(job["id"], uuid.UUID(job["user_id"]))
                ended[job["id"]] += 1
            elif turn == 2 and job["attempt"] < 3:
                await mine.call("snooze", **lease(job), p_seconds=0.0)
            else:
                await mine.fail(job)
                ended[job["id"]] += 1

    async def change() -> None:
        mine = await open_world()
        for plan in ("pro", "free", "enterprise", "free", "basic"):
            await mine.call("set_plan", p_user_id=users[0], p_plan_id=plan, p_reason="test")

    await asyncio.gather(*(work(number) for number in range(8)), change())
    assert await world.claim(queue) is None
    assert set(ended.values()) == {1}
    await world.connection.execute("delete from auth.users where id = $1", users[3])
    assert await world.value("select count(*) from public.lanes where user_id = $1", users[3]) == 0
    assert await world.call("queue_load", p_queue=queue) | {"finished": 0} == {
        "queued": 0,
        "running": 0,
        "finished": 0,
    }
