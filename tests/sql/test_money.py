"""Credits: a hold with the job, one capture or release at its end, and sentences that find whatever is wrong."""

from __future__ import annotations

import uuid

import asyncpg
import pytest

from scripts.local.home import Local
from tests.races.order import refused
from tests.sql.world import World, open_connection
from tests.support import new_sha256

PRICE = 7
HELD = ("hold", -PRICE)
CAPTURED = [HELD, ("capture", 0)]
RELEASED = [HELD, ("release", PRICE)]


@pytest.fixture
async def payer(world: World) -> uuid.UUID:
    """A user who can pay for one job."""
    return await world.user(balance=PRICE)


async def test_a_new_account_gets_its_credits_once(world: World) -> None:
    user = await world.user()
    granted = await world.value("select signup_credits from public.plans where id = 'free'")
    assert await world.balance(user) == granted > 0
    assert await world.grant(user, 5, "signup_grant", "signup") is False
    assert await world.balance(user) == granted


async def test_a_purchase_is_granted_once(world: World, payer: uuid.UUID) -> None:
    assert [await world.grant(payer, 5, "purchase", "cs_1") for _ in range(2)] == [True, False]
    assert await world.balance(payer) == PRICE + 5
    audit = "select count(*) from public.audit_log where actor = $1 and data->>'reference' = 'cs_1'"
    assert await world.value(audit, payer) == 1


async def test_a_hold_comes_with_the_job_and_a_capture_with_its_end(world: World, payer: uuid.UUID) -> None:
    job = await world.running(payer, price=PRICE)
    assert await world.balance(payer) == 0
    assert await world.ledger(payer, job["id"]) == [HELD]
    document = await world.complete(job)
    assert document["charged"] == PRICE
    assert await world.ledger(payer, job["id"]) == CAPTURED
    assert await world.balance(payer) == 0


@pytest.mark.parametrize("end", ["fail", "cancel", "cancel before upload", "expire", "reuse"])
async def test_what_brings_no_new_picture_costs_nothing(world: World, payer: uuid.UUID, end: str) -> None:
    sha256 = new_sha256()
    own = await world.done(payer, sha256=sha256)
    if end in {"cancel before upload", "expire"}:
        job_id = (await world.intake(payer, price=PRICE))["job"]["job_id"]
    else:
        job = await world.running(payer, sha256=sha256, price=PRICE, use_cache=False)
        job_id = job["id"]
    assert await world.balance(payer) == 0
    match end:
        case "fail":
            await world.fail(job)
        case "reuse":
            await world.reuse(job, own["output"]["output_id"])
        case "expire":
            await world.late("expires_at", job_id)
            assert job_id in (await world.sweep())["jobs"]
        case _:
            await world.cancel(job_id, payer)
    assert await world.ledger(payer, job_id) == RELEASED
    assert (await world.job(job_id))["charged"] == 0
    assert await world.balance(payer) == PRICE


async def test_a_retry_keeps_the_hold(world: World, payer: uuid.UUID) -> None:
    job = await world.running(payer, price=PRICE)
    await world.fail(job, retry=0.0)
    assert await world.ledger(payer, job["id"]) == [HELD]
    again = await world.claim(job["queue"])
    assert again is not None
    await world.complete(again)
    assert await world.ledger(payer, job["id"]) == CAPTURED


async def test_asking_twice_holds_once(world: World, payer: uuid.UUID) -> None:
    sha256 = new_sha256()
    jobs = [(await world.intake(payer, sha256=sha256, price=PRICE))["job"]["job_id"] for _ in range(2)]
    assert jobs[0] == jobs[1]
    assert await world.ledger(payer, jobs[0]) == [HELD]


async def test_too_few_credits_leave_no_job(world: World, payer: uuid.UUID) -> None:
    with refused("insufficient_credits"):
        await world.intake(payer, price=PRICE + 1)
    assert await world.value("select count(*) from public.jobs where user_id = $1", payer) == 0
    assert (
        await world.value(
            "select count(*) from public.credit_ledger where user_id = $1 and reason = 'hold'", payer
        )
        == 0
    )
    assert await world.balance(payer) == PRICE


async def test_a_price_asks_for_an_account(world: World) -> None:
    sha256 = new_sha256()
    with refused("insufficient_credits"):
        await world.intake(price=1, sha256=sha256)
    assert not await world.value("select exists (select from public.jobs where sha256 = $1)", sha256)


@pytest.mark.parametrize(
    "table", ["credit_ledger", "credits", "credit_grants", "credit_uses", "jobs", "audit_log"]
)
@pytest.mark.parametrize("verb", ["insert into {} default values", "truncate {}", "delete from {}"])
async def test_the_service_role_cannot_write_money_or_state(world: World, table: str, verb: str) -> None:
    async with world.connection.transaction():
        await world.connection.execute("set local role service_role")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with world.connection.transaction():
                await world.connection.execute(verb.format(f"public.{table}"))


VIOLATIONS = {
    "balance is the sum of the ledger": "update public.credits set balance = balance + 1 where user_id = $1",
    "a finished job has no open hold": "delete from public.credit_ledger where user_id = $1 and reason = 'capture'",
    "a hold ends once": "insert into public.credit_ledger (user_id, delta, reason, reference, balance_after)"
    " select user_id, 0, 'release', reference, 0 from public.credit_ledger where user_id = $1 and reason = 'capture'",
    "a release gives back its hold": "insert into public.credit_ledger"
    " (user_id, delta, reason, reference, balance_after) values ($1, 3, 'release', 'nothing', 3)",
    "a release returns to the grants of its hold": "update public.credit_uses u set delta = u.delta + 1"
    " from public.credit_ledger l where l.id = u.ledger_id and l.user_id = $1 and l.reason = 'release'",
    "a refund gives back what was captured": "insert into public.credit_ledger"
    " (user_id, delta, reason, reference, balance_after)"
    " select user_id, 1, 'refund', reference, 1 from public.credit_ledger where user_id = $1 and reason = 'capture'",
    "balance is what is left of the grants": "update public.credits set balance = balance + 1 where user_id = $1",
    "what is left of a grant is the sum of its uses": "update public.credit_grants set remaining = remaining + 1"
    " where user_id = $1",
    "a movement is the sum of its uses": "update public.credit_uses set delta = delta - 1 where user_id = $1",
    "a use is of one account": "update public.credit_uses set user_id = gen_random_uuid() where user_id = $1",
    "debt is the sum of the ledger": "update public.credits set debt = 1 where user_id = $1",
    "a debt only where nothing is left": "update public.credits set debt = 1, balance = 1 where user_id = $1",
    "a ledger without an account sums to zero": "update public.credit_ledger set user_id = gen_random_uuid()"
    " where user_id = $1 and reason = 'hold'",
    "a team has one owner": "insert into public.teams (name) select 'Nobody''s' where $1::uuid is not null",
    "an output has the owner of its image": "with t as (insert into public.teams (name) values ('Theirs') returning id)"
    " update public.image_outputs o set user_id = null, team_id = t.id from t where o.user_id = $1",
    "a profile knows the ban and the deletion of its account": "update public.profiles set banned_until = now()"
    " where user_id = $1",
    "no job of a suspended account has been started": "with s as (update public.profiles"
    " set suspended_at = now() - interval '1 hour' where user_id = $1)"
    " update public.jobs set status = 'running', lease_token = gen_random_uuid(), started_at = now(),"
    " lease_expires_at = now()"
    " where user_id = $1 and finished_at is null",
    "users read and call nothing in public beyond what is listed": "do $$ begin"
    " grant select (flag_reason) on public.profiles to authenticated; end $$",
    "a finished deletion has nothing open": "with r as (insert into public.data_requests"
    " (user_id, kind, queue, status, max_attempts, finished_at) values ($1, 'delete', 'none', 'done', 1, now())"
    " returning id) insert into public.tombstones (bucket, path, reason, request_id)"
    " select 'exports', 'x', 'data_deletion', r.id from r",
    "a done job had an output": "update public.jobs set output_id = null where user_id = $1 and status = 'done'",
    "a job that visitors share has an output that they share": "insert into public.jobs (status, sha256, filename,"
    " size, width, height, op_key, upload_path, output_id, for_hits, finished_at, expires_at)"
    " select 'done', sha256, 'picture', 1, 1, 1, op_key, 'x', id, true, now(), now()"
    " from public.image_outputs where user_id = $1",
    "a job is charged what was captured": "update public.jobs set charged = 0 where user_id = $1 and status = 'done'",
    "only a done job is charged": "update public.jobs set charged = 7, status = 'canceled'"
    " where user_id = $1 and status = 'done'",
    "storage_usage is what is stored": "insert into public.storage_changes (owner_id, bytes) values ($1, 1)",
    "an unfinished job of a price has an open hold": "update public.credit_ledger"
    " set reference = 'elsewhere:' || reference"
    " where user_id = $1 and reason = 'hold'",
    "only its own upload is kept for a job": "update public.jobs set upload_path = 'elsewhere'"
    " where user_id = $1 and upload_expires_at is not null",
    "jobs of a batch read its upload": "update public.jobs set batch_id = gen_random_uuid()"
    " where user_id = $1 and finished_at is null",
    "a bucket keeps no versions": "update storage.buckets set versioning_status = 'ENABLED'"
    " where id = 'user-library' and $1::uuid is not null",
}


@pytest.mark.parametrize("invariant", VIOLATIONS)
async def test_a_violation_is_found(world: World, invariant: str) -> None:
    """Nothing but a superuser can make one."""
    user = await world.user(balance=2 * PRICE)
    await world.cancel((await world.intake(user, price=PRICE))["job"]["job_id"], user)
    await world.complete(await world.running(user, price=PRICE))
    await world.intake(user, price=PRICE)
    transaction = world.connection.transaction()
    await transaction.start()
    statement = VIOLATIONS[invariant]
    await world.connection.execute(statement, *([user] if "$1" in statement else []))
    assert invariant in {found for found, _ in await world.violations()}
    await transaction.rollback()
    assert await world.violations() == []


@pytest.mark.parametrize("remaining", ["-1", "amount + 1"])
async def test_no_grant_can_be_over_consumed(world: World, payer: uuid.UUID, remaining: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="credit_grants_not_over_consumed"):
        await world.value(
            f"update public.credit_grants set remaining = {remaining} where user_id = $1", payer
        )


async def test_every_sentence_has_its_violation(world: World) -> None:
    """So that a new sentence cannot be forgotten here."""
    source = await world.value("select prosrc from pg_proc where proname = 'check_invariants'")
    assert source.count("\n  select '") == len(VIOLATIONS)
    assert all(f"select '{invariant}'" in source for invariant in VIOLATIONS)


async def test_the_shared_database_adds_up(local: Local) -> None:
    """Whatever the other tests of this session have done until now."""
    connection = await open_connection(local.database_url)
    try:
        assert await World(connection).violations() == []
    finally:
        await connection.close()
